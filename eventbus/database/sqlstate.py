"""Why a PostgreSQL server refused a connection: by its SQLSTATE, which is independent of the language.

For a connection that failed, libpq returns only a text in the server's language. Its trace contains the SQLSTATE, so
the connection is tried once more with a trace.
"""

from __future__ import annotations

import re
import select
import tempfile
import time
from typing import IO, NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

REFUSAL = re.compile(rb'ErrorResponse\t[^\n]*? C "([0-9A-Z]{5})"')
LASTING = ("22", "28", "3D", "42")
"""Wrong user or password, no such database, no privilege, a wrong option. All others are transient: a starting server,
too many connections, a network outage."""
PROTOCOL_VIOLATION = "08P01"
"""PgBouncer's error for `options` that it does not accept, and for many transient conditions."""
NOT_AUTHORIZED = "28P01"
AUTHENTICATED = re.compile(rb"\tAuthentication(SASLFinal|Ok)\b")
POLLING = (pq.PollingStatus.READING, pq.PollingStatus.WRITING)


class Attempt(NamedTuple):
    """How an attempt to connect ended."""

    connected: bool
    sqlstate: str | None
    """The error code of the server; None if it did not answer."""


def refuses_login(url: str, error: psycopg.OperationalError, until: float) -> bool:
    """Return whether this connection stays impossible until a setting is changed; false if that is unknown.

    It is tried again `until` this time of the monotonic clock.
    """
    if error.pgconn is not None and error.pgconn.needs_password:
        return True
    _, sqlstate = attempt(url, until)
    if sqlstate == PROTOCOL_VIOLATION and conninfo_to_dict(url).get("options"):
        return attempt(make_conninfo(url, options=""), until).connected
    return (sqlstate or "").startswith(LASTING)


def attempt(url: str, until: float) -> Attempt:
    """Connect, and return the outcome."""
    with tempfile.TemporaryFile() as trace:
        connection = pq.PGconn.connect_start(make_conninfo(url).encode())
        try:
            connected = _connected(connection, trace, until)
        except (psycopg.Error, OSError, ValueError):
            connected = False
        finally:
            connection.finish()
        trace.seek(0)
        return Attempt(connected, None if connected else _sqlstate(trace.read()))


def _sqlstate(trace: bytes) -> str | None:
    """Return the code of the last host's error.

    PgBouncer 1.18 answers a wrong password with 08P01 too: during authentication it has no other meaning.
    """
    last = trace.rpartition(b"StartupMessage")[2]
    states = REFUSAL.findall(last)
    if states == [PROTOCOL_VIOLATION.encode()] and b"\tAuthentication" in last and not AUTHENTICATED.search(last):
        return NOT_AUTHORIZED
    return states[-1].decode() if states else None


def _connected(connection: pq.abc.PGconn, trace: IO[bytes], until: float) -> bool:
    """Connect, and return whether that succeeded in time."""
    wanted: int = pq.PollingStatus.WRITING
    if connection.status == pq.ConnStatus.BAD:
        return False
    connection.trace(trace.fileno())
    while wanted in POLLING and (left := until - time.monotonic()) > 0:
        socket = [connection.socket]
        reading = wanted == pq.PollingStatus.READING
        if any(select.select(socket if reading else [], [] if reading else socket, [], left)):
            wanted = connection.connect_poll()
    connection.untrace()
    return wanted == pq.PollingStatus.OK
