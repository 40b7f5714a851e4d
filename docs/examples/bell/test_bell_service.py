"""How the smallest service is tested: no broker and no database of yours is needed."""

from typing import Any

from bell_service import BellService

from schemas import OrderConfirmed


def test_it_rings_for_a_confirmed_order(scenario: Any, capsys: Any) -> None:
    """And answers nothing."""
    scenario(BellService()).when(OrderConfirmed("order-1")).then()
    assert capsys.readouterr().out == "ring: order-1\n"
