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


ASK_AFTER_SECONDS = 4.0
"""So long after the last answer, a client that follows the log asks a broker."""
SILENT_SECONDS, QUESTIONS = 8.0, 2
"""No broker answers if none has for so long, and so many questions in a row had no answer: a frozen broker keeps its
connections open, and librdkafka reports it only after a minute. One slow answer is no outage."""


class BrokerOutage:
    """What one client knows of the brokers. Its text is the sentence; it counts by the wall clock, as people do."""

    def __init__(self, servers: str, doing: str = KEEPS_TRYING, clock: Callable[[], float] = time.time) -> None:
        self._servers, self._doing, self._clock = servers, doing, clock
        self._why, self._since = "", 0.0
        self._heard: float | None = None
        self._unanswered = 0
        self.active = False
        """Whether no broker answers."""
        self.disconnected = False
        """Whether librdkafka has no connection: it reports that also when a broker is back a moment later."""
        self.seconds = 0.0
        """How long the last outage was."""

    @property
    def suspected(self) -> bool:
        """Whether there is a sign that no broker answers: a question had no answer, or there is no connection."""
        return self.active or self.disconnected or self._unanswered > 0

    @property
    def in_question(self) -> bool:
        """Whether a broker has to be asked: none answers, or none has answered for some seconds."""
        silent = self._heard is not None and self._clock() - self._heard >= ASK_AFTER_SECONDS
        return self.suspected or silent

    def on_error(self, error: KafkaError) -> None:
        """Take in an error of the client's `error_cb`: one for each broker, and one when all are away."""
        if error.code() in AWAY:
            self._why = explained(error)
        elif error.code() == ALL_AWAY:
            self.disconnected, self._why = True, self._why or "all connections are lost"

    def unanswered(self, why: str, *, since: float | None = None) -> None:
        """A question had no answer, and why; it was asked at `since` (seconds since 1970). The outage may begin."""
        self._unanswered += 1
        heard, now = self._heard, self._clock()
        silent = heard is None or (self._unanswered >= QUESTIONS and now - heard >= SILENT_SECONDS)
        if self.active or self.disconnected or silent:
            self.begin(self._why or why, since=since if heard is None else heard)

    def begin(self, why: str, *, since: float | None = None) -> None:
        """No broker answers, and why; `since` is in seconds since 1970, now by default. Only the first time counts."""
        self._why = why
        if not self.active:
            self.active, self._since = True, self._clock() if since is None else since

    def heard(self) -> None:
        """Something came from a broker, perhaps before the outage: it ends none, but none begins now."""
        self._heard, self._unanswered = self._clock(), 0
        if not (self.active or self.disconnected):
            self._why = ""

    def end(self) -> None:
        """A broker answers."""
        self.heard()
        if self.active:
            self.seconds = max(0.0, self._clock() - self._since)
        self.active, self.disconnected, self._why = False, False, ""

    def __str__(self) -> str:
        seconds = max(0, round(self._clock() - self._since))
        since = f"since {to_iso(int(self._since) * 1000).replace('.000', '')} ({seconds} s)"
        return f"no Kafka broker answers at {self._servers} {since}: {self._why}; {self._doing}. {LOOK}"
