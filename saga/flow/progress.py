"""Every run that a saga can take: the flow, traversed from its first event."""

from __future__ import annotations

from functools import lru_cache

from saga.flow.model import Flow, Handler

MOST_WAYS = 10_000
"""The maximum number of runs that are traversed. A dozen parallel services with two answers each have as many."""


class TooManyWays(RuntimeError):
    """The saga has more possible runs than can be traversed one by one."""


@lru_cache(maxsize=16)
def runs(flow: Flow, start: str) -> list[tuple[str, ...]]:
    """Return the runs of a saga from its first event until nothing more follows: one for each combination of answers.

    Parallel events are listed sequentially, in one order. An event happens once in a run, so a cycle is followed once.
    What a person may request can happen before every step, until the saga has ended.
    Raises TooManyWays. The result is cached for rules and pictures: do not modify it.
    """
    found: dict[frozenset[str], tuple[str, ...]] = {}
    seen: set[tuple[frozenset[str], str]] = set()
    to_follow: list[tuple[tuple[str, ...], str]] = [((start,), "")]
    while to_follow:
        run, requested = to_follow.pop()
        known = frozenset(run)
        if (known, requested) in seen:
            continue
        seen.add((known, requested))
        next_step = next((handler for handler in flow.handlers if _enabled(flow, handler, known, requested)), None)
        if next_step is None:
            found.setdefault(known, run)
            if len(found) > MOST_WAYS:
                raise TooManyWays(f"after {start} the saga has more than {MOST_WAYS} paths: too many to check each")
            continue
        if flow.endings.isdisjoint(known):
            to_follow += [((*run, event), event) for event in flow.on_request if event not in known]
        answers = [answer for answer in _alternatives(flow, next_step, requested) if answer not in known]
        to_follow += [((*run, answer), requested) for answer in reversed(answers)]
    return list(found.values())


def _alternatives(flow: Flow, handler: Handler, requested: str) -> tuple[str, ...]:
    """Return what a handler answers with; a service of which an ending was requested publishes no other one."""
    alternatives = flow.alternatives(handler)
    if requested not in flow.endings or handler.service not in flow.publishers(requested):
        return alternatives
    return tuple(event for event in alternatives if event not in flow.endings)


def _enabled(flow: Flow, handler: Handler, happened: frozenset[str], requested: str) -> bool:
    """Return whether a handler has all events it needs, and has not answered: none of its alternatives has happened.

    One that closes a cycle can answer as long as one of them has not.
    """
    does, alternatives = handler.does, frozenset(_alternatives(flow, handler, requested))
    answered = alternatives <= happened if does.repeats else alternatives & happened
    heard = does.event in happened and happened.issuperset(does.awaits)
    to_undo = not does.compensates or not happened.isdisjoint(does.compensates)
    return bool(alternatives) and not answered and heard and to_undo
