"""What is kept of a record until it is handled."""

from __future__ import annotations

import pytest

from eventbus import Codec, NoState, PoisonRecord, Service, reacts_to
from eventbus.deadletters.letter import dead_letter
from eventbus.deadletters.resolutions import REDRIVE, AuditNote, resolution
from eventbus.engine.delivery import decode
from eventbus.engine.remote import _call
from eventbus.log import Partition, Record
from eventbus.serde.registry import registry_at
from eventbus.service import by_topic
from payment_service.service import PaymentService
from schemas import Item, OrderCreated
from tests.support.saga.bad_records import BAD, KEY

CODEC = Codec(registry_at(None, [OrderCreated]), [OrderCreated])


def test_of_poison_only_the_reason_is_kept_and_nothing_that_was_decoded():
    """A traceback leads to every value that was read by then: many times the record's size, until it is handled."""
    bad = BAD["101 items"]
    record = Record(Partition(OrderCreated.topic, 0), 7, KEY, bad.value, 0, [])
    item = decode(CODEC, record, by_topic(PaymentService.reactions))
    assert item is not None
    poison = item.poison
    assert poison is not None
    assert (poison.reason, str(poison)) == ("invalid_value", "items must be 1 to 100 items, not 101")
    assert (poison.__traceback__, poison.__cause__, poison.__context__) == (None, None, None)


class Noting(Service[None]):
    """Notes when it was called about what."""

    name = "noting-service"
    repository = NoState()

    def ask(self, order: OrderCreated, _work: None, at_ms: int) -> tuple[str, int]:
        return order.order_id, at_ms

    @reacts_to(OrderCreated, remote=ask)
    def note(self, order: OrderCreated, answer: tuple[str, int], _work: None) -> None:
        pass


@pytest.mark.parametrize("redriven", [False, True])
def test_a_remote_function_is_given_the_time_of_the_record_and_of_a_redriven_one_the_originals(redriven: bool) -> None:
    """A redrive is a new record about an old event: what was asked about it may be long forgotten."""
    value = CODEC.encode(OrderCreated("o", "42", 1, "USD", (Item("cd-1", 1),)))
    record = Record(Partition(OrderCreated.topic, 0), 7, b"o", value, 5_000, [])
    if redriven:
        letter = dead_letter(Noting.dead_letters(), Noting.name, record, PoisonRecord("contradiction", "no"), 6_000)
        read = Record(Partition(letter.topic, 0), 3, letter.key, letter.value, 6_000, letter.headers)
        output = resolution(Noting.resolutions(), read, REDRIVE, AuditNote("ann", "why", 9_000))
        record = Record(Partition(output.topic, 0), 0, output.key, output.value, 9_000, output.headers)
    item = decode(CODEC, record, by_topic(Noting.reactions))
    assert item is not None
    assert _call(Noting(), item, None)() == ("o", 5_000)
