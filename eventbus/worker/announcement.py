"""A worker tells the topic of declarations what it is: for who looks at the whole, and nobody depends on it.

It never stops or slows the worker: what goes wrong is said once in the log, and the worker goes on.
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
    """One record, on its way since the worker started. librdkafka's thread sends it; `poll` hears what became of it."""

    def __init__(
        self, service: type[Service[Any]], connection: Connection, there: Collection[str], telemetry: Telemetry
    ) -> None:
        """Announce, if the topic is among those that are there."""
        self._telemetry = telemetry
        self._producer: Producer | None = None
        if TOPIC not in there:
            why = f"the topic {TOPIC!r} does not exist: `saga topics create` creates it"
            telemetry.log.warning("declaration.not_announced", why=why)
            return
        try:
            document = declare(service).to_json()
            self._producer = Producer(_configuration(connection), logger=connection.logger)
            key = f"{service.name}/{connection.instance}"
            self._producer.produce(TOPIC, document, key, on_delivery=self._done)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker has more important things to do
            self._give_up(str(error))

    @property
    def decided(self) -> bool:
        """Whether it has arrived, or was given up."""
        return self._producer is None

    def poll(self) -> None:
        """Hear what became of it; never waits."""
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
    """No transaction and no sequence numbers: a worker's rights to write the topic are enough for it."""
    given = {name: value for name, value in connection.extra.items() if not name.startswith(ONLY_CONSUMER)}
    own = {"message.timeout.ms": GIVE_UP_MS, "partitioner": "murmur2_random", "compression.type": "lz4"}
    return {**connection.common(), **own, **given}
