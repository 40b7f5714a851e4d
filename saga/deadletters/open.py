"""How many dead letters wait for a decision."""

from __future__ import annotations

from collections.abc import Collection

from saga.deadletters.letters import LetterTarget, groups, letters_of, resolutions_of
from saga.kafka.reader import NoSuchTopic


def open_counts(where: LetterTarget, services: Collection[str]) -> dict[str, int]:
    """Return the number of dead letters without a resolution by service, of those services that have any.

    Raises what reading the topics raises.
    """
    found = {}
    for group in sorted(set(services) & set(groups(where))):
        try:
            resolved = set(resolutions_of(where, group))
        except NoSuchTopic:
            resolved = set()
        count = sum(letter.address not in resolved for letter in letters_of(where, group))
        if count:
            found[group] = count
    return found
