"""Whatever bytes come in, they are an event or poison: no other exception, no hang."""

from __future__ import annotations

import gc
import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventbus.deadletters.letter import dead_letter
from eventbus.engine.delivery import decode
from eventbus.log import Partition, Record
from eventbus.serde.codec import Codec
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import registry_at
from eventbus.serde.strict import Strict
from payment_service.service import PaymentService
from schemas import EVENTS, OrderCancelled, OrderCreated, PaymentCharged, PaymentFailed
from schemas.events import Item
from tests.support.models.mutations import COUNT, MUTATIONS, damaged

REGISTRY = registry_at(None, EVENTS)
CODEC = Codec(REGISTRY, EVENTS)
MOST_SECONDS = 0.5
"""Of processor time, for one record; the usual is a hundred thousandth of a second."""
GOOD = [
    OrderCreated("order-1", "42", 2_933, "USD", (Item("CD-é", 2), Item("CD-04", 1))),
    PaymentCharged("order-1", "日本語の支払い番号", 2_933, "JPY"),
    OrderCancelled("order-1", ""),
    PaymentFailed("order-1", "zu groß", "LIMIT_EXCEEDED"),
]
REASONS = {
    *("null_value", "empty_value", "too_large", "not_framed", "unknown_schema_id", "wrong_schema"),
    *("malformed", "trailing_bytes", "invalid_value", "key_mismatch"),
}
A_REACTION = next(iter(PaymentService.reactions.values()))
DAMAGES = st.tuples(st.sampled_from(sorted(MUTATIONS)), st.integers(0, 200), st.binary(max_size=12))


@settings(max_examples=COUNT, database=None)
@example(good=GOOD[3], damages=[("flip a bit", len(CODEC.encode(GOOD[3])) - 1, b"\0")])  # an enum's number, below 0
@given(good=st.sampled_from(GOOD), damages=st.lists(DAMAGES, min_size=1, max_size=4))
def test_a_mutated_payload_is_an_event_or_poison(good, damages):
    """An event that is taken has the record's key, and is written and read as itself; poison has its dead letter.

    Of what is taken every byte is what a writer of the schema writes.
    """
    value = damaged(CODEC.encode(good), damages)
    record = Record(Partition(good.topic, 0), 0, good.key.encode(), value, 0, [])
    gc.disable()  # with hundreds of thousands of examples in memory, collecting garbage takes longer than any record
    started = time.process_time()
    item = decode(CODEC, record, dict.fromkeys([good.topic], A_REACTION))
    took = time.process_time() - started
    gc.enable()
    assert took < MOST_SECONDS
    assert item is not None
    event = item.event
    if item.poison is not None:
        assert item.poison.reason in REASONS
        assert dead_letter("s.dead-letters", "s", record, item.poison, 0).value == value
    else:
        assert event is not None
        assert type(event) is type(good)
        assert event.key.encode() == record.key
        Strict(REGISTRY.schema_of(FRAME.unpack_from(value)[1])).check(value, FRAME.size)
        assert CODEC.decode(good.topic, record.key, CODEC.encode(event)) == event
