"""Lookups in a registry beside the loop: the loop waits only for a share of its time, each lookup is made once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from eventbus.serde.lookups import STALE_SECONDS, WAIT_SECONDS, WAIT_SHARE, Lookups, StillAsking
from eventbus.serde.registry import RegistryUnavailable, UnknownSchema
from tests.support.engines.sample import Ping
from tests.support.saga.processes import PATIENCE

SCHEMA = {"type": "record", "name": "Known"}


class Asked:
    """A registry that a test controls, and that counts."""

    def __init__(self, answer: Callable[[int], dict[str, Any]]) -> None:
        self._answer = answer
        self.times: Counter[int] = Counter()

    def id_of(self, event: type[Any]) -> int:
        self.times[0] += 1
        self._answer(0)
        return 7

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        self.times[schema_id] += 1
        return self._answer(schema_id)


def until_answered(ask: Callable[[], Any]) -> Any:
    """Retry until it answers."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            return ask()
        except StillAsking:
            time.sleep(0.005)
    raise TimeoutError


def test_a_quick_answer_is_returned_at_once():
    """An error as well: no retry is needed."""

    def answer(schema_id: int) -> dict[str, Any]:
        if schema_id == 2:
            raise UnknownSchema("nobody knows it")
        return SCHEMA

    lookups = Lookups(Asked(answer))
    assert lookups.schema_of(1) == SCHEMA
    assert lookups.id_of(Ping) == 7
    with pytest.raises(UnknownSchema, match="nobody knows it"):
        lookups.schema_of(2)


def test_a_slow_answer_is_fetched_later_and_asked_for_once():
    """The loop waits for a moment at first, and not at all at each retry."""
    answered = threading.Event()

    def answer(_schema_id: int) -> dict[str, Any]:
        answered.wait(PATIENCE)
        return SCHEMA

    registry = Asked(answer)
    lookups = Lookups(registry)
    began = time.monotonic()
    with pytest.raises(StillAsking, match="schema id 1"):
        lookups.schema_of(1)
    first = time.monotonic() - began
    for _ in range(100):
        with pytest.raises(StillAsking):
            lookups.schema_of(1)
    assert first >= WAIT_SECONDS * 0.9
    assert time.monotonic() - began - first < WAIT_SECONDS
    answered.set()
    assert until_answered(lambda: lookups.schema_of(1)) == SCHEMA
    assert registry.times == {1: 1}


def test_very_many_slow_answers_take_a_part_of_the_loops_time():
    """Each of them another id, 50 ms each; a loop that looks in every 10 ms."""

    def answer(_schema_id: int) -> dict[str, Any]:
        time.sleep(0.05)
        raise UnknownSchema("nobody knows it")

    registry = Asked(answer)
    lookups, waited, schema_id = Lookups(registry), 0.0, 1
    began = time.monotonic()
    while time.monotonic() - began < 3:
        asked = time.monotonic()
        try:
            lookups.schema_of(schema_id)
        except StillAsking:
            pass
        except UnknownSchema:
            schema_id += 1
        waited += time.monotonic() - asked
        time.sleep(0.01)
    assert waited < (WAIT_SECONDS + 3 * WAIT_SHARE) * 1.3
    assert schema_id > 20
    assert set(registry.times.values()) == {1}


def test_nobody_waits_again_for_what_failed():
    """It may hang, every time: the loop retries, and waits again only after it has answered."""

    def answer(_schema_id: int) -> dict[str, Any]:
        time.sleep(0.1)
        raise RegistryUnavailable("HTTP 500")

    lookups = Lookups(Asked(answer))
    with pytest.raises(RegistryUnavailable, match="HTTP 500"):
        until_answered(lambda: lookups.schema_of(1))
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(StillAsking, match="HTTP 500"):  # what is known of it so far
            lookups.schema_of(1)
        assert time.monotonic() - began < 0.08
        with pytest.raises(RegistryUnavailable, match="HTTP 500"):
            until_answered(lambda: lookups.schema_of(1))


def test_an_answer_that_nobody_has_fetched_for_long_is_asked_for_again():
    """It may have been registered since, for example if a partition moved away and came back."""
    now, known = 0.0, threading.Event()

    def answer(_schema_id: int) -> dict[str, Any]:
        if known.is_set():
            return SCHEMA
        time.sleep(WAIT_SECONDS + 0.2)
        raise UnknownSchema("nobody knows it")

    lookups = Lookups(Asked(answer), clock=lambda: now)
    with pytest.raises(StillAsking):
        lookups.schema_of(1)
    time.sleep(0.5)
    known.set()
    now += STALE_SECONDS + 1
    assert lookups.schema_of(1) == SCHEMA
