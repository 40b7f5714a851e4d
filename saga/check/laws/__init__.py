"""All laws, and how they are applied.

**Why it may run while the saga runs.** Every effect is read before its cause, so what caused a fact that was read was
there when the causes were read:

1. the ends of the topics are noted, topics of effects before those of their causes (what lies below is `early`);
2. the orders, the inventory (one snapshot with its stock), the payments, each in a snapshot; the provider's ledger;
3. the ends of the topics are noted again in the same order, and everything below them is read.

An early event was published by a transaction that was over before step 2, so its state must be found (1 before 2). A
state was reached by events that the service had read, so they must be found (2 before 3). Among the databases the order
service, where a saga ends, is read first: inventory, payments and the provider are then at least as far as it was. What
none of these orders decides (an event that is not published yet, a refund on its way) is not looked at while orders are
open; with `quiescent` nothing moves, and everything must be there.

An order that is parked somewhere still moves: whatever else is quiet, it is judged as one in flight.

Where the beginning of a partition has expired, an order proves nothing by an event that it lacks if it was placed
before the first record that is left was written: laws that need the event to be there pass over the order, and it is
counted. An order that was placed later is judged like any other. When that record was written is told by its timestamp
and, as whoever wrote it sets that, by when its own order was placed: the later of the two. Its clock may differ from
that of the order service by as much as `Rules.clock_skew_ms` says; beyond that, a clock that is behind makes a lost
event look like one that never was (a false alarm), and a clock that is ahead makes more orders count as not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import getdoc
from math import inf

from saga.check.facts import Facts
from saga.check.laws import log, outcome, state, stock
from saga.check.laws.stock import StockLaw
from saga.check.rules import Law, LawViolation, Rules, name_of

ORDER_LAWS: tuple[Law, ...] = (
    log.each_event_once,
    log.event_id_follows_cause,
    log.cause_is_legal,
    log.cause_is_on_the_log,
    log.cause_came_first,
    log.one_answer_per_cause,
    log.one_partition_per_order,
    log.events_never_contradict,
    state.order_iff_order_created,
    state.event_has_its_state,
    state.event_tells_what_the_database_says,
    state.state_has_its_cause,
    state.state_is_announced,
    outcome.confirmed_is_charged_once,
    outcome.confirmed_is_reserved_once,
    outcome.cancelled_nets_to_zero,
    outcome.cancelled_holds_nothing,
    outcome.payment_is_what_the_provider_says,
    outcome.all_is_finished,
    outcome.nothing_is_parked,
)
STOCK_LAWS: tuple[StockLaw, ...] = (stock.reserved_stock_adds_up, stock.stock_covers_reservations)
DESCRIPTIONS: Mapping[str, str] = {
    **{name_of(law): getdoc(law) or "" for law in ORDER_LAWS},
    **{name_of(law): getdoc(law) or "" for law in STOCK_LAWS},
}
"""What each law says, in the order in which they are reported."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out: `open` counts orders whose saga has not ended."""

    violations: list[LawViolation]
    orders: int
    open: int
    not_judged: int = 0
    """Orders of which events may have expired that laws ask for: of these less is known than of the others."""


def judge(facts: Facts, rules: Rules) -> Verdict:
    """Apply every law to everything that is known."""
    rules = replace(
        rules,
        partitions=facts.log.partitions,
        truncated=facts.log.truncated,
        whole_since={lane: _whole_since(facts, lane) for lane in facts.log.truncated},
        passed_over=set(),
    )
    moving = replace(rules, quiescent=False)
    violations: list[LawViolation] = []
    still_open = 0
    named = [(name_of(law), law) for law in ORDER_LAWS]
    for saga in facts.sagas():
        still_open += outcome.open_because(saga, rules) is not None
        for name, law in named:
            in_flight = saga.parked and law is not outcome.nothing_is_parked
            findings = law(saga, moving if in_flight else rules)
            violations += [LawViolation(name, saga.order_id, found.detail, found.where) for found in findings]
    for stock_law in STOCK_LAWS:
        violations += [LawViolation(name_of(stock_law), "", detail) for detail in stock_law(facts)]
    return Verdict(violations, len(facts.orders), still_open, len(rules.passed_over))


def _whole_since(facts: Facts, lane: tuple[str, int]) -> float:
    oldest = facts.log.oldest.get(lane)
    if oldest is None:
        return inf
    order = facts.orders.get(oldest.order_id)
    return max(oldest.timestamp_ms, order.placed_ms if order is not None else 0)
