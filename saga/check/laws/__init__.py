"""All laws, and how they are applied.

**Why it may run while the saga runs.** Every effect is read before its cause, so the cause of every fact that was read
existed when the causes were read:

1. the ends of the topics are noted, topics of effects before those of their causes (what lies below is `early`);
2. the orders, the inventory (one snapshot with its stock), the payments, each in a snapshot; the provider's ledger;
3. the ends of the topics are noted again in the same order, and everything below them is read.

An early event was published by a transaction that was committed before step 2, so its state must be found (1 before 2).
A state was reached by events that the service had read, so they must be found (2 before 3). Among the databases the
order service, where a saga ends, is read first: inventory, payments and the provider are then at least as far as it
was. What this sequence does not decide (an event that is not published yet, a refund in flight) is not checked while
orders are open; with `finished` nothing changes any more, and everything must be present.

An order that is parked somewhere is still in flight: it is judged as such, even with `finished`.

If the beginning of a partition has expired, a missing event proves nothing about an order that was placed before the
first remaining record was written: laws that require the event skip the order, and it is counted as not judged. An
order that was placed later is judged like any other. The time at which that record was written is the later of its
timestamp, which its producer sets, and the time at which its own order was placed. Its clock may differ from that of
the order service by at most `Rules.clock_skew_ms`; beyond that, a clock that is behind makes an expired event look like
one that was never published (a false alarm), and a clock that is ahead makes more orders count as not judged.
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
    state.state_is_published,
    outcome.confirmed_is_charged_once,
    outcome.confirmed_is_reserved_once,
    outcome.cancelled_nets_to_zero,
    outcome.cancelled_holds_nothing,
    outcome.released_is_reserved_and_cancelled,
    outcome.payment_is_what_the_provider_says,
    outcome.all_is_finished,
    outcome.nothing_is_parked,
)
STOCK_LAWS: tuple[StockLaw, ...] = (stock.reserved_stock_adds_up, stock.stock_covers_reservations)
DESCRIPTIONS: Mapping[str, str] = {
    **{name_of(law): getdoc(law) or "" for law in ORDER_LAWS},
    **{name_of(law): getdoc(law) or "" for law in STOCK_LAWS},
}
"""The text of each law, in the order in which they are reported."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result: `open` counts orders whose saga has not ended."""

    violations: list[LawViolation]
    orders: int
    open: int
    not_judged: int = 0
    """Orders that some law could not judge, because an event that it requires may have expired."""


def judge(facts: Facts, rules: Rules) -> Verdict:
    """Apply every law to all facts."""
    rules = replace(
        rules,
        partitions=facts.log.partitions,
        truncated=facts.log.truncated,
        whole_since={tp: _whole_since(facts, tp) for tp in facts.log.truncated},
        passed_over=set(),
    )
    moving = replace(rules, finished=False)
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


def _whole_since(facts: Facts, tp: tuple[str, int]) -> float:
    oldest = facts.log.oldest.get(tp)
    if oldest is None:
        return inf
    order = facts.orders.get(oldest.order_id)
    return max(oldest.timestamp_ms, order.placed_ms if order is not None else 0)
