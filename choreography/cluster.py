"""Talking to a Kafka cluster from outside the saga: who answers, and which topics there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from eventbus import cli

F = TypeVar("F", bound=Callable[..., Any])

ANSWER_SECONDS = 10.0
"""How long a person waits before hearing that no broker answers."""


class Unreachable(ConnectionError):
    """No broker answered in time."""


class BadConfiguration(ValueError):
    """A librdkafka property that does not exist or does not take this value."""


class Cluster:
    """One connection for questions about topics. Nothing is sent before the first question."""

    def __init__(self, bootstrap_servers: str, kafka_config: Mapping[str, str] | None = None) -> None:
        self._servers, self._last_error = bootstrap_servers, ""
        configuration = {**client_config(bootstrap_servers, kafka_config), "error_cb": self._note}
        with refused_config():
            self.admin = AdminClient(configuration)

    def partitions(self) -> dict[str, dict[int, Any]]:
        """Return the metadata of every partition by topic, without making any. Raises Unreachable."""
        try:
            found = self.admin.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise self.unreachable(error) from error
        return {name: topic.partitions for name, topic in found.topics.items() if topic.error is None}

    def unreachable(self, error: KafkaException) -> Unreachable:
        """Return the error for people: which servers, and what the client last complained about."""
        self.admin.poll(0)
        why = self._last_error or error.args[0].str()
        return Unreachable(f"no Kafka broker answers at {self._servers} within {ANSWER_SECONDS:.0f} s ({why})")

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - that is how the client spells it
            self._last_error = error.str()


def client_config(bootstrap_servers: str, kafka_config: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what every client here starts from; the client's own log is off: errors are reported by who asked."""
    return {"bootstrap.servers": bootstrap_servers, "log_level": 0, **(kafka_config or {})}


@contextmanager
def refused_config() -> Iterator[None]:
    """Turn the client's complaint about a property into BadConfiguration."""
    try:
        yield
    except KafkaException as error:
        raise BadConfiguration(f"--kafka-config: {error.args[0].str()}") from error


def cluster_options(command: F) -> F:
    """Decorate a click command with how to reach Kafka; it is called with `cluster=Cluster(...)`."""

    @wraps(command)
    def with_cluster(bootstrap_servers: str, kafka_config: dict[str, str], **options: Any) -> Any:
        return command(cluster=Cluster(bootstrap_servers, kafka_config), **options)

    return cast("F", cli.bootstrap_servers(cli.kafka_config(with_cluster)))
