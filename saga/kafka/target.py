"""Which Kafka cluster a tool works on, and how it connects to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saga.kafka.cluster import ANSWER_SECONDS, Cluster, client_config


@dataclass(frozen=True, slots=True)
class KafkaTarget:
    """A Kafka cluster, and the librdkafka properties of every client that connects to it."""

    bootstrap_servers: str
    kafka_config: Mapping[str, str]

    def cluster(self, answer_seconds: float = ANSWER_SECONDS) -> Cluster:
        """Return a connection for queries about topics; each is answered within so many seconds, or fails."""
        return Cluster(self.bootstrap_servers, self.kafka_config, answer_seconds=answer_seconds)

    def client_config(self) -> dict[str, Any]:
        """Return the properties that every client here starts from."""
        return client_config(self.bootstrap_servers, self.kafka_config)
