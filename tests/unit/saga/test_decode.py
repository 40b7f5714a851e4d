"""`saga decode` takes what `kcat -f '%R%s'` writes, and loses no record on the way."""

from __future__ import annotations

import json
from contextlib import suppress
from io import BytesIO

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from eventbus import Codec
from eventbus.serde.registry import registry_at
from saga.__main__ import main
from saga.kafka.decode import Decoder, NotKcat, Undecodable, frames
from schemas import EVENTS, Item, OrderConfirmed, OrderCreated, PaymentFailed

CODEC = Codec(registry_at(None, EVENTS), EVENTS)
ORDER = OrderCreated("o-1", "c-1", 2933, "USD", (Item("CD-é", 2),))
GOOD = CODEC.encode(ORDER)
REFUSED = CODEC.encode(PaymentFailed("o-1", "no", "DECLINED"))
"""It ends with the number of an enum's symbol."""


def framed(*values: bytes | None) -> bytes:
    return b"".join(
        (-1).to_bytes(4, "big", signed=True) if value is None else len(value).to_bytes(4, "big") + value
        for value in values
    )


def decoded(stdin: bytes) -> Result:
    return CliRunner().invoke(main, ["decode"], input=stdin, env={"SCHEMA_REGISTRY_URL": None})


@given(st.lists(st.none() | st.binary(max_size=300)))
def test_every_value_comes_out_as_it_went_in(values):
    """Nulls and empty values too, which are not the same."""
    assert list(frames(BytesIO(framed(*values)))) == values


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.data())
def test_input_that_ends_inside_a_record_is_an_error_with_both_positions(values, data):
    """Whatever byte it ends at, unless that is the end of a record."""
    whole = framed(*values)
    ends = {len(framed(*values[:count])) for count in range(len(values) + 1)}
    end = data.draw(st.integers(0, len(whole)).filter(lambda end: end not in ends))
    start = max(known for known in ends if known < end)
    with pytest.raises(NotKcat, match=rf"ends at byte {end}, .* starts at byte {start}$"):
        list(frames(BytesIO(whole[:end])))


@pytest.mark.parametrize("length", [-2, -(2**31), 64 * 1024 * 1024 + 1, 2**31 - 1])
def test_an_absurd_length_is_named_with_its_position_and_nothing_is_allocated_for_it(length):
    """The input is something else, plain text for example."""
    stream = BytesIO(framed(b"fine") + length.to_bytes(4, "big", signed=True) + b"x")
    with pytest.raises(NotKcat, match=f"at byte 8: a record of {length} bytes"):
        list(frames(stream))


def test_one_line_a_record_with_the_fields_of_the_event():
    """In the order of the input; text stays text."""
    result = decoded(framed(GOOD, CODEC.encode(OrderConfirmed("o-1"))))
    assert result.exit_code == 0
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["items"] == [{"sku": "CD-é", "quantity": 2}]
    assert (first["total"], first["currency"]) == (2933, "USD")
    assert second == {"order_id": "o-1"}
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "null"),
        (b"", "empty"),
        (b'{"order_id": "1"}', "not Confluent-framed"),
        (b"\0\0\0", "not Confluent-framed"),
        (b"\0\0\0\xff\xff" + GOOD[5:], "65535"),
        (GOOD[:-1], "EOFError"),
        (GOOD + b"x", "1 bytes follow"),
        (GOOD[:5] + b"\xff" * 12, "saga.events.OrderCreated"),
        (REFUSED[:-1] + b"\x01", "-1"),
        (REFUSED[:-1] + b"\x06", "number 3"),
    ],
)
def test_a_bad_record_becomes_an_error_line_and_the_next_one_is_decoded(value, why):
    """And the exit code is 1 at the end, with the count."""
    result = decoded(framed(value, GOOD))
    bad, good = map(json.loads, result.stdout.splitlines())
    assert list(bad) == ["error"]
    assert why in bad["error"]
    assert good["order_id"] == "o-1"
    assert result.exit_code == 1
    assert "1 of 2 records" in result.stderr


def test_records_before_truncated_input_are_shown_then_it_fails():
    """What was whole is not lost."""
    result = decoded(framed(GOOD, GOOD)[:-1])
    assert len(result.stdout.splitlines()) == 1
    assert result.exit_code == 1
    assert "in the middle of the record" in result.stderr


@given(st.binary(max_size=200))
def test_hostile_bytes_are_undecodable_and_nothing_else(body):
    """Never another exception, whatever follows a frame that looks right."""
    decoder = Decoder(registry_at(None, EVENTS))
    with suppress(Undecodable):
        assert set(decoder.decode(GOOD[:5] + body)) == {"order_id", "customer_id", "total", "currency", "items"}
