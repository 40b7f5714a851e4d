"""A provider forgets idempotency keys after a while: what is asked about an older event is searched for first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from eventbus import PoisonRecord
from eventbus.database import connect
from eventbus.service import answer_of, finished
from payment_service import ledger as ledgers
from payment_service.domain import Charge, Conflict, may_be_forgotten
from payment_service.gateway import open_gateway
from payment_service.repository import SCHEMA, find_payment
from payment_service.service import PaymentService
from schemas import Item, OrderCancelled, OrderCreated, PaymentCharged, PaymentRefunded

DAY = 86_400
PLACED_MS = 1_000_000_000_000
ORDER = OrderCreated("o", "customer", 2_933, "USD", (Item("CD-04", 2),))
CANCELLED = OrderCancelled("o", "why")


class Clock:
    """The time of the service and of its provider, in ms since 1970."""

    def __init__(self) -> None:
        self.now_ms = PLACED_MS

    def __call__(self) -> int:
        return self.now_ms

    def days_later(self, days: float) -> None:
        self.now_ms = PLACED_MS + round(days * DAY * 1_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the provider's ledger read this clock."""
    clock = Clock()
    monkeypatch.setattr(ledgers, "_now_ms", clock)
    return clock


@pytest.fixture(params=["file", "memory", "slow"])
def provider(request: pytest.FixtureRequest, tmp_path: Any, clock: Clock) -> Iterator[Any]:
    """A provider that remembers keys for a day; called in each style."""
    urls = {
        "file": f"simulated:///{tmp_path}/provider.db?",
        "memory": "simulated://?",
        "slow": "simulated://?latency-ms=1&",
    }
    with closing(open_gateway(f"{urls[request.param]}key-lifetime-s={DAY}")) as provider:
        yield provider


class Desk:
    """Handles records about one order as the engine does, with the timestamps that they have on the log."""

    def __init__(self, provider: Any, clock: Clock) -> None:
        self.service = PaymentService(provider, clock)
        self.database = connect("sqlite:///:memory:", service=PaymentService.name, schema=SCHEMA)

    def ask(self, event: Any, at_ms: int = PLACED_MS) -> Any:
        """Make the call, and decide nothing: the worker dies then."""
        with self.database.snapshot() as tx:
            known = self.service.repository.load(tx, [event])
        return answer_of(finished(self.service.reactions[type(event)].call_remote(self.service, event, known, at_ms)))

    def handle(self, event: Any, at_ms: int = PLACED_MS) -> Any:
        outcome = self.ask(event, at_ms)
        with self.database.transaction() as tx:
            work = self.service.repository.load(tx, [event])
            answer = self.service.reactions[type(event)].answer(self.service, event, outcome, work=work)
            self.service.repository.save(tx, work)
        return answer

    def status(self) -> str | None:
        with self.database.snapshot() as tx:
            found = find_payment(tx, "o")
        return found and found.status


@pytest.fixture
def desk(provider: Any, clock: Clock) -> Desk:
    return Desk(provider, clock)


def test_a_provider_that_forgets_charges_twice_where_nobody_searches(provider: Any, clock: Clock) -> None:
    """What the search is for."""
    for days in (0, 0.9, 1.1):
        clock.days_later(days)
        assert isinstance(finished(provider.charge("o", 2_933, "USD")), Charge)
    assert provider.totals() == {"USD": (2 * 2_933, 0)}


def test_a_charge_that_a_worker_made_before_it_died_is_found_however_late_the_next_one_comes(
    desk: Desk, provider: Any, clock: Clock
) -> None:
    """The record is read again days later: after a long outage, by a redrive, or because offsets were set back."""
    made = desk.ask(ORDER)
    clock.days_later(3)
    charged = desk.handle(ORDER)
    assert charged == PaymentCharged("o", made.payment_id, 2_933, "USD")
    assert provider.totals() == {"USD": (2_933, 0)}


def test_what_was_never_asked_is_asked_late(desk: Desk, provider: Any, clock: Clock) -> None:
    """Nothing is found, so the order is charged."""
    clock.days_later(3)
    assert isinstance(desk.handle(ORDER), PaymentCharged)
    assert provider.totals() == {"USD": (2_933, 0)}


def test_a_refund_that_a_worker_made_before_it_died_is_found(desk: Desk, provider: Any, clock: Clock) -> None:
    """Else the provider says that the charge is refunded already, and the order is a dead letter."""
    desk.handle(ORDER)
    desk.ask(CANCELLED)
    clock.days_later(3)
    assert isinstance(desk.handle(CANCELLED), PaymentRefunded)
    assert (desk.status(), provider.totals()) == ("refunded", {"USD": (2_933, 2_933)})


def test_a_refund_that_nobody_searches_for_is_a_conflict(desk: Desk, provider: Any, clock: Clock) -> None:
    """What the search is for: a record that seems to be young, but is not."""
    desk.handle(ORDER)
    desk.ask(CANCELLED)
    clock.days_later(3)
    assert isinstance(desk.ask(CANCELLED, clock()), Conflict)
    with pytest.raises(PoisonRecord, match="conflicts"):
        desk.handle(CANCELLED, clock())


def test_a_cancelled_order_whose_charge_nobody_noted_is_refunded_however_late(
    desk: Desk, provider: Any, clock: Clock
) -> None:
    """The worker that charged it died; its order.created is handled days after order.cancelled."""
    desk.ask(ORDER)
    desk.handle(CANCELLED)
    clock.days_later(3)
    assert isinstance(desk.handle(ORDER), PaymentRefunded)
    assert provider.totals() == {"USD": (2_933, 2_933)}


def test_a_cancelled_order_that_nobody_charged_is_not_charged_however_late(
    desk: Desk, provider: Any, clock: Clock
) -> None:
    """Its key is burnt at the provider, and stays it."""
    desk.handle(CANCELLED)
    clock.days_later(3)
    assert desk.handle(ORDER) is None
    assert desk.handle(ORDER) is None
    assert (desk.status(), provider.totals()) == ("cancelled", {})


def test_a_charge_of_another_amount_that_is_found_is_a_conflict(desk: Desk, provider: Any, clock: Clock) -> None:
    """As it is while the provider remembers the key: a redrive days later must not take it for this order's charge."""
    finished(provider.charge("o", 1, "USD"))
    with pytest.raises(PoisonRecord, match="the provider knows o"):
        desk.handle(ORDER)
    clock.days_later(3)
    with pytest.raises(PoisonRecord, match=r"0\.01 USD, not of 29\.33 USD"):
        desk.handle(ORDER)
    desk.handle(CANCELLED)
    with pytest.raises(PoisonRecord, match=r"0\.01 USD, not of 29\.33 USD"):
        desk.handle(ORDER)
    assert provider.totals() == {"USD": (1, 0)}


@pytest.mark.parametrize(
    ("asked_since_ms", "lifetime", "forgotten"),
    [
        (1_000, None, False),
        (1_000, 60, False),
        (1_000, 9, True),
        (1_001, 9, False),
        (10_000, 60, False),
        (10_001, 60, True),
        (0, 60, True),
        (-1, 60, True),
    ],
)
def test_an_event_is_old_by_its_timestamp(asked_since_ms: int, lifetime: float | None, forgotten: bool) -> None:
    """At 10 s: exactly at the end of the lifetime it is old; so is one from the future, and one without a time."""
    assert may_be_forgotten(asked_since_ms, 10_000, lifetime) is forgotten
