"""Whether root events may wait to be published: a hint, so that a worker need not query them all the time."""

from __future__ import annotations

from collections.abc import Callable

from eventbus.database import Database

QUERY_SECONDS = 0.02
"""How often they are queried if the database gives no signal (a pooler in front of PostgreSQL, a standby)."""
SIGNALLED_QUERY_SECONDS = 0.2
"""How often they are queried even without a signal: one may be lost."""


class RootEventSignal:
    """The database's signal, or the time to query if it gives none."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock
        self._queried_at = clock()

    def seen(self) -> bool:
        """Return whether root events may wait."""
        changed = self._database.changed()
        if changed is None:
            changed = self._clock() - self._queried_at >= QUERY_SECONDS
        if changed:
            self._queried_at = self._clock()
        return changed
