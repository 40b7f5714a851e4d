"""Simulated payment providers: how they behave, and the two kinds of storage for their ledger."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from eventbus import TryAgain
from payment_service.books import Answer, LedgerEntry, Request
from payment_service.domain import Charge, Declined, NothingTaken, Refund
from payment_service.ledger import Ledger, MemoryLedger, Outage

HOUR_MS = 3_600_000


class BadBehaviour(ValueError):
    """A parameter of the simulated provider is out of range."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the simulated provider behaves.

    `decline_above` in minor units; `latency_ms` of each call; rates from 0 to 1: `failure_rate` of calls that are
    refused before anything happened, `lose_reply_rate` of calls whose effect happens but whose answer is lost.
    `timeout_ms`: how long a caller waits for an answer while there is none (see SimulatedProvider.outage).
    """

    decline_above: int | None = None
    latency_ms: float = 0
    failure_rate: float = 0
    lose_reply_rate: float = 0
    seed: int | None = None
    timeout_ms: float = 5_000

    def __post_init__(self) -> None:
        if self.decline_above is not None and self.decline_above < 0:
            raise BadBehaviour(f"decline-above is {self.decline_above}, but must be 0 or more minor units")
        for name, duration in (("latency-ms", self.latency_ms), ("timeout-ms", self.timeout_ms)):
            if not 0 <= duration <= HOUR_MS:
                raise BadBehaviour(f"{name} is {duration:g}, but must be 0 to {HOUR_MS}")
        for name, rate in (("failure-rate", self.failure_rate), ("lose-reply-rate", self.lose_reply_rate)):
            if not 0 <= rate <= 1:
                raise BadBehaviour(f"{name} is {rate:g}, but must be 0 to 1")


PERFECT = Behaviour()


class _Call:
    __slots__ = ("answer", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answer: Answer | Exception | None = None


class _Simulated(ABC):
    """The common part of simulated providers: when they answer, and whether the answer arrives."""

    def __init__(self, books: Ledger | MemoryLedger, behaviour: Behaviour) -> None:
        self.behaviour, self._books = behaviour, books
        self._chance = random.Random(behaviour.seed)  # noqa: S311 - faults, not secrets
        self._turn = threading.Lock()
        self._plain = not (behaviour.latency_ms or behaviour.failure_rate or behaviour.lose_reply_rate)

    @property
    def inline(self) -> bool:
        """See Gateway: a ledger in a file waits for the disk."""
        return False

    @abstractmethod
    def _settled(self, request: Request) -> Answer | Exception:
        """Look the request up in the ledger, or write it there."""

    def charge(self, key: str, amount: int, currency: str) -> Charge | Declined:
        """See Gateway."""
        answer = self._ask(Request("charge", key, key, amount, currency))
        assert isinstance(answer, (Charge, Declined))
        return answer

    def refund(self, key: str, charge_key: str, amount: int, currency: str) -> Refund | NothingTaken:
        """See Gateway."""
        answer = self._ask(Request("refund", key, charge_key, amount, currency))
        assert isinstance(answer, (Refund, NothingTaken))
        return answer

    def entries(self) -> Iterator[LedgerEntry]:
        """See Provider."""
        return self._books.entries()

    def totals(self) -> dict[str, tuple[int, int]]:
        """See Provider."""
        return self._books.totals()

    def close(self) -> None:
        """See Provider."""
        self._books.close()

    def _ask(self, request: Request) -> Answer:
        answer = self._settled(request) if self._plain else self._settled_or_lost(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _settled_or_lost(self, request: Request) -> Answer | Exception:
        behaviour = self.behaviour
        if behaviour.latency_ms:
            time.sleep(behaviour.latency_ms / 1000)
        if behaviour.failure_rate and self._chance.random() < behaviour.failure_rate:
            return TryAgain(f"the provider is busy: the {request.kind} {request.key} was not processed")
        answer = self._settled(request)
        if behaviour.lose_reply_rate and self._chance.random() < behaviour.lose_reply_rate:
            return TryAgain(f"the answer to the {request.kind} {request.key} was lost")
        return answer


class SimulatedProvider(_Simulated):
    """A payment provider with its own ledger file; any number of threads and processes may use it at once.

    Calls that wait for the lock are settled together: the thread that holds it writes all of them in one transaction.
    """

    def __init__(self, path: str, behaviour: Behaviour = PERFECT) -> None:
        self._ledger = Ledger(path, behaviour.decline_above)
        super().__init__(self._ledger, behaviour)
        self._calls: deque[_Call] = deque()

    def _settled(self, request: Request) -> Answer | Exception:
        call = _Call(request)
        self._calls.append(call)
        with self._turn:
            if call.answer is None:
                self._settle([self._calls.popleft() for _ in range(len(self._calls))])
        assert call.answer is not None
        if isinstance(call.answer, Outage):
            return self._unanswered(str(call.answer))
        return call.answer

    def outage(self, answer: str | None, charge_key: str | None = None) -> None:
        """Answer requests of every process with `500` or `429`, or not at all (`nothing`); None ends the outage.

        It affects every request, or those about one charge.
        """
        self._ledger.outage(answer, charge_key)

    def _unanswered(self, answer: str) -> TryAgain:
        if answer != "nothing":
            return TryAgain(f"the provider answers {answer}")
        time.sleep(self.behaviour.timeout_ms / 1000)
        return TryAgain(f"the provider has not answered for {self.behaviour.timeout_ms / 1000:g} s")

    def _settle(self, calls: list[_Call]) -> None:
        try:
            answers = self._ledger.settle([call.request for call in calls])
        except Outage as outage:
            for call in calls:
                call.answer = outage
        except sqlite3.Error as error:
            for call in calls:
                call.answer = TryAgain(f"the provider's ledger is unavailable: {error}")
        else:
            for call, answer in zip(calls, answers, strict=True):
                call.answer = answer


class MemoryProvider(_Simulated):
    """A payment provider inside this process, which loses everything when it ends: for benchmarks and experiments.

    A restarted worker, and every other process, has another ledger: charges would be made twice. Any number of
    threads may use it at once; a call takes microseconds.
    """

    def __init__(self, behaviour: Behaviour = PERFECT) -> None:
        self._memory = MemoryLedger(behaviour.decline_above)
        super().__init__(self._memory, behaviour)

    @property
    def inline(self) -> bool:
        """See Gateway."""
        return self._plain

    def _settled(self, request: Request) -> Answer | Exception:
        with self._turn:
            return self._memory.settle_one(request)
