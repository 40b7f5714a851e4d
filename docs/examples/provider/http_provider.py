"""The payment service with a payment provider behind HTTP instead of the simulated one."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import httpx2

from eventbus import CallStyle, TryAgain, service_cli
from payment_service.domain import Answer, Charge, Conflict, Declined, Found, NothingTaken, Refund, RefundRefused
from payment_service.repository import SCHEMA
from payment_service.service import PaymentService

TIMEOUT_SECONDS = 5.0


class HttpProvider:
    """A gateway to a provider with idempotency keys; its requests wait in one event loop, not in a thread each."""

    call_style: CallStyle = "async"
    key_lifetime = 23 * 3_600.0  # it keeps keys for 24 hours; an hour for clocks that differ

    def __init__(self, url: str, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        no_limit = httpx2.Limits(max_connections=None)  # --remote-concurrency is the limit
        self._client = httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, limits=no_limit, transport=transport)

    async def charge(self, key: str, amount: int, currency: str) -> Answer:
        """Charge the amount, once."""
        status, said = await self._post("/charges", key, {"amount": amount, "currency": currency, "reference": key})
        if status == httpx2.codes.PAYMENT_REQUIRED:
            return Declined(said["reason"])
        return Charge(said["id"]) if status == httpx2.codes.OK else Conflict(said["reason"])

    async def refund(self, key: str, charge_key: str, amount: int, currency: str) -> Answer:
        """Refund the charge, once; one that was never made is refused from then on."""
        terms = {"charge": charge_key, "amount": amount, "currency": currency}
        status, said = await self._post("/refunds", key, terms)
        if status == httpx2.codes.NOT_FOUND:
            return NothingTaken()
        if status == httpx2.codes.UNPROCESSABLE_ENTITY:
            raise RefundRefused(said["reason"])
        return Refund(said["id"]) if status == httpx2.codes.OK else Conflict(said["reason"])

    async def find_charge(self, key: str, amount: int, currency: str) -> Found:
        """Search for the charge by the reference that was stored with it."""
        status, said = await self._answer(self._client.get("/charges", params={"reference": key}))
        if status == httpx2.codes.NOT_FOUND:
            return None
        if (said["amount"], said["currency"]) != (amount, currency):
            return Conflict(f"the provider has a charge {key} of {said['amount']} {said['currency']}")
        return Refund(said["id"]) if said["refunded"] else Charge(said["id"])

    async def _post(self, path: str, key: str, terms: dict[str, Any]) -> tuple[int, Any]:
        return await self._answer(self._client.post(path, json=terms, headers={"Idempotency-Key": key}))

    async def _answer(self, request: Awaitable[httpx2.Response]) -> tuple[int, Any]:
        """Return a status that is an answer. Raises TryAgain for every other, and when nothing was heard."""
        try:
            response = await request
        except httpx2.HTTPError as error:
            raise TryAgain(f"the provider has not answered: {error!r}") from error
        if response.status_code not in (200, 402, 404, 409, 422):
            raise TryAgain(f"the provider answers {response.status_code}")
        return response.status_code, response.json()


@contextmanager
def charging(provider_url: str) -> Iterator[PaymentService]:
    """Start a worker: it charges new orders and refunds cancelled ones.

    Example: python http_provider.py run --provider-url https://payments.example --remote-concurrency 400
    """
    yield PaymentService(HttpProvider(provider_url))


PROVIDER = click.option("--provider-url", required=True, help="The payment provider.")
main = service_cli(PaymentService, SCHEMA, build=charging, options=[PROVIDER])

if __name__ == "__main__":
    main(prog_name="payment-service")
