"""Waiting for a broker: commands that follow the log say that none answers, and go on once one does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from eventbus.kafka.outage import BrokerOutage
from saga.kafka.cluster import Unreachable
from saga.kafka.target import KafkaTarget

T = TypeVar("T")

ANSWER_SECONDS = 3.0
"""How long a broker may take before this says so for the first time."""
AGAIN_SECONDS = 1.0
SAY_SECONDS = 5.0


class OutageNews:
    """What people are told of outages: the sentence every few seconds, and after how many seconds one is over."""

    def __init__(self, away: Callable[[str], None], reached: Callable[[float], None]) -> None:
        self._say_away, self._say_reached = away, reached
        self._known, self._said = False, -SAY_SECONDS

    def look(self, outage: BrokerOutage) -> None:
        """Tell what is new, if it is time. Call it about every second."""
        if outage.active:
            now = time.monotonic()
            if not self._known or now - self._said >= SAY_SECONDS:
                self._known, self._said = True, now
                self._say_away(str(outage))
        elif self._known:
            self._known = False
            self._say_reached(outage.seconds)


def until_reached(target: KafkaTarget, attempt: Callable[[], T], news: OutageNews) -> T:
    """Call as soon as a broker answers, and return the result; tell `news` while none does.

    Raises Unreachable if waiting does not help: a broker refuses this client.
    """
    outage = BrokerOutage(target.bootstrap_servers)
    cluster = target.cluster(ANSWER_SECONDS)
    while True:
        try:
            cluster.id()
            outage.end()
            news.look(outage)
            return attempt()
        except Unreachable as error:
            if not error.silence:
                raise
            outage.begin(error.silence, since=error.since)
        news.look(outage)
        time.sleep(AGAIN_SECONDS)
