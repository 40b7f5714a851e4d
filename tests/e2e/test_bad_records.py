"""Records on a topic that are no events of the saga: dead letters, one each, and the next good order is handled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Message

from eventbus.log import Output
from schemas import InventoryReserved, PaymentFailed, PaymentRefunded
from tests.support.brokers.kafka_node import OwnBroker
from tests.support.models.poured import (
    DEAD_LETTERS,
    PARTITIONS,
    Poured,
    assert_dead_lettered_once,
    assert_next_handled_within_a_second,
    pour,
    write,
)
from tests.support.saga import SESSION, Saga, address_of
from tests.support.saga.bad_records import BAD, BAD_REFUSALS, KEY, ORDER_ID, framed, places

LETTERS = sum(len(places(bad, PARTITIONS)) for bad in BAD.values())
"""That each of the two services which react to order.created must write."""
DEAD_REFUSALS = "order-service.dead-letters"
"""Of the one that reacts to payment.failed."""
TOO_DEAR = "200.01"


@pytest.fixture(scope="module")
def running(saga: Saga) -> Saga:
    """All three workers, told how keys are placed, and plenty of cd-1."""
    saga.stock(cd_1=1_000)
    saga.start_all(*SESSION, "--keys-placed-over", str(PARTITIONS))
    return saga


@pytest.fixture(scope="module")
def read(running: Saga) -> Poured:
    """Every bad record once in every partition where it is bad, each time with a good order after it."""
    return pour(running, BAD)


@pytest.fixture(scope="module")
def refusals(read: Poured, running: Saga) -> dict[str, list[Message]]:
    """Every bad payment.failed once in every partition, and then a good one: a charge that is really refused."""
    addresses = {name: write(running, PaymentFailed.topic, bad) for name, bad in BAD_REFUSALS.items()}
    assert running.place("cd-1=1", total=TOO_DEAR)["status"] == "cancelled"
    records = {address_of(record): record for record in running.records(PaymentFailed.topic)}
    return {name: [records[at] for at in each] for name, each in addresses.items()}


def settled(running: Saga) -> dict[str, Any]:
    """Wait until only the order of the misplaced records breaks laws, and return the report of `saga check`."""

    def report() -> dict[str, Any] | None:
        said: dict[str, Any] = json.loads(running.run("saga", "check", "--finished", "--json").stdout)
        return said if {broken["order_id"] for broken in said["violations"]} == {ORDER_ID} else None

    running.until(lambda: not running.pending(), "not every order had ended")
    found: dict[str, Any] = running.until(report, "more is broken than the order of the misplaced records", 20)
    return found


@pytest.mark.parametrize("topic", DEAD_LETTERS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_dead_lettered_once_as_it_was(read, name, topic):
    for record in read.bad[name]:
        assert_dead_lettered_once(record, read.dead[topic], topic.removesuffix(".dead-letters"), BAD[name].reason)


@pytest.mark.parametrize("name", BAD_REFUSALS)
def test_a_code_that_is_no_symbol_is_dead_lettered_once_as_it_was(refusals, running, name):
    """Out of the range of the version that it was written with: nobody takes it for another symbol, or the default."""
    records, every = refusals[name], PARTITIONS * len(BAD_REFUSALS)
    running.until(lambda: len(running.records(DEAD_REFUSALS)) == every, "not every bad refusal was dead-lettered")
    assert len(records) == PARTITIONS
    for record in records:
        assert_dead_lettered_once(record, running.records(DEAD_REFUSALS), "order-service", BAD_REFUSALS[name].reason)


def test_the_next_good_record_is_handled_within_a_second(read):
    assert len(BAD) > 50
    assert_next_handled_within_a_second(read, BAD)


def test_nothing_else_is_dead_lettered_and_every_law_holds(read, refusals, running):
    """Good orders before, between and after are orders; bad records are counted as no events.

    But for those that only lie where their key does not belong: the check names their order, which nobody handled.
    """
    assert [len(letters) for letters in read.dead.values()] == [LETTERS] * 2
    report = settled(running)
    undecodable = LETTERS - (PARTITIONS - 1) + PARTITIONS * len(refusals)
    assert (report["orders"], report["undecodable"]) == (len(BAD) + 1, undecodable)
    assert running.rows("payment-service", f"select * from payment where order_id = '{ORDER_ID}'") == []


def test_a_person_can_look_at_dead_letters(read, running):
    """`saga tail` shows what cannot be decoded, too."""
    shown = running.run("saga", "tail", DEAD_LETTERS[0], "--no-follow")
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(lines) == LETTERS
    keyless = [line for line in lines if line["headers"]["dlq_reason"] == "key_missing"]
    assert [(line["key"], line["value"]["order_id"]) for line in keyless] == [(None, ORDER_ID)] * PARTITIONS


def test_too_many_bad_records_pause_their_partition(running):
    """The worker lives and says why it is not ready; a good record behind them waits, and other partitions go on."""
    topic, dead = "payment.failed", "order-service.dead-letters"
    before = len(running.records(dead))
    running.workers.kill_all()
    running.admin.produce_many([Output(topic, KEY, b"{}", [])] * 8, partition=0)
    worker = running.start("order_service", *SESSION, "--dead-letter-limit", "5")
    running.until(lambda: worker.events("partition.paused"), "it was not paused")
    [said] = worker.events("partition.paused")
    assert (said["partition"], said["reason"], said["level"]) == ("payment.failed/0", "dead_letter_limit", "error")
    assert "5 of its last 10,000 records are dead letters, and payment.failed/0/" in said["why"]
    assert worker.get("/readyz") == (503, said["why"] + "\n")
    assert worker.get("/livez") == (200, "ok\n")
    paused = {"topic": topic, "partition": "0", "reason": "dead_letter_limit"}
    assert worker.metric("saga_partition_paused", **paused) == 1
    running.until(lambda: len(running.records(dead)) == before + 5, "as many as are allowed were not dead-lettered")
    for module in ("payment_service", "inventory_service"):
        running.start(module, *SESSION)
    assert running.place("cd-1=1")["status"] == "confirmed"
    assert len(running.records(dead)) == before + 5
    assert worker.terminate() == 0
    running.start("order_service", *SESSION).wait_ready()
    running.until(lambda: len(running.records(dead)) == before + 8, "the rest were not handled with a higher limit")
    settled(running)


@pytest.fixture
def forged(make_broker: Callable[..., OwnBroker], tmp_path) -> Iterator[Saga]:
    """A saga of its own: what is forged there stays on its topics."""
    saga = Saga(tmp_path, make_broker().bootstrap_servers)
    saga.make_topics(2)
    saga.stock(cd_1=10)
    saga.start_all(*SESSION)
    yield saga
    saga.close()


def test_an_event_that_contradicts_what_is_known_is_dead_lettered(forged):
    """A refund of a confirmed order, a reservation of an unknown one: no order changes, and `saga check` names both."""
    order = forged.place("cd-1=1")
    confirmed = order["order_id"]
    refund = {"order_id": confirmed, "payment_id": "ch_forged", "amount": 2933, "currency": "USD"}
    forged.admin.produce(PaymentRefunded.topic, confirmed.encode(), framed(PaymentRefunded, refund))
    forged.admin.produce(InventoryReserved.topic, KEY, framed(InventoryReserved, {"order_id": ORDER_ID}))
    forged.until(lambda: len(forged.records("order-service.dead-letters")) == 2, "two dead letters are missing")
    letters = forged.records("order-service.dead-letters")
    assert {dict(letter.headers())["dlq_reason"] for letter in letters} == {b"contradiction"}
    assert forged.place("cd-1=1")["status"] == "confirmed"
    assert forged.ask("order_service", "show", confirmed)["status"] == "confirmed"
    done = forged.run("saga", "check", "--json")
    violations = json.loads(done.stdout)["violations"]
    assert {violation["order_id"] for violation in violations} == {confirmed, ORDER_ID}
