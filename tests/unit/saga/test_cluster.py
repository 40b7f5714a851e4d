"""What the broker is asked from outside, and what is an answer."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.kafka.diagnosis import SECONDS
from saga.kafka.cluster import Cluster, Unreachable, offsets_of


def answers(*offsets: int) -> dict[TopicPartition, Future[SimpleNamespace]]:
    given: dict[TopicPartition, Future[SimpleNamespace]] = {}
    for number, offset in enumerate(offsets):
        given[TopicPartition("order.created", number)] = Future()
        given[TopicPartition("order.created", number)].set_result(SimpleNamespace(offset=offset))
    return given


def test_offsets_are_returned_by_place() -> None:
    """None is asked, none is answered."""
    assert offsets_of(answers(0, 7)) == {("order.created", 0): 0, ("order.created", 1): 7}
    assert offsets_of({}) == {}


def test_a_lost_answer_about_offsets_is_an_error() -> None:
    """librdkafka reports -1001 without one: `saga check` would read nothing and find nothing wrong."""
    with pytest.raises(KafkaException, match="_TRANSPORT"):
        offsets_of(answers(0, -1001))


NOWHERE = "127.0.0.1:9"


def answered_only_to_a_new_client(cluster: Cluster) -> tuple[Callable[[], str], list[AdminClient]]:
    """Return a query, and the clients that were used for it; the first one finds no controller."""
    asked = list[AdminClient]()

    def question() -> str:
        asked.append(cluster.admin)
        if cluster.admin is asked[0]:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Failed while waiting for controller"))
        return "an answer"

    return question, asked


def test_who_is_not_answered_asks_again_as_a_new_client() -> None:
    """One that has learned of no controller would wait for it in every call, for five minutes."""
    cluster = Cluster(NOWHERE, answer_seconds=1)
    question, asked = answered_only_to_a_new_client(cluster)
    assert cluster.ask(question) == "an answer"
    assert len(asked) == 2


@pytest.mark.parametrize(
    "code", [KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH]
)
def test_a_retriable_error_is_asked_again_with_the_same_client(code: int) -> None:
    """Of a new topic; or of a broker that was asked while it restarted and does not know the leader's epoch yet."""
    cluster, asked = Cluster(NOWHERE, answer_seconds=1), []

    def question() -> int:
        asked.append(cluster.admin)
        if len(asked) < 3:
            raise KafkaException(KafkaError(code))
        return len(asked)

    assert cluster.ask(question) == 3
    assert asked == [cluster.admin] * 3


def test_an_error_that_lasts_is_reported_as_one_that_passes() -> None:
    """Whoever follows the log keeps trying: a partition may be without a leader for minutes."""
    cluster = Cluster(NOWHERE, answer_seconds=0.2)

    def question(code: int) -> None:
        raise KafkaException(KafkaError(code))

    with pytest.raises(Unreachable, match=r"says: .*[Ll]eader not available") as passing:
        cluster.ask(lambda: question(KafkaError.LEADER_NOT_AVAILABLE))
    with pytest.raises(Unreachable, match="says: ") as lasting:
        cluster.ask(lambda: question(KafkaError.INVALID_REQUEST))
    assert ("eader not available" in passing.value.silence, lasting.value.silence) == (True, "")


def test_half_of_the_time_is_left_for_a_second_client() -> None:
    """Within the whole time somebody who does not answer is given up, with the servers named."""
    cluster, asked = Cluster(NOWHERE, answer_seconds=4), []

    def question() -> None:
        asked.append(cluster.admin)
        cluster.admin.list_topics(timeout=cluster.question_seconds)

    began = time.monotonic()
    with pytest.raises(Unreachable, match=rf"no Kafka broker answers at {NOWHERE} since .*; gave up after 4 s"):
        cluster.ask(question)
    assert time.monotonic() - began < 4 + 3
    assert len({id(admin) for admin in asked}) == len(asked) == 2


def test_a_query_after_one_without_an_answer_needs_a_new_client() -> None:
    """Also if there was time for one try only: a broker that is back would be taken for away, for five minutes."""
    cluster = Cluster(NOWHERE, answer_seconds=0)
    question, _ = answered_only_to_a_new_client(cluster)
    with pytest.raises(Unreachable):
        cluster.ask(question)
    assert cluster.ask(question) == "an answer"


def test_the_time_in_the_sentence_is_that_until_it_gave_up() -> None:
    """Not that of the probes for the cause, which take seconds if somebody accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        cluster = Cluster(f"127.0.0.1:{mute.getsockname()[1]}", answer_seconds=2)
        with pytest.raises(Unreachable) as silent:
            cluster.id()
        [known] = re.findall(r"Z \((\d) s\): .*; gave up after 2 s", str(silent.value))
        assert 2 <= int(known) < 2 + SECONDS
        assert silent.value.silence.startswith("requests are not answered (")
