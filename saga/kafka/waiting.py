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


def until_reached(target: KafkaTarget, attempt: Callable[[], T], say: Callable[[str], None]) -> T:
    """Call as soon as a broker answers, and return the result; `say` is called every few seconds while none does.

    Raises Unreachable if waiting does not help: a broker refuses this client.
    """
    outage, said = BrokerOutage(target.bootstrap_servers), -SAY_SECONDS
    cluster = target.cluster(ANSWER_SECONDS)
    while True:
        try:
            cluster.id()
            return attempt()
        except Unreachable as error:
            if not error.silence:
                raise
            outage.begin(error.silence, since=error.since)
        if time.monotonic() - said >= SAY_SECONDS:
            say(str(outage))
            said = time.monotonic()
        time.sleep(AGAIN_SECONDS)
