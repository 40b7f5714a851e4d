"""Bad records among the orders: written while everything breaks, then redriven and discarded, and counted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Producer

from eventbus.deadletters.resolutions import DISCARD, REDRIVE
from eventbus.simulation.cluster import Written
from eventbus.simulation.poison import BAD
from saga.deadletters.laws import letter_laws
from saga.deadletters.letters import LetterTarget, open_letters
from saga.deadletters.resolve import ResolveRequest, resolve
from saga.deadletters.selection import LetterSelection
from saga.kafka.cluster import client_config
from saga.services import SERVICES

AT_ONCE = 50
"""So many are redriven, at most: of a topic's last records a hundred may be bad before its partition is paused."""
SETTLE_SECONDS = 60.0
WAIT_SECONDS = 0.5
DELIVERY_SECONDS = 120.0
"""A broker that is away comes back within it."""
GROUPS = [service.name for service in SERVICES]
TOPICS = {service.name: service.topics() for service in SERVICES}


class Poison:
    """What was written, by where it lies; and what became of it."""

    def __init__(self, bootstrap_servers: str, kafka_config: Mapping[str, str]) -> None:
        self.written: list[str] = []
        self._kinds = itertools.cycle(BAD.values())
        self._where = LetterTarget(bootstrap_servers, dict(kafka_config))

    def write(self, topic: str, keys: Iterable[str]) -> None:
        """Write one bad record with each of these keys, of every kind in turn. Raises TimeoutError."""
        config = client_config(self._where.bootstrap_servers, self._where.kafka_config)
        producer = Producer(config | {"enable.idempotence": True, "log_level": 2})
        produce: Any = producer.produce
        for key in keys:
            how = next(self._kinds)
            record = how(Written(topic, key.encode(), b"\0no event", []))
            produce(topic, record.value, record.key, on_delivery=self._delivered)
        if producer.flush(DELIVERY_SECONDS):
            raise TimeoutError(f"bad records could not be written to {topic} within {DELIVERY_SECONDS:.0f} s")

    def _delivered(self, error: object, message: Any) -> None:
        if error is None:
            self.written.append(f"{message.topic()}/{message.partition()}/{message.offset()}")

    def of(self, group: str) -> list[str]:
        """Return the bad records that a service reads."""
        return [address for address in self.written if address.split("/")[0] in TOPICS[group]]

    def resolve(self) -> None:
        """Have them redriven, wait until they are dead letters again, then discard all that is open."""
        if not self.written:
            return
        self.wait(GROUPS)
        for group in GROUPS:
            self.decide(group, REDRIVE, AT_ONCE)
        self.wait(GROUPS)
        for group in GROUPS:
            self.decide(group, DISCARD)

    def wait(self, groups: Sequence[str]) -> None:
        """Wait until no law of dead letters is broken; not forever."""
        until = time.monotonic() + SETTLE_SECONDS
        while any(True for group in groups for _ in self.broken(group)) and time.monotonic() < until:
            time.sleep(WAIT_SECONDS)

    def decide(self, group: str, action: str, limit: int | None = None) -> None:
        """Redrive or discard what is open."""
        order = ResolveRequest(
            self._where, LetterSelection(group=group), action, by="make chaos", why="a test", limit=limit
        )
        list(resolve(order, dry_run=False, tell=lambda _what: None))

    def broken(self, group: str) -> Iterator[str]:
        """Return what is wrong with the dead letters of a service."""
        yield from (f"{group}: {law}: {how}" for law, how in letter_laws(self._where, group, self.of(group)))

    def failures(self) -> Iterator[str]:
        """Return what is wrong in the end, when every dead letter should be resolved."""
        for group in GROUPS:
            yield from self.broken(group)
            left = open_letters(self._where, group)
            yield from (f"{group}: {letter.address} is not resolved" for letter in left)
