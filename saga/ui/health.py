"""The health of each service for the page: who works, how far behind, what it waits for.

Workers and what they have handled are in the service's database; the events that are left, and the orders that wait, in
the tracker's.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

from eventbus.text.redaction import scrub
from saga.flow.model import Flow
from saga.tracker.endings import PATIENCE_MS
from saga.tracker.page_queries import Lag, PageTracked, Waiting
from saga.tracker.stats import waiting
from saga.ui.databases import reading
from saga.ui.trouble import CANNOT_READ, WAIT_SECONDS, Found, TroubleQuery

ALIVE_MS = 15_000
"""A worker renews its lease every 2 s; one that has not for this long does not work."""
SLOW_MS = 10_000
"""An event that has waited longer than this is a sign of trouble."""
MOST_SHOWN = 120
"""So many characters of a reason are shown."""
BROKER_AWAY = "no Kafka broker answers; lag unknown"
LEASES = "select name, host, pid, started_at_ms, heartbeat_at_ms from instance_lease order by name"
WAITS = "select name, why from instance_wait"
CHECKPOINTS = "select topic, partition, next_offset from checkpoint"
PARKED = "select count(*), min(since_ms) from fence"
QUARANTINE = "select reason from quarantine where released_at_ms is null"


class WorkersQuery:
    """What the services' databases say of their workers; kept for some seconds, and read in a thread of its own."""

    def __init__(self, databases: Mapping[str, str]) -> None:
        self._query = TroubleQuery(lambda: (workers_in(databases), []), "the databases of the services")

    def report(self) -> Found:
        """Return one entry a service, and what did not answer; within 2 s."""
        self._query.begin()
        return self._query.result(time.monotonic() + WAIT_SECONDS)


def health(flow: Flow, tracked: PageTracked, workers: Found, now: int, *, broker: str = "") -> dict[str, Any]:
    """Return the health of each service with stable keys; `now` in ms since 1970; `broker`: why none answers."""
    known = {entry["service"]: entry for entry in workers[0]}
    waits = tracked.waits(waiting(tracked.model, tracked.kinds()))
    late = tracked.overdue(now - PATIENCE_MS)
    found = []
    for service in flow.services:
        name = service.service
        consumed = sorted({handler.does.event for handler in flow.handlers if handler.service == name})
        entry = known.get(name, {"workers": [], "handled": None, "parked": 0, "stopped": "", "error": ""})
        lag = None if entry["handled"] is None or broker else tracked.lag(consumed, entry["handled"])
        alive = [each for each in entry["workers"] if now - each["heartbeat_at_ms"] < ALIVE_MS]
        tone, says = _says(entry, alive, lag, now) if name in known else ("unknown", "not known yet")
        if broker and tone != "bad":
            tone, says = "bad", BROKER_AWAY
        overdue = late if set(service.publishes) & flow.overdue else 0
        found.append(
            {
                "service": name,
                "workers": alive,
                "lag_events": lag and lag.events,
                "lag_since": lag and lag.since,
                "last_event": tracked.last_event(service.publishes),
                "waiting": waits[name]._asdict() if name in waits else None,
                "parked": entry["parked"],
                "overdue": overdue,
                "tone": "bad" if overdue else tone,
                "says": says,
                "error": entry["error"],
            }
        )
    return {"now": now, "services": found, "others": _others(waits, flow), "errors": workers[1]}


def _says(entry: Mapping[str, Any], alive: Sequence[Mapping[str, Any]], lag: Lag | None, now: int) -> tuple[str, str]:
    """Return the tone, and what the service waits for."""
    left = lag.events if lag else 0
    if entry["error"]:
        return "unknown", "workers unknown: its database cannot be read"
    if entry["stopped"]:
        return "bad", f"stopped, an operator has to decide: {entry['stopped']}"
    if not alive:
        return "bad", f"no worker runs, events not handled: {left:,}" if left else "no worker runs"
    why = next((each["waits_for"] for each in alive if each["waits_for"]), "")
    if why or entry["parked"]:
        parked = f"retries parked orders: {entry['parked']:,}"
        return "bad", f"waits: {textwrap.shorten(why, MOST_SHOWN, placeholder=' …')}" if why else parked
    if lag and lag.since is not None and now - lag.since > SLOW_MS:
        return "bad", f"behind, events not handled: {left:,}"
    return ("good", "works") if left else ("good", "waits for events; all are handled")


def _others(waits: Mapping[str, Waiting], flow: Flow) -> dict[str, Any]:
    """Return the orders that wait for nobody in particular."""
    services = {service.service for service in flow.services}
    return {name: waited._asdict() for name, waited in waits.items() if name not in services}


def workers_in(databases: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what each of these databases says of its service; `error`: why it could not be read."""
    return [_one(service, url) for service, url in databases.items()]


def _one(service: str, url: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "service": service,
        "workers": [],
        "handled": None,
        "parked": 0,
        "stopped": "",
        "error": "",
    }
    try:
        with reading(service, url) as select:
            columns, waits = ("name", "host", "pid", "started_at_ms", "heartbeat_at_ms"), dict(select(WAITS))
            entry["workers"] = [
                dict(zip(columns, row, strict=True)) | {"waits_for": waits.get(row[0], "")} for row in select(LEASES)
            ]
            entry["handled"] = {(topic, number): offset for topic, number, offset in select(CHECKPOINTS)}
            entry["parked"] = sum(count for count, _ in select(PARKED))
            entry["stopped"] = next((reason for (reason,) in select(QUARANTINE)), "")
    except CANNOT_READ as why:
        entry["error"] = scrub(str(why))
    return entry
