"""A finished saga on the topics of a real broker, and a tracker's database to follow it into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from saga.__main__ import main
from saga.check.facts import EventFact
from schemas import EVENTS
from tests.support.brokers.admin import Admin
from tests.support.models.written_saga import WrittenLog

TOPICS = [event.topic for event in EVENTS]


class TrackedLog(WrittenLog):
    """A saga on the log, and a tracker's database."""

    def __init__(self, bootstrap_servers: str, folder: Path) -> None:
        super().__init__(bootstrap_servers)
        self.admin = Admin(bootstrap_servers)
        self.environment = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "SAGA_TRACKER": str(folder / "tracker.db")}

    def saga(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments], env=self.environment)

    def track(self, *arguments: str) -> Result:
        return self.saga("track", "--no-follow", *arguments)

    def ask(self, *arguments: str) -> Any:
        result = self.saga(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def of_order(self, *topics: str) -> list[EventFact]:
        """Return the events of an order that has exactly these, by time."""
        by_order: dict[str, list[EventFact]] = {}
        for fact in self.facts:
            by_order.setdefault(fact.order_id, []).append(fact)
        found = next(facts for facts in by_order.values() if {fact.topic for fact in facts} == set(topics))
        return sorted(found, key=lambda fact: fact.timestamp_ms)
