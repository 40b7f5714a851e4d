"""The payment provider: the port, and the implementation that a URL selects.

Every request carries an idempotency key made from the order id. A request with an unknown outcome is repeated with the
same key; the same key with the same parameters always has the same result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from difflib import get_close_matches
from typing import Any, Protocol
from urllib.parse import parse_qsl

from eventbus import HIDDEN, CallStyle, check_file, redact
from payment_service.books import LedgerEntry
from payment_service.domain import Answer, Found
from payment_service.ledger import Ledger, MemoryLedger, NotALedger
from payment_service.simulated import BadBehaviour, Behaviour, MemoryProvider, SimulatedProvider

SCHEME = "simulated:///"
IN_MEMORY = ("simulated://", "simulated:///:memory:")
PARAMETERS: dict[str, Callable[[str], float]] = {
    "decline-above": int,
    "latency-ms": float,
    "failure-rate": float,
    "lose-reply-rate": float,
    "seed": int,
    "timeout-ms": float,
    "key-lifetime-s": float,
}


class BadGateway(ValueError):
    """The gateway's URL is invalid, or the file that it names is not a ledger."""


class Gateway(Protocol):
    """What the service calls on a payment provider; amounts in minor units.

    `charge`, `refund` and `find_charge` are plain functions, or all are `async def`. They raise TryAgain when the
    outcome is not known, and answer Conflict when the key was used before with other parameters.
    """

    @property
    def call_style(self) -> CallStyle:
        """How it is called: see Service.call_style."""

    @property
    def key_lifetime(self) -> float | None:
        """How many seconds the provider remembers an idempotency key, too few rather than too many; None: forever."""

    def charge(self, key: str, amount: int, currency: str) -> Answer | Awaitable[Answer]:
        """Charge the amount, once: Charge or Declined."""

    def refund(self, key: str, charge_key: str, amount: int, currency: str) -> Answer | Awaitable[Answer]:
        """Refund, once, everything that was charged under `charge_key`: Refund or NothingTaken.

        If nothing was charged, any charge under that key is refused from then on: a request that is still in flight
        must not charge an amount that would never be refunded. Raises RefundRefused when the provider does not refund
        the charge now.
        """

    def find_charge(self, key: str, amount: int, currency: str) -> Found | Awaitable[Found]:
        """Search for the charge that was made under this key, which the provider may have forgotten by now.

        Every provider stores a reference with a charge: give it the key. Charge, Refund if it was refunded, None
        if there is none, Conflict if it is one of another amount.
        Not called if `key_lifetime` is None.
        """


class Provider(Gateway, Protocol):
    """A gateway whose ledger can be read."""

    def entries(self) -> Iterator[LedgerEntry]:
        """Return every charge and refund, by key. Do not call it while others use the gateway."""

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return what was charged and what was refunded, in minor units, by currency."""

    def close(self) -> None:
        """Close the ledger."""


def open_gateway(url: str) -> Provider:
    """Return the provider at `simulated:///FILE?parameter=value&…`.

    The parameters are those of Behaviour, all optional. FILE is relative to the current folder; with a fourth slash it
    is absolute. Without it (`simulated://`, or `simulated:///:memory:`) the ledger is in this process's memory. Raises
    BadGateway.
    """
    place, _, query = url.partition("?")
    behaviour = _behaviour(query)
    if place in IN_MEMORY:
        ledger = MemoryLedger(behaviour.decline_above, behaviour.key_lifetime_s)
        return MemoryProvider(ledger) if behaviour.is_prompt else SimulatedProvider(ledger, behaviour)
    return SimulatedProvider(_open_ledger(url, behaviour), behaviour)


def set_outage(url: str, answer: str | None, charge_key: str | None) -> None:
    """Begin an outage of the simulated provider for every process that uses its ledger, or end it (see Ledger.outage).

    Raises BadGateway, also if the ledger is in one process's memory.
    """
    place, _, query = url.partition("?")
    if place in IN_MEMORY:
        raise BadGateway(
            f"{redact(url)} is in the memory of one process: give the simulated provider a file, simulated:///FILE"
        )
    with closing(_open_ledger(url, _behaviour(query))) as ledger:
        ledger.outage(answer, charge_key)


def check_ledger(url: str) -> None:
    """Raise NotThere if the URL names a ledger that does not exist: a command that only reads must not create one."""
    check_file("the provider's ledger", url.partition("?")[0], SCHEME)


def _open_ledger(url: str, behaviour: Behaviour) -> Ledger:
    place = url.partition("?")[0]
    path = place.removeprefix(SCHEME)
    if not place.startswith(SCHEME) or not path:
        raise BadGateway(f"the gateway {redact(url)!r} is not simulated:///FILE?parameter=value")
    try:
        return Ledger(path, behaviour.decline_above, behaviour.key_lifetime_s)
    except NotALedger as error:
        raise BadGateway(f"the gateway's ledger cannot be used: {error}") from error


def _behaviour(query: str) -> Behaviour:
    values: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in PARAMETERS:
            meant = name if get_close_matches(name, PARAMETERS) else HIDDEN  # resembles none of them: perhaps a secret
            raise BadGateway(f"the gateway has no parameter {meant!r}; its parameters are {', '.join(PARAMETERS)}")
        field = name.replace("-", "_")
        if field in values:
            raise BadGateway(f"the gateway's parameter {name} is given twice")
        try:
            values[field] = PARAMETERS[name](value)
        except ValueError:
            raise BadGateway(f"the gateway's parameter {name} is {value!r}, which is not a number") from None
    try:
        return Behaviour(**values)
    except BadBehaviour as error:
        raise BadGateway(str(error)) from error
