"""A record is refused for where it lies only if no number of partitions that the topic can have had puts it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from confluent_kafka import murmur2
from hypothesis import given
from hypothesis import strategies as st

from eventbus.deadletters.resolutions import origin
from eventbus.engine.delivery import Delivery
from eventbus.engine.placement import Placement
from eventbus.log import RESOLUTIONS, Headers, LogUnavailable, Partition, Record
from eventbus.serde.codec import PoisonRecord
from tests.support.engines.sample import Ping

ANY_KEY = st.text(min_size=1, max_size=60).map(str.encode)
COUNT = st.integers(1, 40)


class Topics:
    """As many partitions as a test says; how often they were asked for is counted."""

    def __init__(self, partitions: int) -> None:
        self.count, self.asked = partitions, list[str]()

    def partitions(self, topic: str) -> int:
        self.asked.append(topic)
        return self.count

    place = staticmethod(murmur2)


def placement(topics: Topics, fewest: int) -> Placement:
    return Placement(topics, fewest)  # type: ignore[arg-type] - the two calls of a Log that it makes


def item(key: bytes, number: int, topic: str = "ping", headers: Headers | None = None) -> Delivery:
    record = Record(Partition(topic, number), 7, key, b"", 0, headers or [])
    return Delivery(record, origin(record), Ping("a", 1))


def redriven(key: bytes, number: int) -> Delivery:
    """Return what brings a record of ping back; it lies in partition 0 of its own topic."""
    place = {"dlq_topic": "ping", "dlq_partition": number, "dlq_offset": 7, "dlq_timestamp": 0, "dlq_action": "redrive"}
    return item(key, 0, f"g{RESOLUTIONS}", [(name, str(value).encode()) for name, value in place.items()])


def refused(judge: Callable[[Delivery], Delivery], items: Iterable[Delivery]) -> list[bool]:
    return [judge(each).poison is not None for each in items]


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_are_hashed_as_java_does(key: bytes, hashed: int) -> None:
    """The vectors of Kafka's own UtilsTest.testMurmur2; the partition is made of the hash without its sign."""
    for partitions in (1, 2, 12, 2**31 - 1):
        assert murmur2(key, partitions) == (hashed & 0x7FFFFFFF) % partitions


@given(ANY_KEY, COUNT, COUNT, COUNT)
def test_what_any_number_since_the_fewest_puts_there_is_handled(key: bytes, one: int, two: int, three: int) -> None:
    """Written before partitions were added, between two additions, or after: a good record is never refused."""
    fewest, then, now = sorted((one, two, three))
    good = item(key, murmur2(key, then))
    assert placement(Topics(now), fewest).judge(good) is good


@given(ANY_KEY, COUNT)
def test_where_none_were_added_a_key_has_one_place(key: bytes, partitions: int) -> None:
    """All other partitions are wrong, a redriven record's too, though its resolution lies right."""
    judge = placement(Topics(partitions), partitions).judge
    wrong = [number != murmur2(key, partitions) for number in range(partitions)]
    assert refused(judge, (item(key, number) for number in range(partitions))) == wrong
    assert refused(judge, (redriven(key, number) for number in range(partitions))) == wrong


def test_who_says_less_finds_less() -> None:
    """With 1 nothing in partition 0 is wrong, and little in the next ones: of all that is misplaced in 12, 56 %."""
    keys = [f"order-{number}".encode() for number in range(12_000)]
    judge = placement(Topics(12), 1).judge
    found = [sum(refused(judge, (item(key, number) for key in keys))) for number in range(12)]
    assert found[0] == 0
    assert found == sorted(found)
    assert sum(found) / (11 * len(keys)) == pytest.approx(0.56, abs=0.01)


def test_a_number_that_grew_is_asked_for_before_anything_is_refused() -> None:
    """What is known is old by then; as long as everything fits nobody asks."""
    topics = Topics(4)
    judging = placement(topics, 4)
    keys = [f"name-{number}".encode() for number in range(50)]
    assert not any(refused(judging.judge, (item(key, murmur2(key, 4)) for key in keys)))
    assert topics.asked == ["ping"]
    topics.count = 9
    judging.polled()
    assert not any(refused(judging.judge, (item(key, murmur2(key, 4)) for key in keys)))
    assert topics.asked == ["ping"], "nothing was new to it"
    assert not any(refused(judging.judge, (item(key, murmur2(key, 9)) for key in keys)))
    assert topics.asked == ["ping", "ping"]


def test_a_flood_makes_one_question_a_topic_and_poll() -> None:
    """And the next poll another one: what it brought may have been placed over more."""
    topics = Topics(4)
    judging = placement(topics, 4)
    keys = [f"name-{number}".encode() for number in range(1_000)]
    flood = [item(key, (murmur2(key, 4) + 1) % 4, topic) for key in keys for topic in ("ping", "pang")]
    for polls in (1, 2, 3):
        judging.polled()
        assert all(refused(judging.judge, flood))
        assert topics.asked == ["ping", "pang"] * polls


def test_a_broker_that_lags_behind_makes_no_good_record_bad() -> None:
    """It says fewer than were known: partitions are only ever added."""
    topics = Topics(9)
    judging = placement(topics, 4)
    assert not any(refused(judging.judge, [item(b"21", murmur2(b"21", 9))]))
    topics.count = 4
    judging.polled()
    wrong = next(n for n in range(4) if all(murmur2(b"21", count) != n for count in range(4, 10)))
    assert all(refused(judging.judge, [item(b"21", wrong)]))
    assert topics.asked == ["ping", "ping"]
    assert not any(refused(judging.judge, [item(b"21", murmur2(b"21", 9))]))


@pytest.mark.parametrize("number", [-1, 0, 1, 4, 2**31, -(2**31)])
def test_a_forged_place_is_a_wrong_one(number: int) -> None:
    """A redrive may say anything; also before any number is known."""
    [wrong] = refused(placement(Topics(4), 4).judge, [redriven(b"21", number)])
    assert wrong == (number != murmur2(b"21", 4))


def test_what_is_bad_otherwise_stays_so_and_asks_nobody() -> None:
    """The codec's guards come first: without a key nothing is misplaced."""
    topics = Topics(4)
    judge = placement(topics, 4).judge
    for key in (None, b"", b"\xff", b"21"):
        record = Record(Partition("ping", 3), 7, key, b"", 0, [])
        bad = Delivery(record, record, poison=PoisonRecord("key_missing", "no key"))
        assert judge(bad) is bad
    assert topics.asked == []


def test_the_message_says_where_it_lies_where_it_belongs_and_what_to_do() -> None:
    """Never longer than a dead letter has room for, whatever the key is."""
    for key, fewest in (("schlüssel".encode(), 4), (b"k" * 10_000, 2)):
        home = murmur2(key, 4)
        wrong = next(n for n in (3, 2) if all(murmur2(key, count) != n for count in (2, 3, 4)))
        error = placement(Topics(4), fewest).judge(item(key, wrong)).poison
        assert error is not None
        assert error.reason == "wrong_partition"
        assert f"the key {key[:80].decode()!r} is in partition {wrong}, but belongs in {home} of 4" in str(error)
        assert ("no number of partitions down to 2 leads there" in str(error)) == (fewest < 4)
        assert "workers without --keys-placed-over and redrive it" in str(error)
        assert len(str(error)) < 1_000


def test_where_nobody_answers_nothing_is_judged() -> None:
    """The record waits: it is asked for again when it is read again."""

    class Away(Topics):
        def partitions(self, topic: str) -> int:
            raise LogUnavailable(f"the topic {topic}: no answer")

    with pytest.raises(LogUnavailable):
        placement(Away(4), 4).judge(item(b"21", 0))
