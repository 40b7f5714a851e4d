"""Orders with problems: dead letters, from their topics, and parked orders, from the services' databases. Read only.

Each with the record itself, decoded, and the commands that put it right, for copying: the page does nothing.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from shlex import quote
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from eventbus.cli.parked_commands import as_dict
from eventbus.database import NotThere, WrongDatabase
from eventbus.log import Partition, Record
from eventbus.serde.registry import RegistryUnavailable
from eventbus.store.blocked_keys import COLUMNS, BlockedKey
from eventbus.store.packing import unpack_record
from eventbus.text.redaction import scrub
from saga.deadletters.letters import Letter, LetterTarget, groups, letters_of, resolutions_of
from saga.kafka.cluster import Unreachable
from saga.kafka.decode import Decoder
from saga.kafka.describe import describe
from saga.kafka.event_topics import TopicsMissing
from saga.kafka.reader import NoSuchTopic
from saga.kafka.records import LogMoved
from saga.ui.databases import Select, reading

MOST = 500
MOST_SHOWN = 50
"""At most this many records of a service are decoded and shown."""
MOST_BASE64 = 400
WHO = "--by YOU --reason 'WHY'"
FRESH_SECONDS = 5.0
STALE_SECONDS = 60.0
"""While it is read again, an older result is shown as one: reading may take seconds, and is no sign of trouble."""
WAIT_SECONDS = 1.5
CANNOT_READ = (
    KafkaException,
    LogMoved,
    RegistryUnavailable,
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

    def __init__(self, read: Callable[[], Found], what: str) -> None:
        """`what` is read: named if `read` takes longer than a moment."""
        self._read, self._what = read, what
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
            if reading.is_alive() and time.monotonic() - self._at > STALE_SECONDS:
                found, _ = self._found
                known = "the data shown is from an earlier read" if found else "no data yet"
                return found, [f"{self._what}: still being read ({known})"]
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

    def __init__(self, where: LetterTarget, databases: Mapping[str, str], decoder: Decoder) -> None:
        self.where, self._decoder = where, decoder
        self._parked = TroubleQuery(lambda: parked_orders(databases, decoder), "parked orders")
        self._letters = TroubleQuery(lambda: (self._read_letters(), []), "dead letters")

    def report(self) -> dict[str, Any]:
        """Return the newest parked orders and dead letters, and the sources that could not be read; within 2 s."""
        until = time.monotonic() + WAIT_SECONDS
        for look in (self._parked, self._letters):
            look.begin()
        parked, errors = self._parked.result(until)
        letters, more = self._letters.result(until)
        unread = [name for name, why in (("parked", errors), ("dead_letters", more)) if why]
        return {"parked": parked, "dead_letters": letters, "errors": [*errors, *more], "unread": unread}

    def _read_letters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for group in groups(self.where):
            try:
                resolved = resolutions_of(self.where, group)
            except NoSuchTopic:
                resolved = {}
            still_open = (letter for letter in letters_of(self.where, group) if letter.address not in resolved)
            newest = deque(still_open, maxlen=MOST)
            found += [
                letter.described(None)
                | _shown(letter.record, self._decoder if number < MOST_SHOWN else None)
                | {"commands": _letter_commands(letter)}
                for number, letter in enumerate(reversed(newest))
            ]
        return found


def parked_orders(
    databases: Mapping[str, str], decoder: Decoder | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the parked orders in the services' databases, and which of these could not be read, and why.

    With a `decoder` also the record on which the handler failed.
    """
    parked: list[dict[str, Any]] = []
    errors: list[str] = []
    for service, url in databases.items():
        try:
            with reading(service, url) as select:
                blocked = [BlockedKey(*row) for row in select(_BLOCKED)]
                firsts = _first_records(select) if blocked and decoder else {}
            for known in blocked:
                record = firsts.get(known.key)
                shown = _shown(record, decoder) if record else {"value": None, "headers": {}}
                parked.append(_parked(service, known) | {"record": record and record.address} | shown)
        except CANNOT_READ as why:
            errors.append(scrub(str(why)))
    return parked, errors


_BLOCKED = f"select {COLUMNS} from fence order by since_ms desc limit {MOST}"
_FIRST = f"""
select f.key, p.topic, p.partition, p.log_offset, p.timestamp_ms, p.record
from (select key, first from fence order by since_ms desc limit {MOST_SHOWN}) as f
join parked as p on p.key = f.key and p.position = f.first"""


def _first_records(select: Select) -> dict[str, Record]:
    """Return the record on which the handler failed, by key."""
    found = {}
    for key, topic, number, offset, at, blob in select(_FIRST):
        record_key, value, headers = unpack_record(bytes(blob))
        place = Partition(topic, number)
        found[key] = Record(place, offset, record_key, value, at, headers)  # type: ignore[arg-type]
    return found


def _shown(record: Record, decoder: Decoder | None) -> dict[str, Any]:
    """Return a record's address, headers and decoded value; None as the decoder if there are too many."""
    if decoder is None:
        return {"value": None, "headers": {}}
    described = describe(record, decoder)
    shown = {"headers": described["headers"], "value": described["value"]}
    if "error" in described:
        shown |= {"value_error": described["error"], "value_base64": described.get("value_base64", "")[:MOST_BASE64]}
    return shown


def _parked(service: str, known: BlockedKey) -> dict[str, Any]:
    told = as_dict(known)
    key = quote(known.key)
    commands = [
        f"{service} parked show {key}",
        f"{service} parked retry {key} {WHO}",
        f"{service} parked discard {key} {WHO}",
    ]
    return {"service": service, "order_id": told.pop("key"), **told, "commands": commands}


def _letter_commands(letter: Letter) -> list[str]:
    redrive = [] if letter.is_cut else [f"saga deadletters redrive {letter.address} {WHO}"]
    show, discard = f"saga deadletters show {letter.address}", f"saga deadletters discard {letter.address} {WHO}"
    return [show, *redrive, discard]
