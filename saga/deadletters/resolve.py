"""Resolving dead letters: each at most once, despite crashes and concurrent runs of the same command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from eventbus.deadletters.resolutions import REDRIVE, AuditNote, resolution
from eventbus.kafka.config import BadKafkaConfig
from eventbus.kafka.producer import Producers
from eventbus.log import RESOLUTIONS, CommitOutcomeUnknown, LogUnavailable
from saga.deadletters.letters import Letter, LetterTarget, Resolution, groups, letters_of, resolutions_of
from saga.deadletters.selection import LetterSelection, NoSuchLetter

AT_ONCE = 500
"""The maximum number of letters in one transaction."""
BYTES_AT_ONCE = 8_000_000
"""The maximum bytes of them; the last letter may exceed it."""
NAME = "saga-deadletters"
"""The producer's name. Its transactional.id is the group and this name, so that a later producer fences the earlier."""


class Unresolved(RuntimeError):
    """Not everything was resolved; what was, stays so. The message says what to do."""


@dataclass(frozen=True, slots=True)
class ResolveRequest:
    """Which action to take on which letters, by whom and why."""

    where: LetterTarget
    selection: LetterSelection
    action: str
    by: str
    why: str
    limit: int | None


def resolve(order: ResolveRequest, *, dry_run: bool, tell: Callable[[str], None]) -> Iterator[Letter]:
    """Yield each letter as it is resolved; `tell` is called with what was left out. Raises NoSuchLetter, Unresolved."""
    left = order.limit
    for group in order.selection.groups(lambda: groups(order.where)):
        with _written(order.where, group, dry_run=dry_run) as producers:
            chosen = islice(_chosen(order, group, tell), left)
            for letter in chosen if producers is None else _resolved(producers, group, order, chosen):
                left = left - 1 if left is not None else None
                yield letter
        if left == 0:
            return


@contextmanager
def _written(where: LetterTarget, group: str, *, dry_run: bool) -> Iterator[Producers | None]:
    """Fence every other producer that resolves this group's letters.

    The existing resolutions must be read after that, all of them: those behind an open transaction (a worker writes
    skips there) cannot be read before it ends.
    """
    if dry_run:
        yield None
        return
    producers = Producers(where.connection(group, NAME), failpoint=lambda _step: None, stopping=lambda: False)
    try:
        producers.start()
        where.await_decisions(group + RESOLUTIONS)
        yield producers
    except (LogUnavailable, BadKafkaConfig) as error:
        raise Unresolved(f"nothing more was resolved: {error}") from error
    finally:
        producers.close()


def _chosen(order: ResolveRequest, group: str, tell: Callable[[str], None]) -> Iterator[Letter]:
    resolved = resolutions_of(order.where, group)
    letters = letters_of(order.where, group)
    if order.selection.addresses:
        found = order.selection.found(letters)
        for letter in found:
            _refuse(letter, resolved.get(letter.address), order.action)
        yield from found
        return
    cut = 0
    for letter in order.selection.of(letters):
        if letter.address in resolved:
            continue
        if order.action == REDRIVE and letter.is_cut:
            cut += 1
            continue
        yield letter
    if cut:
        tell(f"{group}: {cut} left out: they were truncated when they were dead-lettered, and can only be discarded")


def _refuse(letter: Letter, resolved: Resolution | None, action: str) -> None:
    if resolved is not None:
        raise NoSuchLetter(f"{letter.address} was {resolved.status} by {resolved.by} at {resolved.at}: {resolved.why}")
    if action == REDRIVE and letter.is_cut:
        raise NoSuchLetter(f"{letter.address} was truncated when it was dead-lettered: it can only be discarded")


def _resolved(producers: Producers, group: str, order: ResolveRequest, letters: Iterable[Letter]) -> Iterator[Letter]:
    for batch in _batches(letters):
        statement = AuditNote(order.by, order.why, order.where.now_ms())
        topic = group + RESOLUTIONS
        try:
            producers.transaction([resolution(topic, letter.record, order.action, statement) for letter in batch], [])
        except CommitOutcomeUnknown as error:
            raise Unresolved(
                f"it is not known whether the last {len(batch)} were resolved ({error}). Run the same command again:"
                " it skips what is resolved. If it fails like this again, another process is resolving the same letters"
            ) from error
        yield from batch


def _batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    size = 0
    for letter in letters:
        batch.append(letter)
        size += len(letter.record.value or b"") + len(letter.record.key or b"")
        if len(batch) == AT_ONCE or size > BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
