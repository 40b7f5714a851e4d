"""Orders in trouble: dead letters, from their topics, and parked orders, from the services' databases. Read only."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from choreography.check.log import TopicsMissing
from choreography.check.records import LogMoved
from choreography.cluster import Unreachable
from choreography.deadletters.letters import Where, groups, letters_of, resolutions_of
from choreography.reader import NoSuchTopic
from eventbus.database import SQLITE, NotThere, check_file
from eventbus.fence import COLUMNS, Fence
from eventbus.parked_commands import as_dict

MOST = 500
FRESH_SECONDS = 5.0
CANNOT_READ = (
    KafkaException,
    LogMoved,
    NoSuchTopic,
    NotThere,
    TopicsMissing,
    Unreachable,
    sqlite3.Error,
    psycopg.Error,
)


@dataclass
class Trouble:
    """What is looked at: the cluster, and by service its database. What was found is kept for some seconds."""

    where: Where
    databases: dict[str, str]
    _found: dict[str, Any] = field(default_factory=dict)
    _at: float = 0.0

    def report(self) -> dict[str, Any]:
        """Return parked orders and dead letters, the newest at most, and what could not be looked at."""
        if not self._found or time.monotonic() - self._at > FRESH_SECONDS:
            self._found, self._at = self._read(), time.monotonic()
        return self._found

    def _read(self) -> dict[str, Any]:
        parked, errors = parked_orders(self.databases)
        try:
            letters = self._letters()
        except CANNOT_READ as why:
            letters = []
            errors.append(f"dead letters: {why}")
        return {"parked": parked, "dead_letters": letters, "errors": errors}

    def _letters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for group in groups(self.where):
            try:
                resolved = resolutions_of(self.where, group)
            except NoSuchTopic:
                resolved = {}
            still_open = (letter for letter in letters_of(self.where, group) if letter.address not in resolved)
            found += [letter.described(None) for letter in deque(still_open, maxlen=MOST)]
        return found


def parked_orders(databases: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the services have parked, by where their databases are, and which could not be read, and why."""
    parked: list[dict[str, Any]] = []
    errors: list[str] = []
    for service, url in databases.items():
        try:
            check_file(f"the database of {service}", url)
            parked += [_parked(service, Fence(*row)) for row in _rows(url, service)]
        except CANNOT_READ as why:
            errors.append(str(why))
    return parked, errors


def _rows(url: str, service: str) -> list[tuple[Any, ...]]:
    """Return the fences of a database; none where this version of the service parks nothing."""
    sql = f"select {COLUMNS} from fence order by since_ms desc limit {MOST}"
    try:
        if url.startswith(SQLITE):
            path = f"file:{url.removeprefix(SQLITE)}?mode=ro"
            with closing(sqlite3.connect(path, uri=True, timeout=2)) as database:
                return database.execute(sql).fetchall()
        schema = service.replace("-", "_")
        with psycopg.connect(url, connect_timeout=3, options=f"-c search_path={schema}") as server:
            server.read_only = True
            return server.execute(sql.encode()).fetchall()
    except (psycopg.errors.UndefinedTable, sqlite3.OperationalError) as error:
        if "no such table" in str(error) or isinstance(error, psycopg.errors.UndefinedTable):
            return []
        raise


def _parked(service: str, known: Fence) -> dict[str, Any]:
    told = as_dict(known)
    return {"service": service, "order_id": told.pop("key"), **told}
