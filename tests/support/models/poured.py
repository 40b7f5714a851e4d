"""Bad records poured into a running saga, each with a good order behind it, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Message
from uuid_utils import uuid7

from eventbus.database import connect
from eventbus.log import Output
from order_service.domain import OrderRequest
from order_service.repository import SCHEMA
from order_service.service import OrderService
from schemas import OrderCreated, PaymentCharged
from tests.support.saga import Saga, address_of, headers_of
from tests.support.saga.bad_records import Bad, places
from tests.support.stopwatch import Stopwatch

THEIR_HEADERS = [("ce_id", b"drawn-by-somebody"), ("origin", b"\xff\xfe"), ("dlq_topic", b"an-earlier-life")]
DEAD_LETTERS = ("payment-service.dead-letters", "inventory-service.dead-letters")
"""Of the two services that react to order.created."""
PARTITIONS = 4
NEXT_SECONDS = 1.0
"""The promise: the next good record is handled within it."""


class Poured(NamedTuple):
    """What lies on the topics afterwards: the bad records by name, and every dead letter by topic."""

    bad: dict[str, list[Message]]
    dead: dict[str, list[Message]]
    waited: dict[str, float]
    """How long after a bad record the good one behind it was charged, in seconds, by the timestamps of the log.

    Without what the machine kept from running meanwhile.
    """


def pour(running: Saga, corpus: Mapping[str, Bad]) -> Poured:
    """Write every bad record into every partition where it is bad, each time with a good order of one cd-1 after it."""
    service = OrderService(now=lambda: time.time_ns() // 1_000_000, new_id=lambda: str(uuid7()))
    addresses, after, held = {}, {}, {}
    database = connect(running.env["ORDER_SERVICE_DATABASE"], service=service.name, schema=SCHEMA)
    with closing(database):
        for name, bad in corpus.items():
            watch = Stopwatch()
            addresses[name] = write(running, OrderCreated.topic, bad)
            request = OrderRequest("42", 100, "USD", (("cd-1", 1),), name)
            after[name] = service.create_order(request, database, running.codec).order.order_id
            running.until(lambda order=after[name]: charged(running, order), f"no good order after {name} was charged")
            held[name] = watch.held
    running.until(lambda: running.summary() == {"confirmed": len(corpus)}, "the good orders were not confirmed")
    records = {address_of(record): record for record in running.records(OrderCreated.topic)}
    answers = {headers_of(record)["ce_causationid"]: record for record in running.records(PaymentCharged.topic)}
    waited = {}
    for order_id, answer in ((records[cause].key().decode(), answer) for cause, answer in answers.items()):
        [name] = [name for name, good in after.items() if good == order_id]
        began = max(records[address].timestamp()[1] for address in addresses[name])
        waited[name] = (answer.timestamp()[1] - began) / 1_000 - held[name]
    dead = {topic: running.records(topic) for topic in DEAD_LETTERS}
    return Poured({name: [records[at] for at in each] for name, each in addresses.items()}, dead, waited)


def write(running: Saga, topic: str, bad: Bad) -> list[str]:
    """Write a record into every partition of a topic where it is bad, and return where each lies."""
    output = Output(topic, bad.key, bad.value, [*bad.headers, *THEIR_HEADERS])
    return [running.admin.produce_many([output], partition)[0] for partition in places(bad, PARTITIONS)]


def charged(running: Saga, order_id: str) -> bool:
    """Return whether an order was charged."""
    return running.rows("payment-service", f"select 1 from payment where order_id = '{order_id}'") != []


def added(letter: Message) -> int:
    """Return where the headers begin that the record did not have."""
    return max(index for index, (name, _) in enumerate(letter.headers()) if name == "dlq_topic")


def provenance(letter: Message) -> dict[str, str]:
    """Return what a dead letter says of itself."""
    return {name: content.decode() for name, content in letter.headers()[added(letter) :]}


def of(record: Message, letters: list[Message]) -> list[Message]:
    """Return the dead letters of this record."""
    place = {"dlq_topic": record.topic(), "dlq_partition": str(record.partition()), "dlq_offset": str(record.offset())}
    return [letter for letter in letters if place.items() <= provenance(letter).items()]


def assert_dead_lettered_once(record: Message, letters: list[Message], group: str, reason: str) -> None:
    """Key, value and headers byte for byte; then where it lay, when it was written, who refused it, and why."""
    (letter,) = of(record, letters)
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
        "dlq_group": group,
        "dlq_reason": reason,
        "dlq_attempts": "1",
    }


def assert_next_handled_within_a_second(poured: Poured, corpus: Mapping[str, Bad]) -> None:
    """Behind every kind of bad one; from the bad record's timestamp to that of the answer to the good one."""
    assert poured.waited.keys() == corpus.keys()
    assert {name: seconds for name, seconds in poured.waited.items() if seconds > NEXT_SECONDS} == {}
