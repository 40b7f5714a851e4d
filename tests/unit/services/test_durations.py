"""Durations at the command line: what is accepted, what is refused, and how they are shown."""

from __future__ import annotations

import pytest

from order_service.duration import to_ms, to_text

MINUTE = 60_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("15m", 15 * MINUTE),
        ("90s", 90_000),
        ("250ms", 250),
        ("1h30m", 90 * MINUTE),
        ("2d", 2 * 1440 * MINUTE),
        ("PT15M", 15 * MINUTE),
        ("P1DT2H", 26 * 60 * MINUTE),
        ("365d", 365 * 1440 * MINUTE),
    ],
)
def test_a_duration_is_read(text, ms):
    """Units from days to milliseconds, the largest first, or ISO 8601."""
    assert to_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("15", "'15' has no unit: write 15m"),
        ("-15m", "is negative"),
        ("366d", "is more than a year"),
        ("P2Y", "is not a duration"),
        ("", "is not a duration"),
        ("m", "is not a duration"),
        ("PT", "is not a duration"),
        ("P", "is not a duration"),
        ("1.5h", "is not a duration"),
        ("30m1h", "is not a duration"),
        ("15 m", "is not a duration"),
        ("\u0661\u0665m", "is not a duration"),
        ("9" * 1_000 + "m", "is not a duration"),
    ],
)
def test_what_is_none_is_refused_with_what_to_write(text, why):
    """The value is named, and what is wrong with it."""
    with pytest.raises(ValueError, match="write 15m, 90s, 1h30m, 2d or PT15M, or 0 for none") as refused:
        to_ms(text)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0 s"), (15 * MINUTE, "15 min"), (90_000, "1 min 30 s"), (5_400_000, "1 h 30 min"), (1_500, "1 s 500 ms")],
)
def test_a_duration_is_shown_in_its_two_largest_units(ms, text):
    """As people say it."""
    assert to_text(ms) == text
