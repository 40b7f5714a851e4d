"""Records on order.created that are no orders, and on payment.failed that are no refusals.

Each kind, and the reason that its dead letter must give.
"""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
from confluent_kafka import murmur2

from eventbus.serde.codec import Codec
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import registry_at
from schemas import IDS, InventoryReserved, OrderCancelled, OrderCreated, PaymentFailed

ORDER_ID = "01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21"
ITEM = {"sku": "cd-1", "quantity": 1}
ORDER = {"order_id": ORDER_ID, "customer_id": "42", "total": 100, "currency": "USD", "items": [ITEM]}
KEY = ORDER_ID.encode()
MISPLACED = "wrong_partition"
CODEC = Codec(registry_at(None, [PaymentFailed]), [PaymentFailed])
LARGEST = 1_048_400
"""Bytes of a value that a topic with Kafka's default limits just takes; its dead letter is larger."""


class Bad(NamedTuple):
    """A record, and the reason that its dead letter must give."""

    value: bytes | None
    reason: str
    key: bytes | None = KEY
    headers: tuple[tuple[str, bytes], ...] = ()


def schema_id(event: type[Any], version: int = 1) -> int:
    """Return the id under which a version of an event's schema was released."""
    released = json.loads(IDS.read_text())
    return next(int(number) for number, path in released.items() if path == f"released/{event.topic}.v{version}.avsc")


def framed(event: type[Any], values: dict[str, Any]) -> bytes:
    """Return a record value as a producer writes it that has the first schema and no sense."""
    body = BytesIO(FRAME.pack(0, schema_id(event)))
    body.seek(FRAME.size)
    released = json.loads((IDS.parent / "released" / f"{event.topic}.v1.avsc").read_text())
    fastavro.schemaless_writer(body, fastavro.parse_schema(released), values)
    return body.getvalue()


def number(value: int) -> bytes:
    """Return an Avro int or long: zigzag, then base 128; of any size, as no writer of Avro would make it."""
    value = value << 1 if value >= 0 else (-value << 1) - 1
    encoded = b""
    while value >= 128:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def text(value: bytes) -> bytes:
    """Return an Avro string of these bytes, whether they are UTF-8 or not."""
    return number(len(value)) + value


def raw(
    order_id: bytes = text(KEY),
    customer_id: bytes = text(b"42"),
    total: bytes = number(100),
    currency: bytes = text(b"USD"),
    items: bytes = number(1) + text(b"cd-1") + number(1) + number(0),
) -> bytes:
    """Return an order.created of encoded fields, each of which may be anything."""
    return FRAME.pack(0, schema_id(OrderCreated)) + order_id + customer_id + total + currency + items


def refusal(code: bytes, version: int = 3, error: bytes = text(b"no")) -> bytes:
    """Return a payment.failed whose code, an enum, may be anything."""
    return FRAME.pack(0, schema_id(PaymentFailed, version)) + text(KEY) + error + code


def order(**changed: Any) -> bytes:
    return framed(OrderCreated, ORDER | changed)


GOOD = order()
assert raw() == GOOD
ID = "order-\u200b1"
BODY = GOOD[FRAME.size :]

BAD = {
    # No value, or none of ours.
    "a tombstone": Bad(None, "null_value"),
    "a tombstone with headers of 900 kB": Bad(None, "null_value", headers=(("h", b"\0" * 900_000),)),
    "an empty value": Bad(b"", "empty_value"),
    "one zero byte": Bad(b"\0", "not_framed"),
    "JSON": Bad(json.dumps(ORDER).encode(), "not_framed"),
    "JSON in UTF-16": Bad(json.dumps(ORDER).encode("utf-16"), "not_framed"),
    "an Avro file": Bad(b"Obj\x01" + BODY, "not_framed"),
    "Avro's single-object encoding": Bad(b"\xc3\x01" + bytes(8) + BODY, "not_framed"),
    "Avro without a frame": Bad(BODY, "not_framed"),
    "another magic byte": Bad(b"\x01" + GOOD[1:], "not_framed"),
    "compressed by hand": Bad(gzip.compress(GOOD), "not_framed"),
    "1,048,400 bytes of nothing": Bad(b"x" * LARGEST, "not_framed"),
    # A frame that leads nowhere.
    "only a frame": Bad(GOOD[: FRAME.size], "malformed"),
    "schema id 0": Bad(FRAME.pack(0, 0) + BODY, "not_framed"),
    "an unknown schema id": Bad(FRAME.pack(0, 4_000_000_000) + BODY, "unknown_schema_id"),
    "another event's schema": Bad(framed(InventoryReserved, {"order_id": ORDER_ID}), "wrong_schema"),
    "another event's schema over an order": Bad(FRAME.pack(0, schema_id(OrderCancelled)) + BODY, "wrong_schema"),
    # A body that is none.
    "truncated": Bad(GOOD[:-1], "malformed"),
    "a trailing byte": Bad(GOOD + b"\0", "trailing_bytes"),
    "two events in one value": Bad(GOOD + GOOD, "trailing_bytes"),
    "1,048,400 bytes after an event": Bad(GOOD + b"\0" * (LARGEST - len(GOOD)), "trailing_bytes"),
    "a string of negative length": Bad(raw(customer_id=number(-5)), "malformed"),
    "a string of 2^62 bytes": Bad(raw(customer_id=number(2**62) + b"x"), "malformed"),
    "a number without an end": Bad(raw(total=b"\xff" * 40), "malformed"),
    "50 million items in 5 bytes": Bad(raw(items=number(50_000_000) + b"\0"), "malformed"),
    "2^62 items": Bad(raw(items=number(2**62)), "malformed"),
    "340,000 items in a megabyte": Bad(raw(items=number(340_000) + b"\x02a\x02" * 340_000 + number(0)), "malformed"),
    "a block of items of negative count": Bad(raw(items=number(-(2**40)) + number(8) + b"\0"), "malformed"),
    "bad UTF-8 in the order id": Bad(raw(order_id=text(b"\xff" * 36)), "malformed"),
    "a surrogate in UTF-8": Bad(raw(customer_id=text(b"\xed\xa0\x80")), "malformed"),
    "a flipped bit in a length": Bad(raw(order_id=bytes([GOOD[5] ^ 0x40]) + text(KEY)[1:]), "malformed"),
    # Values that no order has.
    "a negative amount": Bad(order(total=-1), "invalid_value"),
    "an amount beyond all orders": Bad(order(total=2**62), "invalid_value"),
    "an amount of more than 64 bits": Bad(raw(total=number(2**70)), "malformed"),
    "a quantity of more than 32 bits": Bad(
        raw(items=number(1) + text(b"cd-1") + number(2**33) + number(0)), "invalid_value"
    ),
    "a quantity of 0": Bad(order(items=[ITEM | {"quantity": 0}]), "invalid_value"),
    "a quantity of 10,001": Bad(order(items=[ITEM | {"quantity": 10_001}]), "invalid_value"),
    "no items": Bad(order(items=[]), "invalid_value"),
    "101 items": Bad(order(items=[ITEM] * 101), "invalid_value"),
    "no currency": Bad(order(currency="Dollars"), "invalid_value"),
    "a currency in small letters": Bad(order(currency="usd"), "invalid_value"),
    "a currency that only looks like one": Bad(order(currency="\u0555SD"), "invalid_value"),
    "an empty order id": Bad(order(order_id=""), "invalid_value", b""),
    "an order id of 201 characters": Bad(order(order_id="x" * 201), "invalid_value", b"x" * 201),
    "control characters in the order id": Bad(order(order_id="a\x00\x1b[2J"), "invalid_value", b"a\x00\x1b[2J"),
    "a zero-width space in the order id": Bad(order(order_id=ID), "invalid_value", ID.encode()),
    "an override of the writing direction": Bad(order(customer_id="42\u202e"), "invalid_value"),
    # A key that is not the order's.
    "no key": Bad(GOOD, "key_missing", None),
    "an empty key": Bad(GOOD, "key_mismatch", b""),
    "another order's key": Bad(GOOD, "key_mismatch", KEY[:-1] + b"2"),
    "the key in capitals": Bad(GOOD, "key_mismatch", KEY.upper()),
    "a key that is no UTF-8": Bad(GOOD, "key_mismatch", b"\xff\xfe\xfd"),
    "a key of 100 kB": Bad(GOOD, "key_mismatch", b"k" * 100_000),
    "1,000 headers": Bad(GOOD[:-1], "malformed", headers=(("h", b"x"),) * 1_000),
    # Good anywhere but here, for workers that are told over how many partitions keys are placed.
    "a key in the wrong partition": Bad(GOOD, MISPLACED),
}

BAD_REFUSALS = {
    "a code behind the last symbol": Bad(refusal(number(3)), "malformed"),
    "a code that came with the next version": Bad(refusal(number(2), version=2), "malformed"),
    "a code before the first symbol": Bad(refusal(number(-1)), "malformed"),
    "a code before the first symbol, in two bytes": Bad(refusal(b"\x81\x00"), "malformed"),
    "a code before the first symbol, of an older version": Bad(refusal(number(-2), version=2), "malformed"),
    "a code before the first symbol, behind a text that is not ASCII": Bad(
        refusal(number(-3), error=text("zu groß, é".encode())), "malformed"
    ),
    "a code of 2^31": Bad(refusal(number(2**31)), "malformed"),
    "a code of more than 64 bits": Bad(refusal(number(2**64)), "malformed"),
    "a code without an end": Bad(refusal(b"\x80"), "malformed"),
    "no code": Bad(refusal(b""), "malformed"),
    "a code in the version before there were any": Bad(refusal(number(0), version=1), "trailing_bytes"),
    "two codes": Bad(refusal(number(1) * 2), "trailing_bytes"),
}
assert refusal(number(2)) == CODEC.encode(PaymentFailed(ORDER_ID, "no", "LIMIT_EXCEEDED"))


def places(bad: Bad, partitions: int) -> list[int]:
    """Return in which of so many partitions the record is bad: in every one, but for one that is only misplaced."""
    home = murmur2(KEY, partitions) if bad.reason == MISPLACED else None
    return [number for number in range(partitions) if number != home]
