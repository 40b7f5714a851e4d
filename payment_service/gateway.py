"""The payment provider: the port, and a simulated provider that is honest enough to test against.

Every question carries an idempotency key made from the order id. An unknown outcome is asked for again with the same
key; the same key with the same parameters always has the same result.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

from eventbus import TryAgain
from payment_service.domain import Charge, Declined, NothingTaken, Refund
from payment_service.ledger import Answer, Ledger, LedgerEntry, NotALedger, Request

SCHEME = "simulated:///"
PARAMETERS: dict[str, Callable[[str], float]] = {
    "decline-above": int,
    "latency-ms": float,
    "failure-rate": float,
    "lose-reply-rate": float,
    "seed": int,
}


class BadGateway(ValueError):
    """The gateway's URL cannot be one, or the file that it names is no ledger."""


class Gateway(Protocol):
    """What the service asks of a payment provider. Called from many threads at once; amounts in minor units.

    Both methods raise TryAgain when the outcome is not known, and IdempotencyConflict when the key was used before with
    other parameters.
    """

    def charge(self, key: str, amount: int, currency: str) -> Charge | Declined:
        """Take the money, once."""

    def refund(self, key: str, charge_key: str, amount: int, currency: str) -> Refund | NothingTaken:
        """Give back, once, all that was taken under `charge_key`.

        If that is nothing, any charge under that key is refused from then on: a request that is still on its way must
        not take money that nobody would give back.
        """


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the simulated provider behaves.

    `decline_above` in minor units; `latency_ms` of each call; rates from 0 to 1: `failure_rate` of calls that are
    refused before anything happened, `lose_reply_rate` of calls whose effect happens but whose answer is lost.
    """

    decline_above: int | None = None
    latency_ms: float = 0
    failure_rate: float = 0
    lose_reply_rate: float = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.decline_above is not None and self.decline_above < 0:
            raise BadGateway(f"decline-above is {self.decline_above}, but must be 0 or more minor units")
        if not 0 <= self.latency_ms <= 3_600_000:  # noqa: PLR2004 - an hour
            raise BadGateway(f"latency-ms is {self.latency_ms:g}, but must be 0 to 3600000")
        for name, rate in (("failure-rate", self.failure_rate), ("lose-reply-rate", self.lose_reply_rate)):
            if not 0 <= rate <= 1:
                raise BadGateway(f"{name} is {rate:g}, but must be 0 to 1")


PERFECT = Behaviour()


class _Call:
    __slots__ = ("answer", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answer: Answer | Exception | None = None


class SimulatedProvider:
    """A payment provider with its own ledger file; any number of threads and processes may use it at once.

    Calls that wait for their turn are settled together: whoever has it writes everybody's in one transaction.
    """

    def __init__(self, path: str, behaviour: Behaviour = PERFECT) -> None:
        self.behaviour = behaviour
        self._ledger = Ledger(path, behaviour.decline_above)
        self._chance = random.Random(behaviour.seed)  # noqa: S311 - faults, not secrets
        self._calls: deque[_Call] = deque()
        self._turn = threading.Lock()

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
        """Return every movement of money, by key. Not to be mixed with calls from other threads."""
        return self._ledger.entries()

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return what was charged and what was refunded, in minor units, by currency."""
        return self._ledger.totals()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _ask(self, request: Request) -> Answer:
        behaviour = self.behaviour
        if behaviour.latency_ms:
            time.sleep(behaviour.latency_ms / 1000)
        if behaviour.failure_rate and self._chance.random() < behaviour.failure_rate:
            raise TryAgain(f"the provider is busy: the {request.kind} {request.key} was not looked at")
        call = _Call(request)
        self._calls.append(call)
        with self._turn:
            if call.answer is None:
                self._settle([self._calls.popleft() for _ in range(len(self._calls))])
        if behaviour.lose_reply_rate and self._chance.random() < behaviour.lose_reply_rate:
            raise TryAgain(f"the answer to the {request.kind} {request.key} was lost")
        if isinstance(call.answer, Exception):
            raise call.answer
        assert call.answer is not None
        return call.answer

    def _settle(self, calls: list[_Call]) -> None:
        try:
            answers = self._ledger.settle([call.request for call in calls])
        except sqlite3.Error as error:
            for call in calls:
                call.answer = TryAgain(f"the provider is away: {error}")
        else:
            for call, answer in zip(calls, answers, strict=True):
                call.answer = answer


def open_gateway(url: str) -> SimulatedProvider:
    """Return the provider at `simulated:///FILE?decline-above=CENTS&latency-ms=N&failure-rate=P&lose-reply-rate=P&seed=N`.

    FILE is relative to the current folder; with a fourth slash it is absolute. All parameters are optional. Raises
    BadGateway.
    """
    path, _, query = url.removeprefix(SCHEME).partition("?")
    if not url.startswith(SCHEME) or not path:
        raise BadGateway(f"the gateway {url!r} is not simulated:///FILE?parameter=value")
    try:
        return SimulatedProvider(path, _behaviour(query))
    except NotALedger as error:
        raise BadGateway(f"the gateway's ledger cannot be used: {error}") from error


def _behaviour(query: str) -> Behaviour:
    values: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in PARAMETERS:
            raise BadGateway(f"the gateway has no parameter {name!r}; it knows {', '.join(PARAMETERS)}")
        field = name.replace("-", "_")
        if field in values:
            raise BadGateway(f"the gateway's parameter {name} is given twice")
        try:
            values[field] = PARAMETERS[name](value)
        except ValueError:
            raise BadGateway(f"the gateway's parameter {name} is {value!r}, which is no number") from None
    return Behaviour(**values)
