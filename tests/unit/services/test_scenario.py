"""A test of a service notices an event that could not be published."""

from __future__ import annotations

import pytest
from shipping_service import OrderShipped, Parcels, ShippingService

from eventbus import reacts_to
from schemas import OrderConfirmed

CONFIRMED = OrderConfirmed("order-1")
INVALID = OrderConfirmed("x" * 201)


class Mislabelled(ShippingService):
    @reacts_to(OrderConfirmed)
    def ship_order(self, confirmed: OrderConfirmed, parcels: Parcels) -> OrderShipped | None:
        """Answer with a parcel that has a number, not a text."""
        return OrderShipped(confirmed.order_id, 5)


def test_an_event_with_a_value_that_is_not_allowed_is_noticed(scenario):
    """Nobody could have published it, before the test or in it."""
    with pytest.raises(ValueError, match=r"order_id 'x+' must be 1 to 200 printable characters"):
        scenario(ShippingService(), INVALID)
    with pytest.raises(ValueError, match=r"order_id 'x+' must be 1 to 200 printable characters"):
        scenario(ShippingService(), CONFIRMED).when(INVALID)


def test_an_answer_with_a_value_that_is_not_allowed_is_noticed(scenario):
    """The worker would end at it."""
    with pytest.raises(ValueError, match="parcel"):
        scenario(Mislabelled()).when(CONFIRMED)
