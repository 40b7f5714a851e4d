"""Orders with problems: dead letters, from their topics, and parked orders, from the services' databases. Read only."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from eventbus.cli.parked_commands import as_dict
from eventbus.database import SQLITE, NotThere, WrongDatabase, check_file
from eventbus.database.postgresql import checked
from eventbus.store.blocked_keys import COLUMNS, BlockedKey
from eventbus.text.redaction import scrub
from saga.deadletters.letters import LetterTarget, groups, letters_of, resolutions_of
from saga.kafka.cluster import Unreachable
from saga.kafka.event_topics import TopicsMissing
from saga.kafka.reader import NoSuchTopic
from saga.kafka.records import LogMoved

MOST = 500
FRESH_SECONDS = 5.0
WAIT_SECONDS = 1.5
CANNOT_READ = (
    KafkaException,
    LogMoved,
    NoSuchTopic,
    WrongDatabase,
    NotThere,
    TopicsMissing,
    Unreachable,
    sqlite3.Error,
    psycopg.Error,
)


Found = tuple[list[dict[str, Any]], list[str]]
"""What was found, and what could not be read."""


class TroubleQuery:
    """A query that may take long. The caller waits for a moment, and gets the latest known result."""

    def __init__(self, read: Callable[[], Found], silent: str) -> None:
        """`silent` is the message about what does not answer if `read` takes longer than a moment."""
        self._read, self._silent = read, silent
        self._found: Found = ([], [])
        self._at = -math.inf
        self._reading: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Start a read in a thread of its own, unless one is running or the last result is fresh."""
        with self._lock:
            if self._reading is None and time.monotonic() - self._at > FRESH_SECONDS:
                self._reading = threading.Thread(target=self._run, daemon=True)
                self._reading.start()

    def result(self, until: float) -> Found:
        """Return the result as soon as it has been read, or the latest one at `until` (monotonic)."""
        reading = self._reading
        if reading is not None:
            reading.join(max(0.0, until - time.monotonic()))
            if reading.is_alive():
                found, _ = self._found
                known = "the data shown is from an earlier read" if found else "no data yet"
                return found, [f"{self._silent} ({known})"]
        return self._found

    def _run(self) -> None:
        try:
            found = self._read()
        except CANNOT_READ as why:
            found = (self._found[0], [str(why)])
        with self._lock:
            self._found, self._at, self._reading = found, time.monotonic(), None


class TroubleReport:
    """The sources: the cluster, and the database of each service. Results are kept for some seconds."""

    def __init__(self, where: LetterTarget, databases: Mapping[str, str]) -> None:
        self.where = where
        self._parked = TroubleQuery(lambda: parked_orders(databases), "parked orders: a database does not answer")
        self._letters = TroubleQuery(lambda: (self._read_letters(), []), "dead letters: the broker does not answer")

    def report(self) -> dict[str, Any]:
        """Return the newest parked orders and dead letters, and the sources that could not be read; within 2 s."""
        until = time.monotonic() + WAIT_SECONDS
        for look in (self._parked, self._letters):
            look.begin()
        parked, errors = self._parked.result(until)
        letters, more = self._letters.result(until)
        return {"parked": parked, "dead_letters": letters, "errors": [*errors, *more]}

    def _read_letters(self) -> list[dict[str, Any]]:
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
    """Return the parked orders in the services' databases, and which of these could not be read, and why."""
    parked: list[dict[str, Any]] = []
    errors: list[str] = []
    for service, url in databases.items():
        try:
            check_file(f"the database of {service}", url)
            parked += [_parked(service, BlockedKey(*row)) for row in _rows(url, service)]
        except CANNOT_READ as why:
            errors.append(scrub(str(why)))
    return parked, errors


def _rows(url: str, service: str) -> list[tuple[Any, ...]]:
    """Return the blocked keys of a database; none if its schema is older than parking."""
    sql = f"select {COLUMNS} from fence order by since_ms desc limit {MOST}"
    try:
        if url.startswith(SQLITE):
            path = f"file:{url.removeprefix(SQLITE)}?mode=ro"
            with closing(sqlite3.connect(path, uri=True, timeout=2)) as database:
                return database.execute(sql).fetchall()
        with psycopg.connect(checked(url), connect_timeout=3) as server:
            server.read_only = True
            server.execute(f"set local search_path = {service.replace('-', '_')}".encode())
            return server.execute(sql.encode()).fetchall()
    except (psycopg.errors.UndefinedTable, sqlite3.OperationalError) as error:
        if "no such table" in str(error) or isinstance(error, psycopg.errors.UndefinedTable):
            return []
        raise


def _parked(service: str, known: BlockedKey) -> dict[str, Any]:
    told = as_dict(known)
    return {"service": service, "order_id": told.pop("key"), **told}
