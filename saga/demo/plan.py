"""The orders that are placed, and the expected outcome of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

from order_service.domain import Items, OrderRequest

Ending = Literal["confirmed", "declined", "short", "cancelled", "silent"]
"""`cancelled`: by its customer, unless it is confirmed by then; `silent`: the payment provider does not answer."""

DECLINE_ABOVE = 20_000
"""Minor units: the demo's payment provider declines every charge above."""
PRICES = {"MUG-BLUE": 1_250, "PEN-BLACK": 390, "NOTEBOOK-A5": 875, "LAMP-DESK": 3_495, "SOCKS-WOOL": 1_690}
RARE, GONE = "PRINT-SIGNED", "POSTER-1977"
"""The article of which one is left, and the one that inventory does not know."""
RARE_PRICE = 2_500


class DemoPlan(NamedTuple):
    """The orders by their request ids, the expected outcome of each, and the initial stock."""

    requests: list[OrderRequest]
    endings: dict[str, Ending]
    stock: dict[str, int]


class Shares(NamedTuple):
    """Which share of the orders (0 to 1, together at most 1) ends how; the others are confirmed."""

    decline: float = 0.0
    short: float = 0.0
    cancel: float = 0.0
    silent: float = 0.0


def make_plan(orders: int, shares: Shares, seed: int) -> DemoPlan:
    """Return a plan. The same numbers and the same seed make the same plan.

    An order that is short is charged first, so it is refunded.
    """
    chance = Random(seed)  # noqa: S311 - a demo, not a secret
    kinds: tuple[Ending, ...] = ("declined", "short", "cancelled", "silent")
    endings = [kind for kind, share in zip(kinds, shares, strict=True) for _ in range(round(orders * share))][:orders]
    endings += ["confirmed"] * (orders - len(endings))
    chance.shuffle(endings)
    endings = _silent_early(endings, chance)
    requests = [_request(chance, f"demo-{number}", ending) for number, ending in enumerate(endings, start=1)]
    wanted = Counter[str]()
    for request in requests:
        wanted.update(dict(request.items))
    stock = {sku: wanted[sku] for sku in PRICES} | {RARE: 1}
    return DemoPlan(requests, {str(r.request_id): e for r, e in zip(requests, endings, strict=True)}, stock)


def _silent_early(endings: list[Ending], chance: Random) -> list[Ending]:
    """Move the silent ones into the first half. A key is blocked only while the provider answers for others.

    The last order of all would hold up those behind it in its partition: nobody else's answer shows that it is alone.
    """
    moved: list[Ending] = [ending for ending in endings if ending != "silent"]
    silent = len(endings) - len(moved)
    for place in sorted(chance.sample(range(max(silent, len(endings) // 2)), silent)):
        moved.insert(place, "silent")
    return moved


def _request(chance: Random, request_id: str, ending: Ending) -> OrderRequest:
    items = dict(_items(chance))
    total = sum(PRICES[sku] * quantity for sku, quantity in items.items())
    if ending == "declined":
        total = DECLINE_ABOVE + chance.randrange(1, 10_000)
    elif ending == "short":
        items[chance.choice((RARE, GONE))] = quantity = chance.randint(2, 3)
        total += RARE_PRICE * quantity
    return OrderRequest(f"customer-{chance.randint(1, 30)}", total, "USD", _as_items(items), request_id)


def _items(chance: Random) -> Iterator[tuple[str, int]]:
    for sku in chance.sample(sorted(PRICES), chance.randint(1, 2)):
        yield sku, chance.randint(1, 2)


def _as_items(items: dict[str, int]) -> Items:
    return tuple(items.items())
