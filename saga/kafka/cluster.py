"""Admin queries to a Kafka cluster: whether a broker answers, and which topics exist."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.kafka.causes import DENIED, Complaints, explained, unanswered
from eventbus.kafka.config import NO_CREATION, refusal
from eventbus.kafka.diagnosis import diagnose
from eventbus.kafka.outage import BrokerOutage
from eventbus.kafka.topics import hidden, metadata
from eventbus.text.redaction import scrub, secrets_in

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long a command waits before it reports that no broker answers."""

QUESTION_SECONDS = 2.0
"""The minimum time for one query: half of the total, so that another client can retry."""
ASK_AGAIN_SECONDS = 0.1
NEEDED_BUT_UNUSED_GROUP = "saga-reader"
"""librdkafka requires a group id for every consumer; with manually assigned partitions it is never joined."""
RETRIABLE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_CONTROLLER,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.INCONSISTENT_TOPIC_ID,
    }
)
"""The errors of reads and queries that the protocol calls retriable (https://kafka.apache.org/protocol#protocol_error_codes).

A broker that has just started, and a partition that was just created or moved, return them for a moment.
`KafkaError.retriable()` does not know: librdkafka sets it for the transactional producer only.
"""
SILENT = frozenset(
    {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}  # noqa: SLF001
)
PASSING = SILENT | RETRIABLE - {KafkaError.UNKNOWN_TOPIC_OR_PART}
"""The errors that pass without anybody's help. A topic of which no broker knows may have been deleted."""


class Unreachable(ConnectionError):
    """No broker answered in time, or the broker refused this client."""

    def __init__(self, message: str, silence: str = "", since: float | None = None) -> None:
        super().__init__(message)
        self.silence = silence
        """Why no broker answers, if one may later without a change of this command; else empty."""
        self.since = since
        """Since when, in seconds since 1970."""


class BadConfiguration(ValueError):
    """A librdkafka property that does not exist or does not accept this value."""


class TopicRecreated(RuntimeError):
    """A topic was deleted, and perhaps recreated, since it was read. Exit code 3."""


class Cluster:
    """One connection for queries about topics. Nothing is sent before the first query."""

    def __init__(
        self,
        bootstrap_servers: str,
        kafka_config: Mapping[str, str] | None = None,
        *,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._servers, self._seconds = bootstrap_servers, answer_seconds
        self.kafka_config = dict(kafka_config or {})
        self._complaints, self._reached = Complaints(), False
        self._asked_at = 0.0
        self._config = {**client_config(bootstrap_servers, kafka_config), "error_cb": self._complaints}
        with refused_config(self._config):
            self.admin = AdminClient(self._config)

    @property
    def bootstrap_servers(self) -> str:
        """The configured addresses."""
        return self._servers

    @property
    def answer_seconds(self) -> float:
        """The timeout of one query.

        list_offsets gets all of it: librdkafka 2.16 aborts the process if such a query times out before its underlying
        request does (an assertion, confluentinc/librdkafka#4605).
        """
        return self._seconds

    @property
    def question_seconds(self) -> float:
        """The timeout of one query about topics: `ask` retries it."""
        return min(self._seconds, max(QUESTION_SECONDS, self._seconds / 2))

    def partitions(self) -> dict[str, dict[int, Any]]:
        """Return the metadata of every partition by topic, without creating topics. Raises Unreachable."""
        found = self.ask(self._metadata)
        return {name: topic.partitions for name, topic in found.topics.items() if topic.error is None}

    def denied(self, missing: Iterable[str]) -> str | None:
        """Return a message about topics that seem missing because this user may not describe them; None without any.

        Raises Unreachable.
        """
        found = self.ask(lambda: hidden(self.admin, missing, self.question_seconds))
        return f"{', '.join(found)}: {DENIED[KafkaError.TOPIC_AUTHORIZATION_FAILED]}" if found else None

    def id(self) -> str:
        """Return the cluster's id; empty if it reports none. Raises Unreachable."""
        return str(self.ask(self._metadata).cluster_id or "")

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return the ids of the topics that exist; a recreated topic has a new id. Raises Unreachable."""
        asked = TopicCollection(sorted(topics))

        def answered() -> dict[str, str]:
            answers = self.admin.describe_topics(asked, request_timeout=self.question_seconds)
            return {name: str(answer.result().topic_id) for name, answer in answers.items()}

        return self.ask(answered)

    def ask(self, question: Callable[[], T]) -> T:
        """Return the answer to a query by `admin`. Raises Unreachable.

        It is retried while a new topic is still electing its leaders, and, by a new client, while no broker answers.
        """
        until, self._asked_at = time.monotonic() + self._seconds, time.time()
        while True:
            try:
                answer = question()
            except KafkaException as error:
                code, over = error.args[0].code(), time.monotonic() > until
                if code in SILENT:
                    self._connect_anew()  # also if this was the last try: the next query must not wait as this one did
                    over |= self._complaints.refused
                if over or code not in SILENT | RETRIABLE:
                    raise self.unreachable(error) from error
            else:
                self._reached = True
                return answer
            time.sleep(ASK_AGAIN_SECONDS)

    def _connect_anew(self) -> None:
        """Drop the client. One that queried a broker which was just starting does not know the controller.

        It waits for the controller in every call, and refreshes metadata only every topic.metadata.refresh.interval.ms
        (5 min).
        """
        self.admin.poll(0)
        self.admin = AdminClient(self._config)

    def unreachable(self, error: KafkaException) -> Unreachable:
        """Return the error with the servers and the client's last error."""
        gave_up = time.time()
        self.admin.poll(0)
        if error.args[0].code() not in SILENT:
            why = self._scrubbed(explained(error.args[0]))
            silence = why if error.args[0].code() in PASSING else ""
            return Unreachable(f"Kafka at {self._servers} says: {why}", silence, self._asked_at)
        found = diagnose(self._config, self._complaints.errors, probe=not self._reached)
        why = self._scrubbed(unanswered(error.args[0]) if found is None else found.why)
        if self._complaints.refused or (found is not None and found.ours):
            return Unreachable(f"no Kafka broker answers at {self._servers} ({why})")
        outage = BrokerOutage(self._servers, f"gave up after {self._seconds:.0f} s", lambda: gave_up)
        outage.begin(why, since=self._asked_at)
        return Unreachable(str(outage), why, self._asked_at)

    def _metadata(self) -> Any:
        return metadata(self.admin, self._complaints, self.question_seconds)

    def _scrubbed(self, said: str) -> str:
        return scrub(said, secrets_in(self._config))


def check_same(known: Mapping[str, str], actual: Mapping[str, str]) -> None:
    """Raise TopicRecreated if a topic's id has changed."""
    for topic, topic_id in sorted(known.items()):
        if topic in actual and actual[topic] != topic_id:
            raise TopicRecreated(
                f"the topic {topic} was deleted and recreated (its id was {topic_id}, now it is {actual[topic]}):"
                " what was read before is another log"
            )


def offsets_of(answers: Mapping[TopicPartition, Any]) -> dict[tuple[str, int], int]:
    """Return the offsets in the result of `list_offsets`, by topic and partition number.

    Raises KafkaException, also for the offset -1001, which librdkafka 2.16 returns, without an error, if the connection
    breaks.
    """
    offsets = {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}
    if min(offsets.values(), default=0) < 0:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))  # noqa: SLF001 - that is how the client spells it
    return offsets


def client_config(bootstrap_servers: str, kafka_config: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the base configuration of every client here; the client's log is off: callers report errors."""
    return {**NO_CREATION, "bootstrap.servers": bootstrap_servers, "log_level": 0, **(kafka_config or {})}


def reader_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a read-only consumer: committed records, no offset commits, no offset reset.

    `config` is the client's base configuration.
    """
    return {
        **config,
        "group.id": NEEDED_BUT_UNUSED_GROUP,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }


@contextmanager
def refused_config(config: Mapping[str, Any]) -> Iterator[None]:
    """Turn the client's error about a property into BadConfiguration."""
    try:
        yield
    except KafkaException as error:
        raise BadConfiguration(f"librdkafka refused its configuration: {refusal(config, error)}") from error
