"""The tracker's data, as text and as JSON with stable keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from eventbus.cli.tables import table_lines
from eventbus.log import to_iso
from eventbus.text.plural import plural
from saga.tracker.endings import BEGAN, cancels_itself
from saga.tracker.fold import OrderRow, TrackedEvent, TrackedViolation
from saga.tracker.moments import span
from saga.tracker.sentences import Sentences, money, printable
from saga.tracker.timeline import Timeline, TimelineStep
from saga.tracker.why import Why
from schemas import IDS


def cell(value: object) -> str:
    """Return a value as a table cell."""
    return "" if value is None else printable(str(value))


def order_cells(order: OrderRow) -> list[str]:
    """Return the table cells of an order."""
    total = "" if order.total is None else money(order.total, order.currency)
    cells = (order.order_id, order.status, to_iso(order.placed_at), total, order.customer_id)
    return [cell(value) for value in (*cells, order.undone, order.waiting_on, order.failed_at)]


def order_json(order: OrderRow) -> dict[str, Any]:
    """Return an order with stable keys."""
    return {
        "order_id": order.order_id,
        "status": order.status,
        "customer_id": order.customer_id,
        "total": order.total,
        "currency": order.currency,
        "placed_at": to_iso(order.placed_at),
        "updated_at": to_iso(order.updated_at),
        "ended_at": None if order.ended_at is None else to_iso(order.ended_at),
        "failed_at": order.failed_at,
        "waiting_on": order.waiting_on.split(",") if order.waiting_on else [],
        "undone": order.undone.split(",") if order.undone else [],
        "cancel_at": None if order.cancel_at is None else to_iso(order.cancel_at),
        "ending": order.ending,
        "ended_by": order.ended_by,
        "events": order.events,
        "violations": order.violations,
    }


def timeline_text(story: Timeline, sentences: Sentences, now: int) -> Iterator[str]:
    """Return an order's timeline line by line, as of `now` (ms since 1970)."""
    order = story.order
    total = "" if order.total is None else f", {money(order.total, order.currency)}"
    customer = "" if order.customer_id is None else f", customer {order.customer_id}"
    undone = "" if order.undone is None else f", {order.undone.replace(',', ', ')}"
    yield printable(f"order {order.order_id}: {order.status}{undone}{total}{customer}")
    yield f"placed {to_iso(order.placed_at)}, last event {to_iso(order.updated_at)}"
    yield ""
    for step in story.steps:
        yield from step_text(step, sentences, story)
    yield ""
    for violation in story.violations:
        yield from violation_text(violation)
    for owed in story.owed:
        to = f" to {owed.event}" if owed.event else ""
        yield f"due: {owed.service} answers{to} with {owed.any_of}"
    if cancels := cancels_itself(order.cancel_at, now):
        yield f"{cancels} ({to_iso(order.cancel_at or 0)})"
    yield f"can still happen: {', '.join(story.possible) or 'nothing; this is final'}"


def step_text(step: TimelineStep, sentences: Sentences, story: Timeline) -> Iterator[str]:
    """Return the lines of one event of an order."""
    event = step.event
    at = f"{to_iso(event.at)[11:-1]}  {'+' + span(step.since_placed):>10}"
    by = printable(event.service) or "unknown"
    yield f"{at}  {event.address}  {by}  {version(event)}"
    yield f"{'':26}{sentences.tell(event.topic, event.values)}"
    if step.cause is not None:
        times = f"waited {span(step.waited or 0)}, handled in {span(step.handled or 0)}"
        yield f"{'':26}answers {step.cause.address}: {times}"
    elif event.topic == story.order.ending and story.why_ended:
        yield f"{'':26}{story.why_ended}"
    elif event.cause is not None:
        yield f"{'':26}answers {printable(event.cause)}, which is not a known event of this order"
    if step.undoes is not None:
        yield f"{'':26}undoes {step.undoes.address}"
    if step.undone_by is not None:
        yield f"{'':26}undone by {step.undone_by.address}"


def timeline_json(story: Timeline, sentences: Sentences) -> dict[str, Any]:
    """Return an order's timeline with stable keys."""
    return {
        "order": order_json(story.order),
        "steps": [_step_json(step, sentences) for step in story.steps],
        "violations": [violation_json(violation) for violation in story.violations],
        "due": [{"service": o.service, "event": o.event, "answers": sorted(o.answers)} for o in story.owed],
        "possible": story.possible,
        "why_ended": story.why_ended or None,
    }


def why_text(why: Why) -> Iterator[str]:
    """Return the answer and its chain, line by line."""
    yield printable(why.headline)
    if why.ask:
        yield printable(f"to see why: {', '.join(f'`{command}`' for command in why.ask)}")
    yield ""
    width = max(len(link.event.address) for link in why.chain)
    for link in why.chain:
        by = printable(link.event.service) or "unknown"
        since = "+" + span(link.since_placed)
        yield f"{since:>10}  {link.event.address:{width}}  {'  ' * link.depth}{by}: {link.summary}"


def why_json(why: Why) -> dict[str, Any]:
    """Return the answer with stable keys."""
    return {
        "why": why.headline,
        "ask": why.ask,
        "chain": [
            {
                "address": link.event.address,
                "cause": link.event.cause,
                "service": link.event.service,
                "at": to_iso(link.event.at),
                "since_placed_ms": link.since_placed,
                "sentence": link.summary,
            }
            for link in why.chain
        ],
    }


def violation_text(violation: TrackedViolation) -> Iterator[str]:
    """Return the lines of one violation."""
    yield printable(f"{violation.kind}: {violation.address}: {violation.detail}")
    yield printable(f"    order {violation.order_id or 'unknown'}, {to_iso(violation.at)}")


def violation_json(violation: TrackedViolation) -> dict[str, Any]:
    """Return a violation with stable keys."""
    return {
        "kind": violation.kind,
        "order_id": violation.order_id,
        "address": violation.address,
        "at": to_iso(violation.at),
        "detail": violation.detail,
    }


def stats_text(report: dict[str, Any], width: int | None = None) -> Iterator[str]:
    """Return the statistics line by line."""
    yield f"{plural(report['orders'], 'order')}, {plural(report['behind'], 'record')} behind"
    for status, count in report["by_status"].items():
        yield f"  {status:12} {count:>10}  {_share(count, report['orders']):>7}"
    for word, count in report["undone"].items():
        yield f"    {count} {word}"
    for what, count in report["ended_by"].items():
        yield f"    {count} {BEGAN.get(what) or f'after {what}'}"
    for service, count in report["waiting_on"].items():
        yield f"  {count} waiting for {service}"
    latest = plural(min(report["steps_of_latest"], report["orders"]), "order")
    yield f"branches of the latest {latest}, by the cause that each event names"
    branches = [[b["cause"], b["event"], str(b["orders"]), _share(b["orders"], b["of"])] for b in report["branches"]]
    yield from table_lines(("cause", "event", "orders", "share"), branches, right=("orders", "share"), width=width)
    yield "times of the steps of the same orders, ms"
    steps = [[s["cause"], s["event"], *(str(s[p]) for p in ("p50", "p95", "p99"))] for s in report["steps_ms"]]
    yield from table_lines(("cause", "event", "p50", "p95", "p99"), steps, right=("p50", "p95", "p99"), width=width)
    found = ", ".join(f"{count} {kind}" for kind, count in report["violations"].items())
    yield f"violations: {found or 'none'}"


def version(event: TrackedEvent) -> str:
    """Return the version of the schema that an event was written with, or the schema's id in a registry."""
    return _versions().get((event.topic, event.schema_id), f"schema {event.schema_id}")


@cache
def _versions() -> dict[tuple[str, int | str], str]:
    names = json.loads(IDS.read_text(encoding="utf-8"))
    found = {int(number): re.search(r"([^/]+)\.(v\d+)\.avsc$", name) for number, name in names.items()}
    return {(match[1], number): match[2] for number, match in found.items() if match}


def _step_json(step: TimelineStep, sentences: Sentences) -> dict[str, Any]:
    event = step.event
    return {
        "event": event.topic,
        "address": event.address,
        "at": to_iso(event.at),
        "since_placed_ms": step.since_placed,
        "service": event.service,
        "schema": version(event),
        "cause": event.cause,
        "waited_ms": step.waited,
        "handled_ms": step.handled,
        "undoes": step.undoes and step.undoes.address,
        "undone_by": step.undone_by and step.undone_by.address,
        "sentence": sentences.tell(event.topic, event.values),
        "fields": event.values,
    }


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
