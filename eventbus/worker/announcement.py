"""A worker publishes its declaration to a topic, for tools that show the whole flow. No worker depends on it.

It never stops or slows the worker: a failure is logged once, and the worker continues.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from eventbus.kafka.config import ONLY_CONSUMER, Connection
from eventbus.manifest import declare
from eventbus.service import Service
from eventbus.worker.telemetry import Telemetry

TOPIC = "choreography.declarations"
"""Compacted, keyed by service/instance: it keeps the newest declaration of every worker."""
GIVE_UP_MS = 30_000


class Announcement:
    """One record, produced when the worker starts. librdkafka's thread sends it; `poll` serves the delivery report."""

    def __init__(
        self, service: type[Service[Any]], connection: Connection, topics: Collection[str], telemetry: Telemetry
    ) -> None:
        """Produce the record, if `topics`, those that exist, contain the topic."""
        self._telemetry = telemetry
        self._producer: Producer | None = None
        if TOPIC not in topics:
            why = f"the topic {TOPIC!r} does not exist: `saga topics create` creates it"
            telemetry.log.warning("declaration.not_announced", why=why)
            return
        try:
            document = declare(service).to_json()
            self._producer = Producer(_configuration(connection), logger=connection.logger)
            key = f"{service.name}/{connection.instance}"
            self._producer.produce(TOPIC, document, key, on_delivery=self._done)
        except Exception as error:  # noqa: BLE001 - no failure here may stop the worker
            self._give_up(str(error))

    @property
    def decided(self) -> bool:
        """Whether it was delivered, or given up."""
        return self._producer is None

    def poll(self) -> None:
        """Serve the delivery report; never waits."""
        if self._producer is not None:
            self._producer.poll(0)

    def _done(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._give_up(error.str())
        self._producer = None

    def _give_up(self, why: str) -> None:
        self._producer = None
        self._telemetry.log.warning("declaration.not_announced", why=why)


def _configuration(connection: Connection) -> dict[str, Any]:
    """Return settings without transactions and idempotence: the right to write to the topic suffices for them."""
    given = {name: value for name, value in connection.extra.items() if not name.startswith(ONLY_CONSUMER)}
    own = {"message.timeout.ms": GIVE_UP_MS, "partitioner": "murmur2_random", "compression.type": "lz4"}
    return {**connection.common(), **own, **given}
