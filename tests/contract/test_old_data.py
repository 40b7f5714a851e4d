"""What was accepted once stays readable: the limits of the released language, in numbers that no constant follows."""

from __future__ import annotations

import json
from io import BytesIO
from unicodedata import category

import pytest
from fastavro import schemaless_writer

from eventbus import Codec
from eventbus.serde.codec import FRAME
from eventbus.serde.registry import registry_at
from saga.tracker.sentences import Sentences
from schemas import EVENTS

CODEC = Codec(registry_at(None, EVENTS), EVENTS)
TYPES = {event.topic: event for event in EVENTS}
LONG, MOST, DROPPED = "o" * 200, 10**15, "HRK"
PAYMENT = {"order_id": LONG, "payment_id": "p" * 200, "amount": MOST, "currency": DROPPED}
ORDER = {
    "order_id": LONG,
    "customer_id": "c" * 200,
    "total": MOST,
    "currency": DROPPED,
    "items": [{"sku": "s" * 200, "quantity": 10_000}] * 100,
    "request_id": "r" * 200,
    "cancel_at_ms": 253_402_300_799_999,
}
ACCEPTED = {
    "order.created": [
        ORDER,
        ORDER | {"total": 0, "request_id": "", "currency": "BGN", "cancel_at_ms": 0},
        ORDER | {"customer_id": "a  b"},
    ],
    "payment.charged": [PAYMENT, PAYMENT | {"amount": 0, "currency": "XAU"}],
    "payment.refunded": [PAYMENT],
    "payment.failed": [
        {"order_id": LONG, "error": "", "code": code} for code in ("UNSPECIFIED", "DECLINED", "LIMIT_EXCEEDED")
    ],
    "inventory.reserved": [{"order_id": LONG}],
    "inventory.reservation.failed": [{"order_id": LONG, "error": "e" * 100_000}],
    "inventory.released": [{"order_id": LONG}],
    "order.confirmed": [{"order_id": LONG}],
    "order.cancelled": [{"order_id": LONG, "reason": "r" * 1_000, "cause": "c" * 200}],
}
NEWER_LETTER = next(chr(number) for number in range(0x10FFFF, 0, -1) if category(chr(number)) == "Cn")


def decoded(topic, values):
    cls = TYPES[topic]
    body = BytesIO()
    body.write(CODEC.encode(cls.from_avro(dict(values)))[: FRAME.size])
    schemaless_writer(body, cls.schema, values)
    return CODEC.decode(topic, values["order_id"].encode(), body.getvalue())


@pytest.mark.parametrize("topic", TYPES)
def test_every_event_at_the_edge_of_the_released_limits_is_read(topic):
    """A release with narrower limits would make dead letters of what lies on the log."""
    for values in ACCEPTED[topic]:
        assert json.dumps(decoded(topic, values).to_avro()) == json.dumps(values)


def test_a_letter_of_a_newer_unicode_is_read():
    """An order that a newer Python took is no dead letter of an older one; what is no letter anywhere still is."""
    assert not NEWER_LETTER.isprintable()
    assert decoded("order.created", ORDER | {"customer_id": NEWER_LETTER}).customer_id == NEWER_LETTER
    for other in ("\n", "\u202e", "\x00", "\ue000"):
        with pytest.raises(ValueError, match="printable characters"):
            TYPES["order.created"].from_avro(ORDER | {"customer_id": NEWER_LETTER + other})


def test_money_in_a_currency_that_was_dropped_is_told_in_minor_units():
    """`2933 HRK` would be read as 2933 kunas."""
    said = Sentences(EVENTS).tell("payment.charged", PAYMENT | {"amount": 2933})
    assert said == "2933 minor units of HRK was charged"
