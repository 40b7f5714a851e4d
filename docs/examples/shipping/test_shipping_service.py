"""How the shipping service is tested: its handler alone, then the whole of it under faults. No broker is needed."""

from __future__ import annotations

from typing import Any

import pytest
from shipping_service import OrderShipped, ShippingService

from schemas import OrderConfirmed


def test_a_confirmed_order_is_shipped(scenario: Any) -> None:
    """Nothing had happened; an order is confirmed; a parcel is booked."""
    scenario(ShippingService()).when(OrderConfirmed("order-1")).then(OrderShipped("order-1", "parcel-order-1"))


def test_an_order_is_shipped_once(scenario: Any) -> None:
    """If the event is delivered twice, there is still one parcel."""
    shipped = scenario(ShippingService(), OrderConfirmed("order-1")).when(OrderConfirmed("order-1")).then()
    assert shipped.rows("select count(*) from parcel") == [(1,)]


@pytest.mark.parametrize("seed", range(20))
def test_every_order_is_shipped_once_whatever_happens(seeded: Any, seed: int) -> None:
    """Two workers with crashes, stalls, lost requests and rebalances, all drawn from the seed."""
    orders = [OrderConfirmed(f"order-{number}") for number in range(4)]
    run = seeded([ShippingService], orders, seed=seed)
    assert sorted(shipped.order_id for shipped in run.published(OrderShipped)) == [f"order-{n}" for n in range(4)]
