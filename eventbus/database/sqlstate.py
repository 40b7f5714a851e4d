"""Why a PostgreSQL server lets nobody in: by its SQLSTATE, which has no language.

Of a connection that failed libpq says only a text, in the server's language. The code stands in its trace, so the
connection is tried once more with one.
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
"""Wrong user or password, no such database, no right to it, a wrong option. All else passes: a server that starts, too
many connections, a network that is away."""
PROTOCOL_VIOLATION = "08P01"
"""What PgBouncer says to `options` that it does not take; and to much else, which passes."""
NOT_AUTHORIZED = "28P01"
AUTHENTICATED = re.compile(rb"\tAuthentication(SASLFinal|Ok)\b")
POLLING = (pq.PollingStatus.READING, pq.PollingStatus.WRITING)


class Attempt(NamedTuple):
    """How an attempt to connect ended."""

    connected: bool
    sqlstate: str | None
    """With which the server refused it; None where nobody answered."""


def lets_nobody_in(url: str, error: psycopg.OperationalError, until: float) -> bool:
    """Return whether this connection can only be had when somebody has changed a setting; no, where that is not known.

    It is tried again `until` then, by the monotonic clock.
    """
    if error.pgconn is not None and error.pgconn.needs_password:
        return True
    _, sqlstate = attempt(url, until)
    if sqlstate == PROTOCOL_VIOLATION and conninfo_to_dict(url).get("options"):
        return attempt(make_conninfo(url, options=""), until).connected
    return (sqlstate or "").startswith(LASTING)


def attempt(url: str, until: float) -> Attempt:
    """Connect, and say how that ends."""
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
    """Return the code of the last host's refusal.

    PgBouncer 1.18 says 08P01 to a wrong password, too: in the middle of the authentication it means nothing else.
    """
    said = trace.rpartition(b"StartupMessage")[2]
    states = REFUSAL.findall(said)
    if states == [PROTOCOL_VIOLATION.encode()] and b"\tAuthentication" in said and not AUTHENTICATED.search(said):
        return NOT_AUTHORIZED
    return states[-1].decode() if states else None


def _connected(connection: pq.abc.PGconn, trace: IO[bytes], until: float) -> bool:
    """Connect as far as that goes in time."""
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
