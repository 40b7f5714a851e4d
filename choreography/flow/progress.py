"""How far a saga is, and what can still happen: the flow, walked from what has happened so far."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from choreography.flow.model import Flow, Handler

MOST_WAYS = 10_000
"""More ways than this are not walked. A dozen services side by side that each answer in two ways have as many."""


class TooManyWays(RuntimeError):
    """The saga can go in more ways than can be walked one by one."""


def due(flow: Flow, happened: Iterable[str]) -> tuple[Handler, ...]:
    """Return the handlers that the saga waits for: they have what they need and have not answered.

    Handlers that never publish anything are not among them: whether they are done, the log does not say. `happened`
    are the events of one saga so far. A saga is over when it has an ending and nothing is due.
    """
    known = frozenset(happened)
    return tuple(h for h in flow.handlers if enabled(flow, h, known) and _open_alternatives(flow, h, known))


def waiting(flow: Flow, happened: Iterable[str]) -> tuple[tuple[Handler, tuple[str, ...]], ...]:
    """Return the handlers that have heard their event and wait for others, with those that can still come."""
    known = frozenset(happened)
    possible = after(flow, known)
    lacking = [(h, tuple(e for e in h.does.awaits if e in possible)) for h in flow.handlers if h.does.event in known]
    return tuple((handler, awaited) for handler, awaited in lacking if awaited)


def after(flow: Flow, happened: Iterable[str]) -> frozenset[str]:
    """Return every event that can still happen in a saga in which these have happened.

    It follows only what is declared: what the flow allows, not what is likely. Of alternatives that are open each can
    still happen; as soon as one of them has, the others cannot, and neither can what only they lead to. Topics have no
    common order: what starts the saga can still be read after what follows from it.
    """
    known = frozenset(happened)
    possible = known if known & frozenset(flow.initiates) else known | frozenset(flow.initiates)
    while True:
        more = {
            event
            for handler in flow.handlers
            if _has_what_it_needs(handler, possible)
            for event in _open_alternatives(flow, handler, known)
        }
        if more <= possible:
            return possible - known
        possible |= more


@lru_cache(maxsize=16)
def runs(flow: Flow, start: str) -> list[tuple[str, ...]]:
    """Return how a saga can go from its first event to where nothing more follows: one run a combination of answers.

    What happens side by side is told one after the other, in one order. An event happens once in a run, so a cycle is
    followed once. Raises TooManyWays. Not to be changed: rules and pictures ask for the same walk.
    """
    found: list[tuple[str, ...]] = []
    seen: set[frozenset[str]] = set()
    to_follow: list[tuple[str, ...]] = [(start,)]
    while to_follow:
        run = to_follow.pop()
        known = frozenset(run)
        if known in seen:
            continue
        seen.add(known)
        next_step = next((handler for handler in flow.handlers if enabled(flow, handler, known)), None)
        if next_step is None:
            found.append(run)
            if len(found) > MOST_WAYS:
                raise TooManyWays(f"after {start} the saga can go in more than {MOST_WAYS} ways: too many to walk each")
        else:
            answers = [answer for answer in flow.alternatives(next_step) if answer not in known]
            to_follow += [(*run, answer) for answer in reversed(answers)]
    return found


def enabled(flow: Flow, handler: Handler, happened: frozenset[str]) -> bool:
    """Return whether a handler has what it needs, and has not answered: none of its alternatives has happened.

    One that closes a cycle can answer as long as one of them has not.
    """
    alternatives = frozenset(flow.alternatives(handler))
    answered = alternatives <= happened if handler.does.repeats else alternatives & happened
    return bool(alternatives) and not answered and _has_what_it_needs(handler, happened)


def _has_what_it_needs(handler: Handler, happened: frozenset[str]) -> bool:
    does = handler.does
    heard = does.event in happened and happened.issuperset(does.awaits)
    return heard and (not does.compensates or not happened.isdisjoint(does.compensates))


def _open_alternatives(flow: Flow, handler: Handler, happened: frozenset[str]) -> frozenset[str]:
    """Return what a handler may still answer: of two contrary endings only the first counts."""
    alternatives = frozenset(flow.alternatives(handler))
    if happened & alternatives and not handler.does.repeats:
        return frozenset()
    contrary = (flow.aborts if happened & flow.completes else frozenset()) | (
        flow.completes if happened & flow.aborts else frozenset()
    )
    return alternatives - contrary
