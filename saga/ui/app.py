"""The page's server: one page, its queries as JSON, and a stream that tells when to repeat them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from eventbus.database.short_keys import AmbiguousKey, TooShort
from eventbus.text.json_form import to_json
from saga.flow.model import Flow
from saga.tracker import render
from saga.tracker.endings import PATIENCE_MS, is_late
from saga.tracker.fold import OrderRow
from saga.tracker.installed import MODEL, SENTENCES
from saga.tracker.live_svg import as_live_svg
from saga.tracker.moments import DURATION, UNITS, span
from saga.tracker.page_queries import PageTracked
from saga.tracker.queries import NotTracked, Tracked, now, statuses
from saga.tracker.sentences import money, printable
from saga.tracker.stats import by_status, ended_by, undone, waiting
from saga.tracker.timeline import Timeline, timeline
from saga.tracker.verdict import verdict
from saga.tracker.wanted import Wanted
from saga.tracker.why import explain
from saga.ui.access import Access
from saga.ui.health import health
from saga.ui.picture import as_picture
from saga.ui.trouble import Found
from schemas import OrderCreated

STATIC = Path(__file__).parent / "static"
SERVICES = tuple(dict.fromkeys(MODEL.publisher.values()))
LOOK_SECONDS = 0.25
ALIVE_SECONDS = 15.0
MOST_ORDERS = 1_000
MOST_VIOLATIONS = 500
MOST_OTHERS = 10
WINDOW_MS = 300_000
UNREADABLE = (NotTracked, sqlite3.Error)
"""Errors of a missing database, or of one that is being rebuilt."""


class FollowingState(Protocol):
    """The state of the thread that keeps the database up to date, if there is one; see following.Following."""

    broker: str
    tracker: str
    reader: str


@dataclass(frozen=True)
class PageData:
    """The data of the page."""

    path: Path
    flow: Flow
    following: FollowingState
    trouble: Callable[[], dict[str, Any]]
    workers: Callable[[], Found] = lambda: ([], [])
    """What the services' databases say of their workers; see health.WorkersQuery."""

    def state(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the current state; it differs from `before` if something has changed since.

        If the tracker has written nothing since then, nothing is counted again: this is called all the time.
        """
        following = self.following
        state: dict[str, Any] = {
            "broker": following.broker,
            "tracker": following.tracker,
            "reader": following.reader,
        }
        try:
            with Tracked.at(self.path, MODEL) as tracked:
                writes = tracked.writes()  # first, so that a concurrent write shows the next time
                if writes == before.get("writes"):
                    return {**before, **state}
                kinds = tracked.kinds()
                return state | {
                    "writes": writes,
                    "behind": tracked.behind().offsets,
                    "orders": sum(kind.orders for kind in kinds),
                    "by_status": by_status(MODEL, kinds),
                    "undone": undone(MODEL, kinds),
                    "ended_by": ended_by(kinds),
                    "waiting_on": waiting(MODEL, kinds),
                    "violations": sum(tracked.violation_counts().values()),
                }
        except UNREADABLE as why:
            return state | {"error": str(why)}

    def orders(self, request: Request) -> Response:
        """Return a page of orders; for the next one give `after_at` and `after_id` of the last."""
        wanted = _wanted(request)
        stuck = wanted.stuck_since is not None
        with PageTracked.at(self.path, MODEL) as tracked:
            found = tracked.orders(wanted)
            shown = _listed(tracked, found)
        last = found[-1] if len(found) == wanted.limit else None
        after = last and {"after_at": last.updated_at if stuck else last.placed_at, "after_id": last.order_id}
        return Json({"orders": shown, "after": after})

    def order(self, request: Request) -> Response:
        """Return an order's verdict, timeline, the reason for its state, its picture, and its customer's others."""
        order_id = request.query_params.get("id", "")
        with PageTracked.at(self.path, MODEL) as tracked:
            try:
                story = timeline(tracked, tracked.whole_id(order_id))
            except AmbiguousKey as unclear:
                raise HTTPException(404 if isinstance(unclear, TooShort) else 409, str(unclear)) from unclear
            if story is None:
                raise HTTPException(404, f"the order {order_id!r} is unknown")
            at = now()
            [shown] = _listed(tracked, [story.order])
            others = tracked.orders(Wanted(customer=story.order.customer_id, limit=MOST_OTHERS + 1))
            others = (
                [each for each in others if each.order_id != story.order.order_id] if story.order.customer_id else []
            )
            told = render.timeline_json(story, SENTENCES) | render.why_json(explain(story, SENTENCES, at))
            return Json(
                told
                | {
                    "order": shown | _contents(story),
                    "verdict": verdict(story, at)._asdict(),
                    "late": is_late(story.order.cancel_at, at),
                    "picture": as_picture(story, SERVICES),
                    "others": _listed(tracked, others[:MOST_OTHERS]),
                }
            )

    def health(self, _request: Request) -> Response:
        """Return who works, how far behind each service is, and what it waits for."""
        workers = self.workers()
        with PageTracked.at(self.path, MODEL) as tracked:
            return Json(health(self.flow, tracked, workers, now(), broker=self.following.broker))

    def drawn_flow(self, request: Request) -> Response:
        """Return the flow as a picture, with the observed traffic."""
        window = _span(request, "window", WINDOW_MS)
        with PageTracked.at(self.path, MODEL) as tracked:
            live = tracked.live(window, now())
        undeclared = [event._asdict() for event in live.undeclared]
        picture = as_live_svg(self.flow, live, style="")
        return Json({"orders": live.orders, "window": span(window), "undeclared": undeclared, "picture": picture})

    def violations(self, _request: Request) -> Response:
        """Return the newest violations."""
        with Tracked.at(self.path, MODEL) as tracked:
            found = tracked.violations(limit=MOST_VIOLATIONS)
        return Json([render.violation_json(violation) for violation in found])

    def in_trouble(self, _request: Request) -> Response:
        """Return parked orders and dead letters."""
        return Json(self.trouble())

    async def changes(self, _request: Request) -> Response:
        """Send the state whenever it changes (server-sent events)."""

        async def states() -> AsyncIterator[str]:
            told: dict[str, Any] = {}
            at = time.monotonic()
            while True:
                state = await to_thread.run_sync(self.state, told)
                if state != told:
                    told, at = state, time.monotonic()
                    yield f"data: {to_json(state)}\n\n"
                elif time.monotonic() - at > ALIVE_SECONDS:
                    at = time.monotonic()
                    yield ": still here\n\n"
                await anyio.sleep(LOOK_SECONDS)

        return StreamingResponse(states(), media_type="text/event-stream")


class Json(JSONResponse):
    """A JSON response."""

    def render(self, content: Any) -> bytes:
        """See Response."""
        return to_json(content).encode()


def application(answers: PageData, token: str | None) -> Starlette:
    """Return the ASGI application. Without a token it only accepts requests for a local host name."""

    def page(_request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    def choices(_request: Request) -> Response:
        return Json({"statuses": statuses(MODEL), "services": SERVICES, "events": MODEL.topics})

    routes = [
        Route("/", page),
        Route("/api/choices", choices),
        Route("/api/orders", answers.orders),
        Route("/api/order", answers.order),
        Route("/api/flow", answers.drawn_flow),
        Route("/api/violations", answers.violations),
        Route("/api/trouble", answers.in_trouble),
        Route("/api/health", answers.health),
        Route("/api/changes", answers.changes),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    errors: Any = {HTTPException: _told, **dict.fromkeys(UNREADABLE, _unreadable)}
    return Starlette(routes=routes, middleware=[Middleware(Access, token=token)], exception_handlers=errors)


def _told(_request: Request, error: HTTPException) -> Response:
    return Json({"error": error.detail}, error.status_code)


def _unreadable(_request: Request, error: Exception) -> Response:
    return Json({"error": str(error)}, 503)


def _listed(tracked: PageTracked, orders: Sequence[OrderRow]) -> list[dict[str, Any]]:
    """Return orders as rows of the list."""
    reasons = tracked.reasons(orders)
    return [
        render.order_json(order)
        | {
            "money": "" if order.total is None else money(order.total, order.currency),
            "at": order.placed_at,
            "reason": printable(reasons.get(order.order_id, "")),
        }
        for order in orders
    ]


def _contents(story: Timeline) -> dict[str, Any]:
    """Return what was ordered; empty if the log has no order.created of it."""
    placed = next((step.event.values for step in story.steps if step.event.topic == OrderCreated.topic), {})
    return {"items": placed.get("items", []), "request_id": placed.get("request_id", "")}


def _wanted(request: Request) -> Wanted:
    asked = request.query_params
    status = _choice(request, "status", statuses(MODEL))
    event = _choice(request, "event", MODEL.topics)
    stuck = now() - _span(request, "stuck", 0) if asked.get("stuck") else None
    since = now() - _span(request, "window", 0) if asked.get("window") else None
    limit = _number(request, "limit", 100)
    if not 0 < limit <= MOST_ORDERS:
        raise HTTPException(400, f"limit {limit} is not between 1 and {MOST_ORDERS}")
    return Wanted(
        status,
        stuck,
        waiting_on=asked.get("waiting_on") or None,
        customer=asked.get("customer") or None,
        since=since,
        undone=asked.get("undone") or None,
        ended_by=asked.get("ended_by") or None,
        overdue_since=now() - PATIENCE_MS if asked.get("overdue") else None,
        search=asked.get("search", ""),
        seen=MODEL.bits[event] if event else 0,
        after=(_number(request, "after_at", 0), asked.get("after_id", "")) if "after_at" in asked else None,
        limit=limit,
    )


def _choice(request: Request, name: str, choices: Sequence[str]) -> str | None:
    given = request.query_params.get(name) or None
    if given is not None and given not in choices:
        raise HTTPException(400, f"{name} {given!r} is not one of {', '.join(choices)}")
    return given


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, "")
    if given and not (given.isascii() and given.isdecimal() and len(given) < 19):  # noqa: PLR2004 - fits into 64 bits
        raise HTTPException(400, f"{name} {given!r} is not a number")
    return int(given) if given else default


def _span(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, "")
    match = DURATION.fullmatch(given)
    if given and match is None:
        raise HTTPException(400, f"{name} {given!r} is not a time span: write 30s, 10m or 2h")
    return round(float(match[1]) * UNITS[match[2]]) if match else default
