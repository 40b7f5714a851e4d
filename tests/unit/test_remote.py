"""Remote calls of a batch: one lost answer holds nobody up, and a provider that is away is not asked for all of it."""

from __future__ import annotations

import threading
import time

from eventbus import TryAgain
from eventbus.remote import ATTEMPTS, HOPELESS, RemoteCalls
from tests.support.processes import PATIENCE


def outcomes(calls, concurrency=4):
    pending = RemoteCalls(concurrency).start(calls)
    assert pending.wait(PATIENCE)
    return pending.outcomes()


def test_a_provider_that_is_away_is_not_asked_a_whole_batch_long():
    """The rest has the outcome of those who asked: unknown, to be asked for again."""
    asked = set()

    def away(number):
        asked.add(number)
        raise TryAgain("away")

    found = outcomes([lambda n=number: away(n) for number in range(500)])
    assert {str(outcome) for outcome in found} == {"away"}
    assert HOPELESS <= len(asked) < HOPELESS + 10


def test_answers_in_between_are_a_reason_to_go_on_asking():
    """Losing some answers is no outage: every call is made, and again where its outcome is unknown."""
    tries, lock = dict.fromkeys(range(60), 0), threading.Lock()

    def lossy(number):
        with lock:
            tries[number] += 1
        if number % 5 == 0:
            raise TryAgain(f"lost {number}")
        return number

    found = outcomes([lambda n=number: lossy(n) for number in range(60)])
    assert [outcome for outcome in found if isinstance(outcome, int)] == [n for n in range(60) if n % 5]
    assert all(made == (1 if number % 5 else ATTEMPTS) for number, made in tries.items())


def test_as_many_calls_as_allowed_are_under_way_at_once():
    """Each thread wakes the next: calls that wait for three others in other threads end."""
    together = threading.Barrier(4)
    assert outcomes([lambda: together.wait(PATIENCE) >= 0] * 8) == [True] * 8


def test_no_more_calls_than_allowed_are_under_way_at_once():
    """Also where there are many more calls than threads."""
    under_way, lock = [0, 0], threading.Lock()

    def counted():
        with lock:
            under_way[0] += 1
            under_way[1] = max(under_way)
        time.sleep(0.001)
        with lock:
            under_way[0] -= 1

    outcomes([counted] * 100)
    assert under_way[0] == 0
    assert 1 <= under_way[1] <= 4
