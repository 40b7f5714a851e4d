"""The laws of the dead letters of a simulated run in which nothing is in flight any more."""

from __future__ import annotations

from collections.abc import Iterator

from eventbus.log import Headers, Partition
from eventbus.simulation import Simulation
from saga.check.rules import LawViolation
from saga.deadletters.laws import letter_laws, skip_laws
from saga.deadletters.letters import Letter, letters_of
from saga.simulate.people import ModelledTarget, People


def judged_letters(simulation: Simulation, people: People) -> Iterator[LawViolation]:
    """Return the broken laws; at the end every dead letter is resolved, and no partition is paused."""
    where = ModelledTarget(simulation)
    for service in simulation.services:
        batches = [each for each in simulation.unreadable if each[0].topic in service.topics()]
        broken = list(skip_laws(where, service.name, batches))
        yield from (LawViolation(law, "", f"{service.name}: {how}") for law, how in broken)
        bad = {address for address in simulation.poison if address.split("/")[0] in service.topics()}
        if not bad and not simulation.cluster.end(Partition(service.dead_letters(), 0)):
            continue
        broken = list(letter_laws(where, service.name, bad, passing=("refused",)))
        broken += [("everything-is-resolved", f"{letter.address} is open") for letter in people.open(service)]
        changed = [letter for letter in letters_of(where, service.name) if not _is_whole(simulation, letter)]
        broken += [("letter-is-the-record", letter.address) for letter in changed]
        yield from (LawViolation(law, "", f"{service.name}: {detail}") for law, detail in broken)


def _is_whole(simulation: Simulation, letter: Letter) -> bool:
    """Return whether a dead letter has the record's own key, value and headers, byte for byte."""
    topic, number, offset = letter.original.rsplit("/", 2)
    [(at, entry)], _ = simulation.cluster.read(Partition(topic, int(number)), int(offset), 1)
    own: tuple[bytes | None, bytes | None, Headers] = (letter.record.key, letter.record.value, letter.own)
    return at == int(offset) and own == (entry.key, entry.value, entry.headers)
