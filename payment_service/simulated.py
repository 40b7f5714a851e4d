"""Simulated payment providers: how they behave, and the two kinds of storage for their ledger."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, cast

from eventbus import CallStyle, TryAgain
from payment_service.books import Request
from payment_service.domain import Answer, Found, RefundRefused
from payment_service.ledger import Ledger, MemoryLedger, NoRefund, Outage

HOUR_MS = 3_600_000
YEAR_SECONDS = 31_536_000


class LedgerFailure(NamedTuple):
    """It is not known whether a request was processed."""

    why: str


Settled = Answer | Found | Outage | LedgerFailure


class BadBehaviour(ValueError):
    """A parameter of the simulated provider is out of range."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the simulated provider behaves.

    `decline_above` in minor units; `latency_ms` of each call; rates from 0 to 1: `failure_rate` of calls that are
    refused before anything happened, `lose_reply_rate` of calls whose effect happens but whose answer is lost.
    `timeout_ms`: how long a caller waits for an answer while there is none (see Ledger.outage). `key_lifetime_s`: how
    many seconds it remembers idempotency keys; None: forever.
    """

    decline_above: int | None = None
    latency_ms: float = 0
    failure_rate: float = 0
    lose_reply_rate: float = 0
    seed: int | None = None
    timeout_ms: float = 5_000
    key_lifetime_s: float | None = None

    def __post_init__(self) -> None:
        if self.decline_above is not None and self.decline_above < 0:
            raise BadBehaviour(f"decline-above is {self.decline_above}, but must be 0 or more minor units")
        for name, duration in (("latency-ms", self.latency_ms), ("timeout-ms", self.timeout_ms)):
            if not 0 <= duration <= HOUR_MS:
                raise BadBehaviour(f"{name} is {duration:g}, but must be 0 to {HOUR_MS}")
        if self.key_lifetime_s is not None and not 0 < self.key_lifetime_s <= YEAR_SECONDS:
            raise BadBehaviour(f"key-lifetime-s is {self.key_lifetime_s:g}, but must be above 0, to {YEAR_SECONDS}")
        for name, rate in (("failure-rate", self.failure_rate), ("lose-reply-rate", self.lose_reply_rate)):
            if not 0 <= rate <= 1:
                raise BadBehaviour(f"{name} is {rate:g}, but must be 0 to 1")

    @property
    def is_prompt(self) -> bool:
        """Whether every request is answered at once."""
        return not (self.latency_ms or self.failure_rate or self.lose_reply_rate)


PERFECT = Behaviour()


class SimulatedProvider:
    """A payment provider with a ledger, called from one event loop; with a file, other processes may share it.

    The requests of one iteration of the loop are settled together, in one transaction. It blocks the loop, on which
    nothing else runs than requests to this ledger.
    """

    def __init__(self, ledger: Ledger | MemoryLedger, behaviour: Behaviour = PERFECT) -> None:
        self.behaviour, self._ledger = behaviour, ledger
        # What arrives together is one transaction; but a slow provider shows what --remote-concurrency does.
        self.call_style: CallStyle = "async" if behaviour.latency_ms else "together"
        self.key_lifetime = behaviour.key_lifetime_s
        self._chance = random.Random(behaviour.seed)  # noqa: S311 - faults, not secrets
        self._waiting: list[tuple[Request, asyncio.Future[Settled]]] = []
        self.entries, self.totals, self.close = ledger.entries, ledger.totals, ledger.close

    async def charge(self, key: str, amount: int, currency: str) -> Answer:
        """See Gateway."""
        return cast("Answer", await self._ask(Request("charge", key, key, amount, currency)))

    async def refund(self, key: str, charge_key: str, amount: int, currency: str) -> Answer:
        """See Gateway."""
        return cast("Answer", await self._ask(Request("refund", key, charge_key, amount, currency)))

    async def find_charge(self, key: str, amount: int, currency: str) -> Found:
        """See Gateway."""
        return cast("Found", await self._ask(Request("find", key, key, amount, currency)))

    async def _ask(self, request: Request) -> Answer | Found:
        behaviour = self.behaviour
        if behaviour.latency_ms:
            await asyncio.sleep(behaviour.latency_ms / 1000)
        if behaviour.failure_rate and self._chance.random() < behaviour.failure_rate:
            raise TryAgain(f"the provider is busy: the {request.kind} {request.key} was not processed")
        answer = await self._settled(request)
        if isinstance(answer, LedgerFailure):
            raise TryAgain(answer.why)
        if isinstance(answer, NoRefund):
            raise RefundRefused(f"the provider refuses to refund {request.charge_key} for now")
        if isinstance(answer, Outage):
            raise await self._unanswered(str(answer))
        if behaviour.lose_reply_rate and self._chance.random() < behaviour.lose_reply_rate:
            raise TryAgain(f"the answer to the {request.kind} {request.key} was lost")
        return answer

    def _settled(self, request: Request) -> asyncio.Future[Settled]:
        """Have the request settled with all others of this turn of the event loop."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._settle)
        self._waiting.append((request, answer))
        return answer

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            answers: Iterable[Settled] = self._ledger.settle([request for request, _ in waiting])
        except Outage as outage:
            answers = repeat(outage)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait indefinitely
            answers = repeat(LedgerFailure(f"the provider's ledger is unavailable: {error}"))
        for (_, future), answer in zip(waiting, answers, strict=False):
            if not future.done():  # it was cancelled
                future.set_result(answer)

    async def _unanswered(self, answer: str) -> TryAgain:
        if answer != "nothing":
            return TryAgain(f"the provider answers {answer}")
        await asyncio.sleep(self.behaviour.timeout_ms / 1000)
        return TryAgain(f"the provider has not answered for {self.behaviour.timeout_ms / 1000:g} s")


class MemoryProvider:
    """A payment provider inside this process, which loses everything when it ends: for benchmarks and experiments.

    A restarted worker, and every other process, has another ledger: charges would be made twice. Any number of
    threads may use it at once; a call takes microseconds.
    """

    call_style: CallStyle = "inline"

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger, self._turn = ledger, threading.Lock()
        self.key_lifetime = ledger.key_lifetime
        self.entries, self.totals, self.close = ledger.entries, ledger.totals, ledger.close

    def charge(self, key: str, amount: int, currency: str) -> Answer:
        """See Gateway."""
        with self._turn:
            return self._ledger.settle_one(Request("charge", key, key, amount, currency))

    def refund(self, key: str, charge_key: str, amount: int, currency: str) -> Answer:
        """See Gateway."""
        with self._turn:
            return self._ledger.settle_one(Request("refund", key, charge_key, amount, currency))

    def find_charge(self, key: str, amount: int, currency: str) -> Found:
        """See Gateway."""
        with self._turn:
            return self._ledger.find(Request("find", key, key, amount, currency))
