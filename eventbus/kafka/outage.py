"""Whether any broker answers, and the one sentence that workers and tools say while none does."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from eventbus.kafka.causes import LOGIN, TLS, explained
from eventbus.log import to_iso

KEEPS_TRYING = "trying again until one does"
LOOK = "Look at the brokers, at the network, and at --bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS)"
AWAY = frozenset({KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT, TLS}) | LOGIN  # noqa: SLF001
"""The errors of one broker: it cannot be reached, or refuses us now."""
ALL_AWAY = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001


class BrokerOutage:
    """What one client knows of the brokers. Its text is the sentence; it counts by the wall clock, as people do."""

    def __init__(self, servers: str, doing: str = KEEPS_TRYING, clock: Callable[[], float] = time.time) -> None:
        self._servers, self._doing, self._clock = servers, doing, clock
        self._why, self._since = "", 0.0
        self.active = False
        """Whether no broker answers."""
        self.confirmed = False
        """Whether that was confirmed by a question: librdkafka reports it also when a broker is back a moment later."""

    def on_error(self, error: KafkaError) -> None:
        """Take in an error of the client's `error_cb`: one for each broker, and one when all are away."""
        if error.code() in AWAY:
            self._why = explained(error)
        elif error.code() == ALL_AWAY:
            self.begin(self._why or explained(error))

    def begin(self, why: str, *, since: float | None = None) -> None:
        """No broker answers, and why; `since` is in seconds since 1970, now by default. Only the first time counts."""
        self._why = why
        if not self.active:
            self.active, self._since = True, self._clock() if since is None else since

    def end(self) -> float | None:
        """A broker answers: return how many seconds none did; None if one did all the time."""
        if not self.active:
            return None
        self.active, self.confirmed, self._why = False, False, ""
        return self._clock() - self._since

    def __str__(self) -> str:
        seconds = max(0, round(self._clock() - self._since))
        since = f"since {to_iso(int(self._since) * 1000).replace('.000', '')} ({seconds} s)"
        return f"no Kafka broker answers at {self._servers} {since}: {self._why}; {self._doing}. {LOOK}"
