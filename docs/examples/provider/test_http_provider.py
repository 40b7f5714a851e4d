"""How a gateway is tested: against a provider that answers as the real one does. No broker and no network is needed."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import httpx2
import pytest
from http_provider import HttpProvider
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventbus import TryAgain
from eventbus.engine.calling import RemoteCalls
from eventbus.service import finished
from payment_service.domain import Charge, Conflict, Declined, NothingTaken, Refund, RefundRefused
from payment_service.gateway import open_gateway
from payment_service.service import PaymentService
from schemas import Item, OrderCancelled, OrderCreated, PaymentCharged, PaymentFailed, PaymentRefunded

SLOW_SECONDS = 0.1


class Remote:
    """A provider's server: the rules are those of the simulated provider."""

    def __init__(self) -> None:
        self.ledger = open_gateway("simulated://?decline-above=10000")
        self.fails_with = 0
        self.refuses_refunds = False
        routes = [
            Route("/charges", self.charge, methods=["POST"]),
            Route("/charges", self.find, methods=["GET"]),
            Route("/refunds", self.refund, methods=["POST"]),
        ]
        self.provider = HttpProvider("http://provider", httpx2.ASGITransport(Starlette(routes=routes)))

    async def charge(self, request: Request) -> Response:
        """Answer `POST /charges`."""
        terms = await request.json()
        answer = self.ledger.charge(request.headers["Idempotency-Key"], terms["amount"], terms["currency"])
        return await self._said(answer)

    async def refund(self, request: Request) -> Response:
        """Answer `POST /refunds`."""
        if self.refuses_refunds:
            return JSONResponse({"reason": "no refunds before noon"}, 422)
        terms = await request.json()
        key = request.headers["Idempotency-Key"]
        return await self._said(self.ledger.refund(key, terms["charge"], terms["amount"], terms["currency"]))

    async def find(self, request: Request) -> Response:
        """Answer `GET /charges?reference=KEY`."""
        reference = request.query_params["reference"]
        made = {entry.key: entry for entry in self.ledger.entries()}.get(reference)
        if made is None:
            return JSONResponse({}, 404)
        found = self.ledger.find_charge(reference, made.amount, made.currency)
        money = {"amount": made.amount, "currency": made.currency}
        return JSONResponse({"id": found.payment_id, "refunded": isinstance(found, Refund), **money})

    async def _said(self, answer: Any) -> Response:
        await asyncio.sleep(SLOW_SECONDS)
        if self.fails_with:
            return Response(status_code=self.fails_with)
        match answer:
            case Charge(payment_id) | Refund(payment_id):
                return JSONResponse({"id": payment_id})
            case Declined(reason):
                return JSONResponse({"reason": reason}, 402)
            case NothingTaken():
                return JSONResponse({}, 404)
        return JSONResponse({"reason": answer.detail}, 409)


@pytest.fixture
def remote() -> Remote:
    """Return a provider with an empty ledger."""
    return Remote()


def test_the_payment_service_charges_and_refunds_through_it(remote: Remote, scenario: Any) -> None:
    """The service and its handlers are those that charge the simulated provider."""
    order = OrderCreated("order-1", "customer", 2933, "USD", (Item("CD-04", 2),))
    charged = remote.ledger.charge("order-1", 2933, "USD").payment_id
    service = PaymentService(remote.provider)
    placed = scenario(service).when(order).then(PaymentCharged("order-1", charged, 2933, "USD"))
    placed.when(OrderCancelled("order-1", "no stock")).then(PaymentRefunded("order-1", charged, 2933, "USD"))
    dear = OrderCreated("order-2", "customer", 20_000, "USD", (Item("CD-04", 2),))
    why = "declined: 200.00 USD is above the limit of 100.00 USD"
    scenario(service).when(dear).then(PaymentFailed("order-2", why, "DECLINED"))


def test_each_answer_is_told_from_the_others(remote: Remote) -> None:
    """A key that was used with another amount; a refund of what was never charged, and the charge that comes after."""
    provider = remote.provider
    assert isinstance(finished(provider.charge("a", 1, "USD")), Charge)
    assert isinstance(finished(provider.charge("a", 2, "USD")), Conflict)
    assert finished(provider.refund("refund/b", "b", 1, "USD")) == NothingTaken()
    assert isinstance(finished(provider.charge("b", 1, "USD")), Declined)


def test_a_charge_is_found_by_its_reference(remote: Remote) -> None:
    """As it is now: not there, made, given back; with another amount it is another charge."""
    provider = remote.provider
    assert finished(provider.find_charge("a", 1, "USD")) is None
    charged = finished(provider.charge("a", 1, "USD"))
    assert finished(provider.find_charge("a", 1, "USD")) == charged
    assert isinstance(finished(provider.find_charge("a", 2, "USD")), Conflict)
    finished(provider.refund("refund/a", "a", 1, "USD"))
    assert finished(provider.find_charge("a", 1, "USD")) == Refund(charged.payment_id)


def test_a_refund_that_is_refused_is_no_answer(remote: Remote) -> None:
    """The worker parks the order and asks again; nothing is recorded as refunded."""
    finished(remote.provider.charge("a", 1, "USD"))
    remote.refuses_refunds = True
    with pytest.raises(RefundRefused, match="no refunds before noon"):
        finished(remote.provider.refund("refund/a", "a", 1, "USD"))
    remote.refuses_refunds = False
    assert isinstance(finished(remote.provider.refund("refund/a", "a", 1, "USD")), Refund)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_what_is_no_answer_is_no_refusal(remote: Remote, status: int) -> None:
    """The charge may have happened: it is asked for again, with the same key, and has happened once."""
    remote.fails_with = status
    with pytest.raises(TryAgain, match=f"answers {status}"):
        finished(remote.provider.charge("a", 1, "USD"))
    remote.fails_with = 0
    assert isinstance(finished(remote.provider.charge("a", 1, "USD")), Charge)
    assert remote.ledger.totals() == {"USD": (1, 0)}


def test_a_provider_that_is_not_there_is_an_unknown_outcome() -> None:
    """Nobody listens on this port."""
    with pytest.raises(TryAgain, match="has not answered"):
        finished(HttpProvider("http://127.0.0.1:1").charge("a", 1, "USD"))


def test_its_requests_wait_for_their_answers_at_the_same_time(remote: Remote) -> None:
    """A hundred requests, a tenth of a second each, one after the other would take ten seconds."""
    calls = RemoteCalls(100, PaymentService(remote.provider).call_style)
    started = time.monotonic()
    pending = calls.start([partial(remote.provider.charge, f"order-{number}", 1, "USD") for number in range(100)])
    assert pending.wait(5)
    assert time.monotonic() - started >= SLOW_SECONDS
    assert {type(outcome) for outcome in pending.outcomes()} == {Charge}
    assert remote.ledger.totals() == {"USD": (100, 0)}
