"""The laws of dead letters: exactly what is bad becomes one, once; what is redriven is handled, or one more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from choreography.check.rules import Violation
from choreography.deadletters.letters import Letter, Where, letters_of
from eventbus.log import Headers, Partition
from eventbus.resolutions import REDRIVE, take_apart
from eventbus.service import Service
from eventbus.simulation import Simulation

Refusal = tuple[str, int]
"""Where the record first lay, and how often it has been refused."""


def letter_laws(simulation: Simulation, where: Where) -> Iterator[Violation]:
    """Judge a run in which nothing moves any more, and every dead letter should be resolved."""
    for service in simulation.services:
        for law, detail in _broken(simulation, where, service):
            yield Violation(law, "", f"{service.name}: {detail}")


def _broken(simulation: Simulation, where: Where, service: Service[Any]) -> Iterator[tuple[str, str]]:
    bad = {address for address in simulation.poison if address.split("/")[0] in service.topics()}
    if not bad and not simulation.cluster.end(Partition(service.dead_letters(), 0)):
        return
    letters = list(letters_of(where, service.name))
    resolved = list(_resolutions(where, service))
    times = Counter(address for address, _ in resolved)
    yield from (("resolved-once", f"{each} is resolved {n} times") for each, n in times.items() if n > 1)
    yield from (("everything-is-resolved", f"{each.address} is open") for each in letters if not times[each.address])
    yield from (("letter-is-the-record", each.address) for each in letters if not _is_whole(simulation, each))
    refused = Counter(_refusal(letter) for letter in letters)
    again = {address for address, action in resolved if action == REDRIVE}
    redriven = {(letter.original, _refusal(letter)[1] + 1) for letter in letters if letter.address in again}
    wanted = {(address, 1) for address in bad} | {each for each in redriven if each[0] in bad}
    for each in wanted | set(refused):
        expected = each in wanted or (each[0] not in bad and (each[1] == 1 or each in redriven))
        if refused[each] != expected:
            yield "poison-is-dead-lettered-once", f"{each[0]} at attempt {each[1]}: {refused[each]} dead letters"


def _refusal(letter: Letter) -> Refusal:
    return letter.original, int(letter.said["dlq_attempts"])


def _resolutions(where: Where, service: Service[Any]) -> Iterator[tuple[str, str]]:
    for record in where.records(service.resolutions()):
        said = take_apart(record.headers)[1]
        yield said["dlq_letter"].decode(), said["dlq_action"].decode()


def _is_whole(simulation: Simulation, letter: Letter) -> bool:
    """Return whether a dead letter has the record's own key, value and headers, byte for byte."""
    topic, number, offset = letter.original.rsplit("/", 2)
    [(at, entry)], _ = simulation.cluster.read(Partition(topic, int(number)), int(offset), 1)
    own: tuple[bytes | None, bytes | None, Headers] = (letter.record.key, letter.record.value, letter.own)
    return at == int(offset) and own == (entry.key, entry.value, entry.headers)
