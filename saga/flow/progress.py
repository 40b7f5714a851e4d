"""Every way a saga can go: the flow, walked from its first event."""

from __future__ import annotations

from functools import lru_cache

from saga.flow.model import Flow, Handler

MOST_WAYS = 10_000
"""More ways than this are not walked. A dozen services side by side that each answer in two ways have as many."""


class TooManyWays(RuntimeError):
    """The saga can go in more ways than can be walked one by one."""


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
        next_step = next((handler for handler in flow.handlers if _enabled(flow, handler, known)), None)
        if next_step is None:
            found.append(run)
            if len(found) > MOST_WAYS:
                raise TooManyWays(f"after {start} the saga can go in more than {MOST_WAYS} ways: too many to walk each")
        else:
            answers = [answer for answer in flow.alternatives(next_step) if answer not in known]
            to_follow += [(*run, answer) for answer in reversed(answers)]
    return found


def _enabled(flow: Flow, handler: Handler, happened: frozenset[str]) -> bool:
    """Return whether a handler has what it needs, and has not answered: none of its alternatives has happened.

    One that closes a cycle can answer as long as one of them has not.
    """
    does, alternatives = handler.does, frozenset(flow.alternatives(handler))
    answered = alternatives <= happened if does.repeats else alternatives & happened
    heard = does.event in happened and happened.issuperset(does.awaits)
    to_undo = not does.compensates or not happened.isdisjoint(does.compensates)
    return bool(alternatives) and not answered and heard and to_undo
