"""Records on a topic that are no events of the saga: dead letters, one each, and the next good order is handled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Message
from uuid_utils import uuid7

from eventbus.database import connect
from eventbus.log import Output
from order_service.domain import OrderRequest
from order_service.repository import SCHEMA
from order_service.service import OrderService
from schemas import InventoryReserved, OrderCreated, PaymentCharged, PaymentRefunded
from tests.support.bad_records import BAD, KEY, ORDER_ID, framed, places
from tests.support.kafka_node import OwnBroker
from tests.support.saga import SESSION, Saga, address_of, headers_of
from tests.support.stopwatch import Stopwatch

THEIR_HEADERS = [("ce_id", b"drawn-by-somebody"), ("origin", b"\xff\xfe"), ("dlq_topic", b"an-earlier-life")]
DEAD_LETTERS = ("payment-service.dead-letters", "inventory-service.dead-letters")
"""Of the two services that react to order.created."""
PARTITIONS = 4
LETTERS = sum(len(places(bad, PARTITIONS)) for bad in BAD.values())
"""That each of the two must write."""
NEXT_SECONDS = 1.0
"""The promise: the next good record is handled within it."""


class Read(NamedTuple):
    """What lies on the topics afterwards: the bad records by name, and every dead letter by topic."""

    bad: dict[str, list[Message]]
    dead: dict[str, list[Message]]
    waited: dict[str, float]
    """How long after a bad record the good one behind it was charged, in seconds, by the timestamps of the log.

    Without what the machine kept from running meanwhile.
    """


@pytest.fixture(scope="module")
def running(saga: Saga) -> Saga:
    """All three workers, told how keys are placed, and plenty of cd-1."""
    saga.stock(cd_1=1_000)
    saga.start_all(*SESSION, "--keys-placed-over", str(PARTITIONS))
    return saga


@pytest.fixture(scope="module")
def read(running: Saga) -> Read:
    """Every bad record once in every partition where it is bad, each time with a good order after it."""
    service = OrderService(now=lambda: time.time_ns() // 1_000_000, new_id=lambda: str(uuid7()))
    addresses, after, held = {}, {}, {}
    database = connect(running.env["ORDER_SERVICE_DATABASE"], service=service.name, schema=SCHEMA)
    with closing(database):
        for name, bad in BAD.items():
            watch = Stopwatch()
            output = Output(OrderCreated.topic, bad.key, bad.value, [*bad.headers, *THEIR_HEADERS])
            addresses[name] = [running.admin.produce_many([output], place)[0] for place in places(bad, PARTITIONS)]
            request = OrderRequest("42", 100, "USD", (("cd-1", 1),), name)
            after[name] = service.create_order(request, database, running.codec).order.order_id
            running.until(lambda order=after[name]: charged(running, order), f"no good order after {name} was charged")
            held[name] = watch.held
    running.until(lambda: running.summary() == {"confirmed": len(BAD)}, "the good orders were not confirmed")
    records = {address_of(record): record for record in running.records(OrderCreated.topic)}
    answers = {headers_of(record)["ce_causationid"]: record for record in running.records(PaymentCharged.topic)}
    waited = {}
    for order_id, answer in ((records[cause].key().decode(), answer) for cause, answer in answers.items()):
        [name] = [name for name, good in after.items() if good == order_id]
        began = max(records[address].timestamp()[1] for address in addresses[name])
        waited[name] = (answer.timestamp()[1] - began) / 1_000 - held[name]
    dead = {topic: running.records(topic) for topic in DEAD_LETTERS}
    return Read({name: [records[at] for at in each] for name, each in addresses.items()}, dead, waited)


def charged(running: Saga, order_id: str) -> bool:
    return running.rows("payment-service", f"select 1 from payment where order_id = '{order_id}'") != []


def settled(running: Saga) -> dict[str, Any]:
    """Wait until only the order of the misplaced records breaks laws, and return the report of `saga check`."""

    def report() -> dict[str, Any] | None:
        said: dict[str, Any] = json.loads(running.run("choreography", "check", "--quiescent", "--json").stdout)
        return said if {broken["order_id"] for broken in said["violations"]} == {ORDER_ID} else None

    running.until(lambda: not running.pending(), "not every order had ended")
    found: dict[str, Any] = running.until(report, "more is broken than the order of the misplaced records", 20)
    return found


def added(letter: Message) -> int:
    """Return where the headers begin that the record did not have."""
    return max(index for index, (name, _) in enumerate(letter.headers()) if name == "dlq_topic")


def provenance(letter: Message) -> dict[str, str]:
    return {name: content.decode() for name, content in letter.headers()[added(letter) :]}


def of(record: Message, letters: list[Message]) -> list[Message]:
    """Return the dead letters of this record."""
    place = {"dlq_topic": record.topic(), "dlq_partition": str(record.partition()), "dlq_offset": str(record.offset())}
    return [letter for letter in letters if place.items() <= provenance(letter).items()]


@pytest.mark.parametrize("topic", DEAD_LETTERS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_dead_lettered_once_as_it_was(read, name, topic):
    """Key, value and headers byte for byte; then where it lay, when it was written, who refused it, and why."""
    for record in read.bad[name]:
        (letter,) = of(record, read.dead[topic])
        own = letter.headers()[: added(letter)]
        assert (letter.key(), letter.value(), own) == (record.key(), record.value(), record.headers())
        said = provenance(letter)
        assert said.pop("dlq_error")
        assert said.pop("dlq_first_timestamp") == said.pop("dlq_last_timestamp") >= said["dlq_timestamp"]
        assert said == {
            "dlq_topic": record.topic(),
            "dlq_partition": str(record.partition()),
            "dlq_offset": str(record.offset()),
            "dlq_timestamp": str(record.timestamp()[1]),
            "dlq_group": topic.removesuffix(".dead-letters"),
            "dlq_reason": BAD[name].reason,
            "dlq_attempts": "1",
        }


def test_the_next_good_record_is_handled_within_a_second(read):
    """Behind every kind of bad one; from the bad record's timestamp to that of the answer to the good one."""
    assert len(read.waited) == len(BAD) > 50
    assert {name: seconds for name, seconds in read.waited.items() if seconds > NEXT_SECONDS} == {}


def test_nothing_else_is_dead_lettered_and_every_law_holds(read, running):
    """Good orders before, between and after are orders; bad records are counted as no events.

    But for those that only lie where their key does not belong: the check names their order, which nobody handled.
    """
    assert [len(letters) for letters in read.dead.values()] == [LETTERS] * 2
    report = settled(running)
    assert (report["orders"], report["undecodable"]) == (len(BAD), LETTERS - (PARTITIONS - 1))
    assert running.rows("payment-service", f"select * from payment where order_id = '{ORDER_ID}'") == []


def test_a_person_can_look_at_dead_letters(read, running):
    """`saga tail` shows what cannot be decoded, too."""
    shown = running.run("choreography", "tail", DEAD_LETTERS[0], "--no-follow")
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
    done = forged.run("choreography", "check", "--json")
    violations = json.loads(done.stdout)["violations"]
    assert {violation["order_id"] for violation in violations} == {confirmed, ORDER_ID}
