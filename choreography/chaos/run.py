"""One run: stock, workers, auditor, customers and faults; then quiet, and the judgement."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from choreography.chaos.auditor import Auditor, differences
from choreography.chaos.customers import Customers, fill_shelves, open_orders, pending
from choreography.chaos.faults import Faults, World
from choreography.chaos.fleet import Fleet, supervised
from choreography.chaos.journal import Journal
from choreography.chaos.recoveries import recoveries
from choreography.chaos.report import Outcome
from choreography.chaos.timeline import Fault
from choreography.check.command import Sources
from choreography.check.facts import Facts
from choreography.check.laws import Verdict, judge
from choreography.check.rules import Rules
from choreography.check.stores import Stores
from choreography.demo.plan import DECLINE_ABOVE, Plan
from choreography.demo.workers import MODULES
from choreography.flow.model import Flow
from choreography.services import SERVICES
from eventbus.secret_files import CONFIG, FILE, write_properties
from order_service.repository import all_orders

STEP_SECONDS = 0.2
STEPS = 3
"""A fault of so many steps has the most: scaling."""
HEALING_SECONDS = 180.0
"""So long after its planned end the last fault may take to be over: it may have had to wait for others."""
STUCK_SECONDS = 60.0
"""Without a new record for so long, orders that are still pending will stay so."""
CHECK_SECONDS = 20.0
"""The last effects follow the last event: until then the check is made again."""
ENDINGS = {"confirmed": "confirmed", "declined": "cancelled", "short": "cancelled"}
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Chaos:
    """What is run where. `workers_servers`: the brokers as the workers reach them, perhaps through a proxy."""

    plan: Plan
    seconds: float
    timeline: list[Fault]
    folder: Path
    bootstrap_servers: str
    workers_servers: str
    kafka_config: Mapping[str, str]
    mutant: str | None
    say: Callable[[str], None]

    @property
    def ledger(self) -> str:
        """The provider's books, as it behaves in peace."""
        return f"simulated:///{self.folder}/provider.db?decline-above={DECLINE_ABOVE}"

    def command(self, worker: str, world: World) -> list[str]:
        """Return how a worker is started: by its service's own command, or by a mutant of it."""
        service, _, number = worker.partition("/")
        run = ["choreography.chaos.mutated", self.mutant] if self.mutant else []
        if any(fault.kind == "clock" for fault in self.timeline):
            run = ["choreography.chaos.shifted", str(world.fleet.named(worker).clock), *run]
        command = [sys.executable, "-m", *run, MODULES[service], "run", "--instance", number, "--log-format", "json"]
        command += ["--database", f"{FILE}{self._database(service)}", "--bootstrap-servers", self.workers_servers]
        command += ["--kafka-config-file", str(self.folder / CONFIG)]
        if service == "payment-service":
            command += ["--gateway", "&".join(filter(None, (self.ledger, world.behaviour)))]
        return command

    def _database(self, service: str) -> Path:
        """Return the file that says where a service's database is: a password is not for the list of processes."""
        return self.folder / f"{service}.url"

    def run(self, world: World, settings: dict[str, Any], seed: int) -> Outcome:
        """Do it all. Raises TimeoutError when the workers do not even begin."""
        write_properties(self.folder, self.kafka_config)
        for service in MODULES:
            self._database(service).write_text(world.databases.url(service), encoding="utf-8")
        orders_url = world.databases.url("order-service")
        fill_shelves(world.databases.url("inventory-service"), self.plan.stock)
        customers = Customers(orders_url, self.plan.requests, self.seconds)
        faults = Faults(world, seed, self.say)
        with Auditor(self.bootstrap_servers, self.kafka_config) as auditor, world.fleet:
            world.fleet.wait_until_ready()
            start = time.time()
            self.say(f"{len(self.plan.requests)} orders in {self.seconds:.0f} s, {len(self.timeline)} faults")
            customers.begin()
            faults.begin(self.timeline)
            unhealed = self._pass_time(customers, faults, world.fleet)
            self.say("everything is healed; waiting until every order has ended")
            self._wait_for_quiet(orders_url, auditor, world.fleet)
            world.poison.resolve()
            facts, verdict = self._judge(world)
            world.fleet.mind()
            world.fleet.stop()
            final = auditor.read_again()
            failures = [
                *unhealed,
                *(customers.refused + faults.failures + auditor.trouble),
                *(str(death) for death in world.fleet.deaths if not supervised(death)),
                *world.poison.failures(),
                *world.unreadable.failures(),
                *differences(auditor.live, final),
                *self._surprises(orders_url),
            ]
        found = recoveries(faults.happened, Journal(world.fleet.logs))
        return Outcome(
            *(settings, start, customers.placed, customers.asked_again, found),
            *(world.fleet.exits, world.fleet.deaths, final.count),
            *(verdict, facts.log, failures),
        )

    def _pass_time(self, customers: Customers, faults: Faults, fleet: Fleet) -> list[str]:
        longest = STEPS * max((fault.seconds for fault in self.timeline), default=0)
        until = time.monotonic() + self.seconds + longest + HEALING_SECONDS
        while not (customers.done and faults.over):
            if time.monotonic() > until:
                what = "not every order could be placed" if faults.over else "a fault did not come to its end"
                return [f"{what} within {longest + HEALING_SECONDS:.0f} s after the time was over"]
            fleet.mind()
            time.sleep(STEP_SECONDS)
        return []

    @staticmethod
    def _wait_for_quiet(orders_url: str, auditor: Auditor, fleet: Fleet) -> None:
        began = time.monotonic()
        with closing(open_orders(orders_url)) as orders:
            while pending(orders) != 0:
                if time.monotonic() - max(began, auditor.heard_at) > STUCK_SECONDS:
                    return
                fleet.mind()
                time.sleep(STEP_SECONDS)

    def _judge(self, world: World) -> tuple[Facts, Verdict]:
        """Do what `saga check --quiescent` does."""
        flow = Flow.of(SERVICES)
        url = world.databases.url
        stores = Stores(url("order-service"), url("payment-service"), url("inventory-service"), self.ledger)
        sources = Sources(self.bootstrap_servers, dict(self.kafka_config), None, stores)
        until = time.monotonic() + CHECK_SECONDS
        while True:
            facts = sources.collect(flow)
            verdict = judge(facts, Rules(flow, quiescent=True))
            if not verdict.violations or time.monotonic() > until:
                return facts, verdict
            time.sleep(1)

    def _surprises(self, orders_url: str) -> Iterator[str]:
        with closing(open_orders(orders_url)) as orders, orders.snapshot() as tx:
            ended = {str(order.request_id): order.status for order in all_orders(tx)}
        wrong = [
            f"the order {request_id} had to be {ENDINGS[ending]} and is {ended.get(request_id, 'not there')}"
            for request_id, ending in self.plan.endings.items()
            if ended.get(request_id) != ENDINGS[ending]
        ]
        yield from wrong[:SHOWN]
        if len(wrong) > SHOWN:
            yield f"{len(wrong) - SHOWN} more orders ended otherwise than they had to"
