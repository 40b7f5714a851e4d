"""What a handler gets when a deadline is over, in the place of an event."""

from __future__ import annotations

from typing import ClassVar

from eventbus.event.base import Event
from eventbus.log import to_iso

CLOCKS_SINCE_MS = 1_577_836_800_000
"""2020-01-01 in UTC: no clock that is right says an earlier time."""


class WrongClock(Exception):
    """The clock of this host is certainly wrong: every deadline that it sets or fires would be."""


def check_clock(now_ms: int) -> None:
    """Raise WrongClock for a time before 2020, as of a host that has lost its clock."""
    if now_ms < CLOCKS_SINCE_MS:
        raise WrongClock(f"the clock of this host says {to_iso(now_ms)}: set it, because deadlines depend on it")


class Overdue(Event, frozen=True, gc=False):
    """The deadline of the row with this key is over. It is not published: it is on no topic."""

    topic: ClassVar[str] = "overdue"

    key: str
    due_ms: int
    """When the deadline was over, in milliseconds since 1970 UTC."""

    def field_text(self, name: str) -> str:
        """See Event."""
        return to_iso(self.due_ms) if name == "due_ms" else super().field_text(name)
