"""Laws about the events of one order among themselves.

The log only grows, and the ends of the topics were noted effects first: the cause of an event that was read was
published before it, and so was read too. These laws therefore hold at any moment, also while the saga runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from saga.check.facts import Address, EventFact, Saga, made_id
from saga.check.rules import LawFinding, Rules, finding
from schemas import (
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
)

REQUIRES: Mapping[str, tuple[str, ...]] = {
    InventoryReserved.topic: (OrderCreated.topic, PaymentCharged.topic),
    OrderConfirmed.topic: (OrderCreated.topic, PaymentCharged.topic, InventoryReserved.topic),
    PaymentRefunded.topic: (OrderCreated.topic, OrderCancelled.topic),
    InventoryReleased.topic: (OrderCancelled.topic,),
}
"""What must have been on the log before, besides the one cause: inventory, for example, waits for two events."""

REQUIRES_IN_THE_END: Mapping[str, tuple[str, ...]] = {InventoryReleased.topic: (InventoryReserved.topic,)}
"""What the same service published before: as an answer to another partition, so it may become visible later."""

EXCLUDES: tuple[tuple[str, str], ...] = (
    (OrderConfirmed.topic, OrderCancelled.topic),
    (OrderConfirmed.topic, PaymentFailed.topic),
    (OrderConfirmed.topic, InventoryReservationFailed.topic),
    (OrderConfirmed.topic, PaymentRefunded.topic),
    (OrderConfirmed.topic, InventoryReleased.topic),
    (PaymentCharged.topic, PaymentFailed.topic),
    (PaymentFailed.topic, PaymentRefunded.topic),
    (PaymentFailed.topic, InventoryReserved.topic),
    (InventoryReserved.topic, InventoryReservationFailed.topic),
)
"""Events that cannot both happen to one order."""


def each_event_once(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """Each event of an order is on the log once."""
    copies = defaultdict(list)
    for event in saga.events:
        copies[event.topic].append(event)
    for topic, events in copies.items():
        distinct = {(event.ce_id, event.digest) for event in events}
        if len(events) > 1 and not (rules.at_least_once and len(distinct) == 1):
            ids = " and ".join(sorted({event.ce_id for event in events}))
            yield finding(f"{topic} is on the log {len(events)} times, as {ids}", *events)


def event_id_follows_cause(saga: Saga, _rules: Rules) -> Iterator[LawFinding]:
    """The id of an event is derived from its cause, or from its key if it has none."""
    for event in saga.events:
        if event.event_id is not None:
            made = made_id(event.topic, event.order_id, event.cause, event.deadline)
            yield finding(f"the ce_id is {event.event_id!r}, expected {made!r}", event)


def cause_is_legal(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """An event answers only events that some service declares to answer with it, or has a declared deadline."""
    for event in saga.events:
        legal = rules.flow.causes.get(event.topic, frozenset())
        if event.deadline is not None:
            if event.topic not in rules.flow.overdue:
                yield finding(f"no service declares a deadline that ends with {event.topic}", event)
        elif event.cause is None and legal and event.topic not in rules.flow.root_events:
            yield finding(f"{event.topic} has no cause; it answers {_either(legal)}", event)
        elif event.cause is not None and event.cause.topic not in legal:
            yield finding(f"{event.topic} answers {event.cause}; only {_either(legal)} may cause it", event)


def one_answer_per_cause(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """A service answers an event with one event, or with none."""
    answers: dict[tuple[Address, frozenset[str]], EventFact] = {}
    for event in saga.events:
        if event.cause is None:
            continue
        for alternatives in rules.flow.answers.get(event.cause.topic, ()):
            first = answers.setdefault((event.cause, alternatives), event) if event.topic in alternatives else event
            if first.topic != event.topic:
                yield finding(f"{event.cause} was answered twice: {first.topic} and {event.topic}", first, event)


def cause_is_on_the_log(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """The cause of an event is on the log, as an event of the same order."""
    own = {event.address for event in saga.events}
    for event in saga.events:
        if event.cause is not None and event.cause not in own and not rules.expired(saga, event.cause):
            yield finding(f"the cause {event.cause} of {event.topic} is not an event of this order", event)


def cause_came_first(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """A cause was on the log before its effect, as far as clocks can tell."""
    own = {event.address: event for event in saga.events}
    for event in saga.events:
        cause = own.get(event.cause) if event.cause is not None else None
        if cause is None:
            continue
        if event.early and not cause.early:
            yield finding(f"{event.topic} was on the log before its cause was", event, cause)
        elif _later(cause, event, rules.clock_skew_ms):
            ahead = cause.timestamp_ms - event.timestamp_ms
            yield finding(f"{event.topic} has a timestamp {ahead} ms before its cause", event, cause)


def one_partition_per_order(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """All events of an order are in the same partition number (among topics with equally many partitions)."""
    seen: dict[int, EventFact] = {}
    for event in saga.events:
        first = seen.setdefault(rules.partitions.get(event.topic, 0), event)
        if event.partition != first.partition:
            what = f"{event.topic} is in partition {event.partition}, {first.topic} in {first.partition}"
            yield finding(what, event, first)


def events_never_contradict(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """No two events of an order exclude each other, and none lacks what must have happened before it."""
    present = {event.topic: event for event in saga.events}
    for one, other in EXCLUDES:
        if one in present and other in present:
            yield finding(f"{one} and {other} exclude each other", present[one], present[other])
    for topic, event in present.items():
        before = REQUIRES.get(topic, ()) + (REQUIRES_IN_THE_END.get(topic, ()) if rules.finished else ())
        for needed in before:
            if rules.lacks(saga, needed):
                yield finding(f"{topic} without {needed}", event)


def _later(cause: EventFact, event: EventFact, skew_ms: int) -> bool:
    both_stamped = cause.timestamp_ms > 0 and event.timestamp_ms > 0
    return both_stamped and cause.timestamp_ms > event.timestamp_ms + skew_ms


def _either(topics: frozenset[str]) -> str:
    return " or ".join(sorted(topics)) or "nothing"
