"""What a handler gets when a deadline is over, in the place of an event."""

from __future__ import annotations

from typing import ClassVar

from eventbus.event.base import Event


class Overdue(Event, frozen=True, gc=False):
    """The deadline of the row with this key is over. It is not published: it is on no topic."""

    topic: ClassVar[str] = "overdue"

    key: str
    due_ms: int
    """When the deadline was over, in milliseconds since 1970 UTC."""
