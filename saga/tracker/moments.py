"""Times as people write them (`30s`, `10m`, `2h`, `7d` ago, or RFC 3339) and read them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
PLAIN = re.compile(r"[\d.]+")
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SECOND, MINUTE, HOUR, DAY = (UNITS[unit] for unit in ("s", "m", "h", "d"))


class Duration(click.ParamType[int]):
    """A span of time in ms: `250ms`, `30s`, `10m`, `2h`, `7d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        match = DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not a time span: write 250ms, 30s, 10m, 2h or 7d", param, ctx)
        return round(float(match[1]) * UNITS[match[2]])


class Seconds(Duration):
    """A Duration, or a number of seconds without a unit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        return super().convert(f"{value}s" if PLAIN.fullmatch(str(value)) else value, param, ctx)


class Moment(click.ParamType[int]):
    """A time in ms since 1970: a Duration ago, or RFC 3339; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        if DURATION.fullmatch(str(value)):
            return time.time_ns() // 1_000_000 - Duration().convert(value, param, ctx)
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(
                f"{value!r} is not a time: write 2026-01-31T12:00:00Z, or how long ago: 30s, 10m, 2h, 7d", param, ctx
            )
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def span(milliseconds: int) -> str:
    """Return a time span as text: `38 ms`, `1.2 s`, `4 min`, `2.5 h`, `3.1 days`."""
    size = abs(milliseconds)
    if size < SECOND:
        return f"{milliseconds} ms"
    for most, unit, name in ((MINUTE, SECOND, "s"), (HOUR, MINUTE, "min"), (2 * DAY, HOUR, "h")):
        if size < most:
            return f"{_rounded(milliseconds / unit)} {name}"
    return f"{_rounded(milliseconds / DAY)} days"


def _rounded(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
