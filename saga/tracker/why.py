"""The reason for an order's state: the chain of causes, in sentences, each with its address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from saga.tracker.endings import ON_REQUEST, cancels_itself, passed_before
from saga.tracker.fold import TrackedEvent
from saga.tracker.model import NOBODY, PENDING, Owed
from saga.tracker.moments import span
from saga.tracker.sentences import Sentences
from saga.tracker.timeline import Timeline, TimelineStep


class CauseLink(NamedTuple):
    """One sentence of the chain. `depth`: the number of causes before it."""

    depth: int
    since_placed: int
    event: TrackedEvent
    summary: str


class Why(NamedTuple):
    """The answer in one sentence, and the chain that it follows from."""

    headline: str
    chain: list[CauseLink]
    ask: list[str]
    """The commands that tell why an answer is missing: the log does not have it, the service's database does."""


def explain(story: Timeline, sentences: Sentences, now: int) -> Why:
    """Return the explanation; `now` in ms since 1970 is the end of waiting times."""
    told = {step.event.address: sentences.tell(step.event.topic, step.event.values) for step in story.steps}
    chain = [
        CauseLink(depth, step.since_placed, step.event, told[step.event.address])
        for depth, step in _by_cause(story.steps)
    ]
    return Why("; ".join(_headline(story, told, now)), chain, list(_commands(story)))


def _headline(story: Timeline, told: dict[str, str], now: int) -> Iterator[str]:
    order = story.order
    end = next((step for step in story.steps if step.event.topic == order.ending), None)
    waiting = [_waiting(one, story, now) for one in story.owed]
    if end is None:
        last = story.steps[-1]
        since = span(max(0, now - order.placed_at))
        yield f"{PENDING} for {since}, last event: {told[last.event.address]}"
        if cancels := cancels_itself(order.cancel_at, now):
            yield cancels
        yield from waiting
        return
    word, because = end.event.topic.rpartition(".")[2], _because(story, end, told)
    # The log says when its first event was published: late, if its deadline had passed by then.
    first = min(story.steps, key=lambda step: step.since_placed)
    timed = first is not end and not passed_before(end.event, order.placed_at)
    after = f" {span(end.since_placed)} after {first.event.topic}" if timed else ""
    yield f"{word}{after}{because}"
    for step in story.steps:
        if step.undoes is not None and step is not end:
            yield f"{told[step.event.address]} {span(step.event.at - end.event.at)} later"
    yield from waiting
    for violation in story.violations:
        yield f"but {violation.address} is not as declared ({violation.kind}: {violation.detail})"


def _because(story: Timeline, end: TimelineStep, told: dict[str, str]) -> str:
    because = told[end.cause.address] if end.cause else story.why_ended
    if not because:
        return ""
    return f", {because}" if because.startswith(ON_REQUEST) else f", because {because}"


def _commands(story: Timeline) -> Iterator[str]:
    for service in dict.fromkeys(owed.service for owed in story.owed if owed.service != NOBODY):
        yield f"{service} show {story.order.order_id}"
    if story.owed:
        yield "saga workers"


def _waiting(owed: Owed, story: Timeline, now: int) -> str:
    cause = story.asked(owed)
    if cause is None:
        return f"{owed.service} has not published {owed.any_of}"
    return f"{owed.service} has not answered {cause.address} for {span(max(0, now - cause.at))}: {owed.any_of} is due"


def _by_cause(steps: list[TimelineStep]) -> Iterator[tuple[int, TimelineStep]]:
    """Return the events, effects below their causes; those without a known cause have depth 0."""
    effects: dict[str | None, list[TimelineStep]] = {}
    for step in steps:
        effects.setdefault(step.cause.address if step.cause else None, []).append(step)
    waiting = [(0, step) for step in reversed(effects.pop(None, []))]
    while waiting:
        depth, step = waiting.pop()
        yield depth, step
        waiting += [(depth + 1, effect) for effect in reversed(effects.pop(step.event.address, []))]
    yield from ((0, step) for left in effects.values() for step in left)
