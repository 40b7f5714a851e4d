"""The laws of dead letters hold where all went well, and name what did not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventbus.deadletters.letter import dead_letter
from eventbus.deadletters.resolutions import DISCARD, REDRIVE, AuditNote, resolution
from eventbus.log import RESOLUTIONS, Output, Partition, Record
from eventbus.serde.codec import PoisonRecord
from saga.deadletters.laws import letter_laws
from saga.deadletters.letters import LetterTarget

GROUP = "payment-service"
LETTERS, RESOLVED = f"{GROUP}.dead-letters", f"{GROUP}{RESOLUTIONS}"
BAD = Record(Partition("order.created", 1), 7, b"key", b"value", 1, [("theirs", b"x")])
PASSING = BAD._replace(offset=8)


class Topics(LetterTarget):
    """The two topics of a group, in memory."""

    kept: dict[str, list[Record]]

    def __init__(self) -> None:
        super().__init__("nowhere", {})
        object.__setattr__(self, "kept", {LETTERS: [], RESOLVED: []})

    def records(self, topic: str) -> Iterator[Record]:
        return iter(self.kept[topic])

    def add(self, output: Output) -> Record:
        topic = self.kept[output.topic]
        topic.append(Record(Partition(output.topic, 0), len(topic), output.key, output.value, 1, output.headers))
        return topic[-1]

    def refuse(self, record: Record, reason: str = "malformed") -> Record:
        return self.add(dead_letter(LETTERS, GROUP, record, PoisonRecord(reason, "it is bad"), 1))

    def resolve(self, letter: Record, action: str) -> Record:
        return self.add(resolution(RESOLVED, letter, action, AuditNote("ana", "because", 1)))


@pytest.fixture
def topics() -> Topics:
    """A bad record that was refused, redriven, refused again and discarded; another one that was handled then."""
    made = Topics()
    again = made.resolve(made.refuse(BAD), REDRIVE)
    made.resolve(made.refuse(again), DISCARD)
    made.resolve(made.refuse(PASSING, "refused"), REDRIVE)
    return made


def broken(topics: Topics) -> list[str]:
    return [f"{law}: {how}" for law, how in letter_laws(topics, GROUP, {BAD.address}, passing=("refused",))]


def test_what_went_well_breaks_no_law(topics: Topics) -> None:
    """Also a second refusal of what passes only later."""
    assert broken(topics) == []
    topics.refuse(topics.kept[RESOLVED][2], "refused")
    assert broken(topics) == []


ONCE = "poison-is-dead-lettered-once: order.created/1/"


def test_a_letter_that_is_missing_or_one_too_many_is_named(topics: Topics) -> None:
    """Of the first refusal or of the one after a redrive; and of a record that is not bad."""
    second = topics.kept[LETTERS].pop(1)
    assert broken(topics) == [f"{ONCE}7 at attempt 2: 0 dead letters"]
    topics.kept[LETTERS] += [second, second]
    assert broken(topics) == [f"{ONCE}7 at attempt 2: 2 dead letters"]
    topics.kept[LETTERS].remove(second)
    topics.refuse(BAD)
    assert broken(topics) == [f"{ONCE}7 at attempt 1: 2 dead letters"]
    topics.kept[LETTERS].pop()
    topics.refuse(BAD._replace(offset=9))
    assert broken(topics) == [f"{ONCE}9 at attempt 1: 1 dead letters"]


def test_a_second_refusal_without_a_redrive_is_named(topics: Topics) -> None:
    """It was handled twice."""
    topics.refuse(topics.kept[RESOLVED][2], "refused")
    del topics.kept[RESOLVED][2]
    assert broken(topics) == [f"{ONCE}8 at attempt 2: 1 dead letters"]


def test_a_letter_that_two_people_resolved_is_named(topics: Topics) -> None:
    """With how often."""
    topics.resolve(topics.kept[LETTERS][1], REDRIVE)
    assert f"resolved-once: {LETTERS}/0/1 is resolved 2 times" in broken(topics)
