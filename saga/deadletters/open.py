"""Which dead letters wait for a decision, and about which records nobody has to decide any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from eventbus.service import Service
from saga.deadletters.letters import LetterTarget, groups, letters_of, resolutions_of, skips_of
from saga.kafka.reader import NoSuchTopic


class Decisions(NamedTuple):
    """What was decided about dead letters, and about batches that cannot be decompressed."""

    left: Mapping[str, int]
    """The number of dead letters without a resolution by service, of those services that have any."""
    decided: Collection[str]
    """The original addresses of the records whose dead letters have all been redriven or discarded, and of the batches
    that every service which reads them has skipped."""


def decisions(where: LetterTarget, services: Collection[type[Service[Any]]]) -> Decisions:
    """Return what was decided about the dead letters of these services. Raises what reading the topics raises."""
    left: Counter[str] = Counter()
    decided, undecided = set[str](), set[str]()
    skipped: Counter[str] = Counter()
    for group in sorted({service.name for service in services} & set(groups(where))):
        try:
            resolved = set(resolutions_of(where, group))
            skipped.update({f"{each.place}/{each.first}" for each in skips_of(where, group)})
        except NoSuchTopic:
            resolved = set()
        for letter in letters_of(where, group):
            is_open = letter.address not in resolved
            left[group] += is_open
            (undecided if is_open else decided).add(letter.original)
    by_all = {address for address, times in skipped.items() if times == _readers(address, services)}
    return Decisions(+left, (decided - undecided) | by_all)


def _readers(address: str, services: Collection[type[Service[Any]]]) -> int:
    topic = address.rsplit("/", 2)[0]
    return sum(topic in service.topics() for service in services)
