"""Records on a topic that are no events of the saga: dead letters, one each, and the next good order is handled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
import pytest
from confluent_kafka import Message

from eventbus.codec import FRAME
from eventbus.log import Output
from schemas import IDS, InventoryReserved, OrderCreated, PaymentRefunded
from tests.support.kafka_node import OwnBroker
from tests.support.saga import SESSION, Saga, address_of

ORDER_ID = "01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21"
ORDER = {
    "order_id": ORDER_ID,
    "customer_id": "42",
    "total": 100,
    "currency": "USD",
    "items": [{"sku": "cd-1", "quantity": 1}],
}
KEY = ORDER_ID.encode()
THEIR_HEADERS = [("ce_id", b"drawn-by-somebody"), ("origin", b"\xff\xfe"), ("dlq_topic", b"an-earlier-life")]
DEAD_LETTERS = ("payment-service.dead-letters", "inventory-service.dead-letters")
"""Of the two services that react to order.created."""


def schema_id(event: type[Any]) -> int:
    """Return the id under which an event's schema was released."""
    released = json.loads(IDS.read_text())
    return next(int(number) for number, path in released.items() if path == f"released/{event.topic}.v1.avsc")


def framed(event: type[Any], values: dict[str, Any]) -> bytes:
    """Return a record value as a producer writes it that has the schema and no sense."""
    body = BytesIO(FRAME.pack(0, schema_id(event)))
    body.seek(FRAME.size)
    fastavro.schemaless_writer(body, event.schema, values)
    return body.getvalue()


GOOD = framed(OrderCreated, ORDER)
ITEM = {"sku": "cd-1", "quantity": 1}


class Bad(NamedTuple):
    """A record, and the reason that its dead letter must give."""

    value: bytes | None
    reason: str
    key: bytes | None = KEY


BAD = {
    "null": Bad(None, "null_value"),
    "empty": Bad(b"", "empty_value"),
    "JSON": Bad(json.dumps(ORDER).encode(), "not_framed"),
    "Avro without a frame": Bad(GOOD[FRAME.size :], "not_framed"),
    "only a frame": Bad(GOOD[: FRAME.size], "malformed"),
    "truncated": Bad(GOOD[:-1], "malformed"),
    "trailing bytes": Bad(GOOD + b"\0", "trailing_bytes"),
    "unknown schema id": Bad(FRAME.pack(0, 4_000_000_000) + GOOD[FRAME.size :], "unknown_schema_id"),
    "another event's schema": Bad(framed(InventoryReserved, {"order_id": ORDER_ID}), "wrong_schema"),
    "no key": Bad(GOOD, "key_missing", None),
    "an empty key": Bad(GOOD, "key_mismatch", b""),
    "another order's key": Bad(GOOD, "key_mismatch", KEY[:-1] + b"2"),
    "a key that is no UTF-8": Bad(GOOD, "key_mismatch", b"\xff\xfe\xfd"),
    "a negative amount": Bad(framed(OrderCreated, ORDER | {"total": -1}), "invalid_value"),
    "an amount beyond all orders": Bad(framed(OrderCreated, ORDER | {"total": 2**62}), "invalid_value"),
    "no currency": Bad(framed(OrderCreated, ORDER | {"currency": "Dollars"}), "invalid_value"),
    "no items": Bad(framed(OrderCreated, ORDER | {"items": []}), "invalid_value"),
    "101 items": Bad(framed(OrderCreated, ORDER | {"items": [ITEM] * 101}), "invalid_value"),
    "a quantity of 10,001": Bad(
        framed(OrderCreated, ORDER | {"items": [ITEM | {"quantity": 10_001}]}), "invalid_value"
    ),
    "a quantity of 0": Bad(framed(OrderCreated, ORDER | {"items": [ITEM | {"quantity": 0}]}), "invalid_value"),
    "an empty order id": Bad(framed(OrderCreated, ORDER | {"order_id": ""}), "invalid_value", b""),
    "1,048,400 bytes of nothing": Bad(b"x" * 1_048_400, "not_framed"),
    "1,048,400 bytes of an event": Bad(GOOD + b"\0" * (1_048_400 - len(GOOD)), "trailing_bytes"),
    "50 million items in 5 bytes": Bad(GOOD[:-7] + b"\x80\xe1\xeb\x17" + b"\0", "malformed"),
}


class Read(NamedTuple):
    """What lies on the topics afterwards: the bad records by name, and every dead letter by topic."""

    bad: dict[str, Message]
    dead: dict[str, list[Message]]


@pytest.fixture(scope="module")
def running(saga: Saga) -> Saga:
    """All three workers, and plenty of cd-1."""
    saga.stock(cd_1=1_000)
    saga.start_all(*SESSION)
    return saga


@pytest.fixture(scope="module")
def read(running: Saga) -> Read:
    """Every bad record once, with good orders between and after them, in every partition."""
    addresses = {}
    for number, (name, bad) in enumerate(BAD.items()):
        where = number % 4
        addresses[name] = running.admin.produce(OrderCreated.topic, bad.key, bad.value, THEIR_HEADERS, where)
        if number == len(BAD) // 2:
            running.import_orders("between", 20, "cd-1")
    running.import_orders("after", 20, "cd-1")
    running.until(lambda: running.summary() == {"confirmed": 40}, "the good orders were not confirmed")
    records = {address_of(record): record for record in running.records(OrderCreated.topic)}
    dead = {topic: running.records(topic) for topic in DEAD_LETTERS}
    return Read({name: records[address] for name, address in addresses.items()}, dead)


def own(letter: Message) -> list[tuple[str, bytes]]:
    return (letter.headers() or [])[: len(THEIR_HEADERS)]


def provenance(letter: Message) -> dict[str, str]:
    return {name: content.decode() for name, content in (letter.headers() or [])[len(THEIR_HEADERS) :]}


@pytest.mark.parametrize("topic", DEAD_LETTERS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_dead_lettered_once_as_it_was(read, name, topic):
    """Key, value and headers byte for byte; then where it lay, when it was written, who refused it, and why."""
    record = read.bad[name]
    place = {"dlq_topic": record.topic(), "dlq_partition": str(record.partition()), "dlq_offset": str(record.offset())}
    (letter,) = [each for each in read.dead[topic] if place.items() <= provenance(each).items()]
    assert (letter.key(), letter.value(), own(letter)) == (record.key(), record.value(), THEIR_HEADERS)
    said = provenance(letter)
    assert said.pop("dlq_error")
    assert said == place | {
        "dlq_timestamp": str(record.timestamp()[1]),
        "dlq_group": topic.removesuffix(".dead-letters"),
        "dlq_reason": BAD[name].reason,
    }


def test_nothing_else_is_dead_lettered_and_every_law_holds(read, running):
    """Good orders before, between and after are orders; bad records are counted as no events."""
    assert [len(letters) for letters in read.dead.values()] == [len(BAD)] * 2
    report = running.settle()
    assert (report["orders"], report["undecodable"]) == (40, len(BAD))
    assert running.rows("payment-service", f"select * from payment where order_id = '{ORDER_ID}'") == []


def test_a_person_can_look_at_dead_letters(read, running):
    """`saga tail` shows what cannot be decoded, too."""
    shown = running.run("choreography", "tail", DEAD_LETTERS[0], "--no-follow")
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(lines) == len(BAD)
    (keyless,) = [line for line in lines if line["headers"]["dlq_reason"] == "key_missing"]
    assert (keyless["key"], keyless["value"]["order_id"]) == (None, ORDER_ID)


def test_too_many_bad_records_in_a_row_stop_the_worker(running):
    """Exit code 6, and nothing of that batch is dead-lettered: a bad deploy must not drain a topic."""
    topic, dead = "payment.failed", "order-service.dead-letters"
    before = len(running.records(dead))
    running.workers.kill_all()
    running.admin.produce_many([Output(topic, KEY, b"{}", [])] * 8, partition=0)
    worker = running.start("order_service", *SESSION, "--dead-letter-limit", "5")
    assert worker.wait(60) == 6
    assert "more than 5 bad records in a row, the last payment.failed/0/" in worker.log.splitlines()[-1]
    assert "raise --dead-letter-limit" in worker.log.splitlines()[-1]
    assert len(running.records(dead)) == before
    running.start_all(*SESSION)
    running.until(lambda: len(running.records(dead)) == before + 8, "they were not dead-lettered with a higher limit")
    running.settle()


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
