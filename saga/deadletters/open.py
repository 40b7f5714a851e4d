"""Which dead letters wait for a decision, and which records nobody has to decide about any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from saga.deadletters.letters import LetterTarget, groups, letters_of, resolutions_of
from saga.kafka.reader import NoSuchTopic


class Decisions(NamedTuple):
    """What was decided about dead letters."""

    left: Mapping[str, int]
    """The number of dead letters without a resolution by service, of those services that have any."""
    decided: Collection[str]
    """The original addresses of the records whose dead letters have all been redriven or discarded."""


def decisions(where: LetterTarget, services: Collection[str]) -> Decisions:
    """Return what was decided about the dead letters of these services. Raises what reading the topics raises."""
    left: Counter[str] = Counter()
    decided, undecided = set[str](), set[str]()
    for group in sorted(set(services) & set(groups(where))):
        try:
            resolved = set(resolutions_of(where, group))
        except NoSuchTopic:
            resolved = set()
        for letter in letters_of(where, group):
            is_open = letter.address not in resolved
            left[group] += is_open
            (undecided if is_open else decided).add(letter.original)
    return Decisions(+left, decided - undecided)
