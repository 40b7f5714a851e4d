"""What an order means for its customer, in one sentence: what is paid, what was refunded, which service is due."""

from __future__ import annotations

from typing import Literal, NamedTuple

from saga.tracker.endings import ON_REQUEST, is_late
from saga.tracker.fold import TrackedEvent
from saga.tracker.sentences import money
from saga.tracker.timeline import Timeline
from schemas import OrderConfirmed, OrderCreated, PaymentCharged, PaymentFailed, PaymentRefunded

Tone = Literal["good", "neutral", "waiting", "bad"]


class CustomerVerdict(NamedTuple):
    """The sentence, and whether somebody has to look: `bad`."""

    text: str
    tone: Tone


def verdict(story: Timeline, now: int) -> CustomerVerdict:
    """Return what a support person tells the customer; the log is the only source, `now` in ms since 1970."""
    text, tone = _open(story, now) if story.order.ending is None else _ended(story)
    if story.why_ended:
        text = f"Cancelled {_for_people(story.why_ended)}. {text}"
    if story.violations:
        return CustomerVerdict(
            f"{text} But the log has something that no service declares: check before you answer.", "bad"
        )
    return CustomerVerdict(text, tone)


def _for_people(why: str) -> str:
    return why if why.startswith(ON_REQUEST) else f"because {why}"


def _open(story: Timeline, now: int) -> CustomerVerdict:
    if _event(story, OrderCreated.topic) is None:
        return CustomerVerdict("The log no longer has the beginning of this order, or not yet.", "bad")
    charged = _amount(story, PaymentCharged.topic)
    so_far = f"{charged} was charged" if charged else "Nothing has been charged so far"
    waits = f"{so_far}; the order waits for {_waits(story)}"
    if is_late(story.order.cancel_at, now):
        return CustomerVerdict(f"{waits}. Its deadline has passed, and no worker has cancelled it.", "bad")
    deadline = ", and cancels itself at its deadline" if story.order.cancel_at else ""
    return CustomerVerdict(f"{waits}{deadline}.", "waiting")


def _ended(story: Timeline) -> CustomerVerdict:
    charged, refunded = _amount(story, PaymentCharged.topic), _amount(story, PaymentRefunded.topic)
    if story.order.ending == OrderConfirmed.topic:
        return CustomerVerdict(
            f"The customer pays {charged}, and gets everything." if charged else "It is confirmed.", "good"
        )
    if refunded:
        return CustomerVerdict(f"The customer pays nothing: {refunded} was refunded.", "neutral")
    if charged:
        return CustomerVerdict(f"{charged} was charged and is not refunded yet: that is up to {_waits(story)}.", "bad")
    if _event(story, PaymentFailed.topic) is not None:
        return CustomerVerdict("The customer pays nothing: nothing was charged.", "neutral")
    # It was cancelled before payment answered, which may just be charging, or not know whether it has.
    unknown = "no charge is known, and one still in flight will be refunded"
    return CustomerVerdict(f"The customer pays nothing: {unknown}.", "neutral")


def _waits(story: Timeline) -> str:
    return ", ".join(dict.fromkeys(owed.service for owed in story.owed)) or "nobody"


def _event(story: Timeline, topic: str) -> TrackedEvent | None:
    return next((step.event for step in story.steps if step.event.topic == topic), None)


def _amount(story: Timeline, topic: str) -> str:
    event = _event(story, topic)
    if event is None:
        return ""
    values = event.values
    return money(values.get("amount"), values.get("currency"))
