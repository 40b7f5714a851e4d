"""The rules of the simulated provider's ledger: the response to each request, however the ledger is stored."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from payment_service.domain import Answer, Charge, Conflict, Declined, Found, NothingTaken, Refund, Refusal
from schemas.money import to_text

Kind = Literal["charge", "refund", "find"]


class Request(Struct, frozen=True, gc=False):
    """One request to the provider; the amount in minor units."""

    kind: Kind
    key: str
    charge_key: str
    amount: int
    currency: str


class LedgerEntry(NamedTuple):
    """A charge or refund that was made. `order_id` is the key of the charge; the amount in minor units."""

    key: str
    order_id: str
    kind: Kind
    amount: int
    currency: str


class LedgerLine(Struct, frozen=True, gc=False):
    """What the provider has stored for one key."""

    request: Request
    outcome: Literal["done", "declined", "above limit", "nothing", "void"]
    detail: str
    refund_key: str | None = None
    at_ms: int = 0
    """When it was asked for first, ms since 1970; 0: not known, and never forgotten."""


def found(request: Request, lines: dict[str, LedgerLine]) -> Found:
    """Answer a search for a charge, by its reference: the key under which it was made."""
    line = lines.get(request.charge_key)
    if line is None or line.outcome != "done":
        return None
    made = line.request
    if (made.amount, made.currency) != (request.amount, request.currency):
        was, asked = to_text(made.amount, made.currency), to_text(request.amount, request.currency)
        return Conflict(f"the provider has a charge {request.charge_key} of {was}, not of {asked}")
    return Charge(line.detail) if line.refund_key is None else Refund(line.detail)


def forget(request: Request, lines: dict[str, LedgerLine], before_ms: float) -> None:
    """Let the provider forget the request's key if it was used before this time; what was done under it stays done."""
    line = lines.get(request.key)
    if line is None or line.at_ms == 0 or line.at_ms >= before_ms:
        return
    kept = f"{request.key} of {line.at_ms}"
    lines[kept] = replace(line, request=replace(line.request, key=kept))
    del lines[request.key]


def settled(request: Request, lines: dict[str, LedgerLine], decline_above: int | None, now_ms: int = 0) -> Answer:
    """Answer one request from the lines of its keys, adding or changing the lines that follow from it."""
    line = lines.get(request.key)
    if line is None:
        line = _charged(request, decline_above) if request.kind == "charge" else _refunded(request, lines)
        if line is None:
            return Conflict(f"{request.key} conflicts with what the provider has for {request.charge_key}")
        lines[request.key] = line = replace(line, at_ms=now_ms)
    elif line.request != request:
        known = line.request
        return Conflict(
            f"the provider knows {request.key} as a {known.kind} of {to_text(known.amount, known.currency)},"
            f" not as a {request.kind} of {to_text(request.amount, request.currency)}"
        )
    return _charge_answer(line) if request.kind == "charge" else _refund_answer(line)


def _charged(request: Request, decline_above: int | None) -> LedgerLine:
    if decline_above is not None and request.amount > decline_above:
        asked, limit = to_text(request.amount, request.currency), to_text(decline_above, request.currency)
        return LedgerLine(request, "above limit", f"declined: {asked} is above the limit of {limit}")
    return LedgerLine(request, "done", f"ch_{blake2b(request.key.encode(), digest_size=12).hexdigest()}")


def _refunded(request: Request, lines: dict[str, LedgerLine]) -> LedgerLine | None:
    charge = lines.get(request.charge_key)
    if charge is None:
        lines[request.charge_key] = _voided(request)
    elif charge.outcome == "done":
        same = (charge.request.amount, charge.request.currency) == (request.amount, request.currency)
        if not same or charge.refund_key is not None:
            return None
        lines[request.charge_key] = replace(charge, refund_key=request.key)
        return LedgerLine(request, "done", charge.detail)
    return LedgerLine(request, "nothing", "")


def _voided(refund: Request) -> LedgerLine:
    why = "declined: the charge was refunded before it was made"
    charge = Request("charge", refund.charge_key, refund.charge_key, refund.amount, refund.currency)
    return LedgerLine(charge, "void", why)


def _charge_answer(line: LedgerLine) -> Charge | Declined:
    if line.outcome == "done":
        return Charge(line.detail)
    return Declined(line.detail, _code(line))


def _refund_answer(line: LedgerLine) -> Refund | NothingTaken:
    return Refund(line.detail) if line.outcome == "done" else NothingTaken()


def _code(line: LedgerLine) -> Refusal:
    return "LIMIT_EXCEEDED" if line.outcome == "above limit" else "DECLINED"
