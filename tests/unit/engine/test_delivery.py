"""What is kept of a record until it is handled."""

from __future__ import annotations

from eventbus import Codec
from eventbus.engine.delivery import decode
from eventbus.log import Partition, Record
from eventbus.serde.registry import registry_at
from eventbus.service import by_topic
from payment_service.service import PaymentService
from schemas import OrderCreated
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
