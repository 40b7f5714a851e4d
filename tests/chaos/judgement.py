"""What must be true when all is quiet: the laws of `saga check --finished`, and every order as its plan says."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count

from order_service.repository import all_orders
from saga.check.facts import Facts
from saga.check.laws import Verdict, judge
from saga.check.rules import Rules
from saga.check.sources import Sources
from saga.demo.plan import Ending
from saga.flow.model import Flow
from saga.services import SERVICES
from tests.chaos.customers import Minds, open_orders
from tests.chaos.recreated import KeptEvents

CHECK_SECONDS = 20.0
"""The last effects follow the last event: until then the check is made again."""
READINGS = 3
"""So often at least: on a busy machine one reading of a large log takes longer than that."""
ENDINGS: dict[Ending, str] = {"confirmed": "confirmed", "declined": "cancelled", "short": "cancelled"}
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Judge:
    """Does what `saga check --finished` does. `kept`: what topics held that are gone by now."""

    sources: Sources
    kept: KeptEvents = field(default_factory=KeptEvents)

    def judge(self) -> tuple[Facts, Verdict]:
        """Read everything; again for a while, if something is wrong."""
        flow = Flow.of(SERVICES)
        until = time.monotonic() + CHECK_SECONDS
        for reading in count(1):
            facts = self.sources.collect(flow)
            facts = replace(facts, log=self.kept.joined(facts.log))
            verdict = judge(facts, Rules(flow, finished=True))
            if not verdict.violations or (time.monotonic() > until and reading >= READINGS):
                break
            time.sleep(1)
        return facts, verdict


def surprises(orders_url: str, endings: Mapping[str, Ending], minds: Minds) -> Iterator[str]:
    """Return which orders ended otherwise than they had to; a customer, or a deadline, may have cancelled some."""
    with closing(open_orders(orders_url)) as orders, orders.snapshot() as tx:
        ended = {str(order.request_id): order.status for order in all_orders(tx)}
    wrong = [
        f"the order {request_id} had to be {ENDINGS[ending]} and is {ended.get(request_id, 'not there')}"
        for request_id, ending in endings.items()
        if ended.get(request_id) != ENDINGS[ending]
        and not (ended.get(request_id) == "cancelled" and minds.may_cancel(request_id))
    ]
    yield from wrong[:SHOWN]
    if len(wrong) > SHOWN:
        yield f"{len(wrong) - SHOWN} more orders ended otherwise than they had to"
