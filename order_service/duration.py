"""Durations as people write them: 15m, 90s, 1h30m, 2d, or ISO 8601 (PT15M)."""

from __future__ import annotations

import re

UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
SHOWN = {"d": "d", "h": "h", "m": "min", "s": "s", "ms": "ms"}
LONGEST_MS = 365 * UNITS["d"]
FORMS = "write 15m, 90s, 1h30m, 2d or PT15M, or 0 for none"
PLAIN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
ISO = re.compile(r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII)
MOST_CHARACTERS = 40


def to_ms(text: str) -> int:
    """Return a duration in milliseconds. Raises ValueError for what is none, and for one of more than a year."""
    if text == "0":
        return 0
    found = (PLAIN.fullmatch(text) or ISO.fullmatch(text)) if len(text) <= MOST_CHARACTERS else None
    if found is None or not any(found.groups()):
        what = "has no unit" if text.isdecimal() else "is negative" if text.startswith("-") else "is not a duration"
        raise ValueError(f"{text[:MOST_CHARACTERS]!r} {what}: {FORMS}")
    ms = sum(int(number) * unit for number, unit in zip(found.groups(), UNITS.values(), strict=False) if number)
    if ms > LONGEST_MS:
        raise ValueError(f"{text!r} is more than a year (365d): {FORMS}")
    return ms


def to_text(ms: int) -> str:
    """Return a duration for people, as in `1 h 30 min`: its two largest units."""
    parts = []
    for unit, size in UNITS.items():
        count, ms = divmod(ms, size)
        parts += [f"{count} {SHOWN[unit]}"] if count else []
    return " ".join(parts[:2]) or "0 s"
