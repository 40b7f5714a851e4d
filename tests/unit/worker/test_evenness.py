"""Topics with different numbers of partitions are named at start, and when that changes and stays so."""

from __future__ import annotations

from eventbus.worker.evenness import SETTLED_SECONDS, Evenness


def watched(**counts: int) -> tuple[Evenness, list[str]]:
    said: list[str] = []
    return Evenness(counts, said.append), said


def test_a_difference_at_start_is_named_at_once_and_once():
    evenness, said = watched(a=4, b=4, c=1)
    for now in (0.0, 5.0, 100.0):
        evenness.look({"a": 4, "c": 1}, now)
    found = "c has 1, the other topics have 4 partitions"
    assert said == [
        f"{found}: a topic may have been auto-created, or left out when partitions were added; see `saga topics create`"
    ]


def test_a_difference_that_comes_later_is_named_when_it_has_stayed():
    """Each that stays, each once; also one that was there before."""
    evenness, said = watched(a=4, b=4, c=4)
    evenness.look({"a": 6}, 100)
    evenness.look({"a": 6}, 100 + SETTLED_SECONDS - 0.1)
    assert said == []
    for now in (100 + SETTLED_SECONDS, 200, 300):
        evenness.look({"a": 6}, now)
    assert [line.partition(":")[0] for line in said] == ["a has 6, the other topics have 4 partitions"]
    for counts, now in (({"b": 6, "c": 6}, 400), ({}, 500), ({"a": 8}, 600), ({}, 700)):
        evenness.look(counts, now)
    assert [line.partition(":")[0] for line in said[1:]] == ["a has 8, the other topics have 6 partitions"]


def test_topics_that_are_grown_one_after_the_other_are_not_named():
    """Nor are topics that need not have as many: the topic of progress, say."""
    evenness, said = watched(a=4, b=4, c=4)
    for seconds, topic in enumerate(("a", "b", "c")):
        evenness.look({topic: 8, "service.progress": 1}, SETTLED_SECONDS * 0.9 * seconds)
    evenness.look({}, 1_000)
    assert said == []
