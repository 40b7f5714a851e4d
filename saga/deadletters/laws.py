"""The laws of dead letters: exactly the bad records become dead letters, once; a redriven one is handled or bad again.

An unreadable batch is skipped once, on record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from eventbus.deadletters.resolutions import REDRIVE, split_headers
from eventbus.log import RESOLUTIONS, Partition
from saga.deadletters.letters import Letter, LetterTarget, Skipped, letters_of, skips_of

Refusal = tuple[str, int]
"""The record's original address, and its number of attempts."""


def letter_laws(
    where: LetterTarget, group: str, bad: Collection[str], passing: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Return the violations in a group that is idle: the law, and how it is broken.

    `bad` has the addresses of records that can never be handled; records that are dead-lettered for one of the reasons
    in `passing` may be handled when they are redriven.
    """
    letters = list(letters_of(where, group))
    resolved = list(_resolved(where, group))
    times = Counter(address for address, _ in resolved)
    yield from (("resolved-once", f"{each} is resolved {n} times") for each, n in times.items() if n > 1)
    redriven = {address for address, action in resolved if action == REDRIVE}
    yield from _once(letters, redriven, set(bad), passing)


def skip_laws(
    where: LetterTarget, group: str, batches: Collection[tuple[Partition, range]]
) -> Iterator[tuple[str, str]]:
    """Return the violations: a group must skip each of these unreadable batches once, on record, and no other."""
    wanted = Counter(Skipped(f"{at}", f"{batch.start}", f"{batch.stop}") for at, batch in batches)
    found = Counter(skips_of(where, group)) if wanted else wanted
    for each in sorted(wanted.keys() | found.keys()):
        if wanted[each] != found[each]:
            yield "skips-are-on-record", f"from {each.place}/{each.first} to {each.skipped_to}: {found[each]} times"


def _once(
    letters: Sequence[Letter], redriven: Collection[str], bad: Collection[str], passing: Collection[str]
) -> Iterator[tuple[str, str]]:
    found = Counter(_refusal(letter) for letter in letters)
    again = {(letter.original, _refusal(letter)[1] + 1) for letter in letters if letter.address in redriven}
    may = {_refusal(letter) for letter in letters if letter.said.get("dlq_reason") in passing}
    wanted = {(address, 1) for address in bad} | {each for each in again if each[0] in bad}
    for each in sorted(wanted | set(found)):
        expected = each in wanted or (each in may and (each[1] == 1 or each in again))
        if found[each] != expected:
            yield "poison-is-dead-lettered-once", f"{each[0]} at attempt {each[1]}: {found[each]} dead letters"


def _refusal(letter: Letter) -> Refusal:
    return letter.original, int(letter.said["dlq_attempts"])


def _resolved(where: LetterTarget, group: str) -> Iterator[tuple[str, str]]:
    for record in where.records(group + RESOLUTIONS):
        said = split_headers(record.headers)[1]
        if "dlq_letter" in said:
            yield said["dlq_letter"].decode(), said["dlq_action"].decode()
