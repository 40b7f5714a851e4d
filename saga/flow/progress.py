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
    Raises TooManyWays. The result is cached for rules and pictures: do not modify it.
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
        next_step = next((handler for handler in flow.handlers if _enabled(flow, handler, known)), None)
        if next_step is None:
            found.append(run)
            if len(found) > MOST_WAYS:
                raise TooManyWays(f"after {start} the saga has more than {MOST_WAYS} runs: too many to check each")
        else:
            answers = [answer for answer in flow.alternatives(next_step) if answer not in known]
            to_follow += [(*run, answer) for answer in reversed(answers)]
    return found


def _enabled(flow: Flow, handler: Handler, happened: frozenset[str]) -> bool:
    """Return whether a handler has all events it needs, and has not answered: none of its alternatives has happened.

    One that closes a cycle can answer as long as one of them has not.
    """
    does, alternatives = handler.does, frozenset(flow.alternatives(handler))
    answered = alternatives <= happened if does.repeats else alternatives & happened
    heard = does.event in happened and happened.issuperset(does.awaits)
    to_undo = not does.compensates or not happened.isdisjoint(does.compensates)
    return bool(alternatives) and not answered and heard and to_undo
