"""The course of a run: orders and faults, then quiet and the judgement; then what can only be done in quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from order_service.domain import OrderRequest
from saga.check.facts import LogFacts
from saga.check.laws import Verdict
from tests.chaos.auditor import Auditor, View, differences
from tests.chaos.customers import AsPlanned, Customers, Minds, Pace, open_orders, pending
from tests.chaos.faults import Faults, World
from tests.chaos.judgement import Judge
from tests.chaos.schedule import Schedule
from tests.chaos.timeline import PlannedFault

STEP_SECONDS = 0.2
STEPS = 3
"""A fault of so many steps has the most: scaling."""
HEALING_SECONDS = 300.0
"""So long after its planned end the last fault may take to be over: it may have had to wait for others."""
STUCK_SECONDS = 60.0
"""Without a new record for so long, orders that are still pending will stay so."""
AFTERWARDS_SECONDS = 6.0
"""So long orders come after a topic was created again: half while workers find out, half when it is mended."""


class Course:
    """Notes on the way what is wrong. Inside the fleet: its workers run."""

    verdict: Verdict
    log: LogFacts

    def __init__(self, world: World, faults: Faults, judge: Judge, minds: Minds, say: Callable[[str], None]) -> None:
        self.failures: list[str] = []
        self.start = 0.0
        self._gone, self._final = 0, View()
        self._world, self._faults, self._judge, self._say = world, faults, judge, say
        self._minds, self._schedule = minds, Schedule(faults, world.fleet)
        self._customers: list[Customers] = []
        self._sources = judge.sources
        self._orders_url = world.databases.url("order-service")

    @property
    def placed(self) -> int:
        """How many orders were placed."""
        return sum(customers.placed for customers in self._customers)

    @property
    def records(self) -> int:
        """How many were read while it ran, and again."""
        return self._gone + self._final.count

    @property
    def asked_again(self) -> int:
        """How often customers got no answer."""
        return sum(customers.asked_again for customers in self._customers)

    def orders_and_faults(
        self, requests: Sequence[OrderRequest], seconds: float, timeline: Sequence[PlannedFault]
    ) -> None:
        """Let them come. Raises TimeoutError when the workers do not even begin."""
        with self._audited() as auditor:
            self._world.fleet.wait_until_ready()
            self.start = time.time()
            self._say(f"{len(requests)} orders in {seconds:.0f} s, {len(timeline)} faults")
            customers = self._new_customers(requests, seconds, self._schedule)
            self._schedule.begin(timeline)
            customers.begin()
            self._pass_time(customers, seconds, timeline)
            self._say("everything is healed; waiting until every order has ended")
            self._wait_for_quiet(auditor)
            self._world.poison.resolve()

    def afterwards(self, fault: PlannedFault, requests: Sequence[OrderRequest]) -> None:
        """Recreate a topic, if everything is as it must be: what the old one held stays known."""
        half = len(requests) // 2
        early = self._new_customers(requests[:half], AFTERWARDS_SECONDS)
        late = self._new_customers(requests[half:], AFTERWARDS_SECONDS)
        if self.failures or self.verdict.violations or self.verdict.open:
            self._faults.in_vain.append(f"{fault.kind} of {fault.target}: something was wrong before")
        else:
            self._judge.kept.keep(self.log, fault.target)
            self._gone += sum(len(seen) for at, (seen, _) in self._final.partitions.items() if at.topic == fault.target)
            self._faults.when_recreated = early.begin
            self._faults.make(fault)
        late.begin()
        early.begin()
        with self._audited() as auditor:
            while not (early.done and late.done):
                time.sleep(STEP_SECONDS)
            self._wait_for_quiet(auditor)

    def end(self) -> None:
        """End the workers in good order."""
        self._world.fleet.mind()
        self._world.fleet.stop()
        for customers in self._customers:
            self.failures += customers.refused

    def _new_customers(self, requests: Sequence[OrderRequest], seconds: float, pace: Pace | None = None) -> Customers:
        opening = self._world.databases.opening["order-service"]
        pace = pace or AsPlanned()
        new = Customers(self._orders_url, requests, seconds, minds=self._minds, pace=pace, opening=opening)
        self._customers.append(new)
        return new

    @contextmanager
    def _audited(self) -> Iterator[Auditor]:
        """Read all that is written meanwhile; judge when it is over, and read it again."""
        with Auditor(self._sources.bootstrap_servers, self._sources.kafka_config) as auditor:
            yield auditor
            facts, self.verdict = self._judge.judge()
            self.log = facts.log
            self._final = auditor.read_again()
            self.failures += [*auditor.trouble, *differences(auditor.live, self._final)]

    def _pass_time(self, customers: Customers, seconds: float, timeline: Sequence[PlannedFault]) -> None:
        longest = STEPS * max((fault.seconds for fault in timeline), default=0)
        until = time.monotonic() + seconds + longest + HEALING_SECONDS
        while not (customers.done and self._schedule.over):
            if time.monotonic() > until + self._schedule.late:
                what = "not every order could be placed" if self._schedule.over else "a fault did not come to its end"
                self.failures.append(f"{what} within {longest + HEALING_SECONDS:.0f} s after the time was over")
                return
            self._world.fleet.mind()
            time.sleep(STEP_SECONDS)

    def _wait_for_quiet(self, auditor: Auditor) -> None:
        began = time.monotonic()
        with closing(open_orders(self._orders_url)) as orders:
            while pending(orders) != 0:
                if time.monotonic() - max(began, auditor.heard_at) > STUCK_SECONDS:
                    return
                self._world.fleet.mind()
                time.sleep(STEP_SECONDS)
