"""One run: stock, workers, customers and faults; and what comes out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventbus.text.secret_files import CONFIG, FILE, write_properties
from order_service.domain import OrderRequest
from saga.check.sources import Sources
from saga.check.stores import Stores
from saga.demo.plan import DECLINE_ABOVE, DemoPlan
from saga.demo.workers import MODULES
from tests.chaos.course import Course
from tests.chaos.customers import Minds, fill_shelves
from tests.chaos.faults import Faults, World
from tests.chaos.fleet import supervised
from tests.chaos.journal import Journal
from tests.chaos.judgement import Judge, surprises
from tests.chaos.recoveries import recoveries
from tests.chaos.report import Outcome
from tests.chaos.timeline import LAST, PlannedFault

AFTERWARDS = 40
"""So many orders are kept for each fault that waits until all is quiet; of a small plan a tenth for all."""


@dataclass(frozen=True, slots=True)
class Chaos:
    """What is run where. `workers_servers`: the brokers as the workers reach them, perhaps through a proxy."""

    plan: DemoPlan
    minds: Minds
    seconds: float
    timeline: list[PlannedFault]
    folder: Path
    bootstrap_servers: str
    workers_servers: str
    kafka_config: Mapping[str, str]
    say: Callable[[str], None]

    @property
    def ledger(self) -> str:
        """The provider's books, as it behaves in peace."""
        return f"simulated:///{self.folder}/provider.db?decline-above={DECLINE_ABOVE}"

    def command(self, worker: str, world: World) -> list[str]:
        """Return how a worker is started: by its service's own command."""
        service, _, number = worker.partition("/")
        run = []
        if any(fault.kind == "clock" for fault in self.timeline):
            run = ["tests.chaos.shifted", str(world.fleet.named(worker).clock)]
        command = [sys.executable, "-m", *run, MODULES[service], "run", "--instance", number, "--log-format", "json"]
        command += ["--log-level", "debug"]  # the journal reads when each partition was recovered
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
        url = world.databases.url
        fill_shelves(url("inventory-service"), self.plan.stock)
        stores = Stores(url("order-service"), url("payment-service"), url("inventory-service"), self.ledger)
        judge = Judge(Sources(self.bootstrap_servers, dict(self.kafka_config), None, stores))
        faults = Faults(world, seed, self.say)
        course = Course(world, faults, judge, self.minds, self.say)
        afterwards = [fault for fault in self.timeline if fault.kind in LAST]
        first, *rest = _shared_out(self.plan.requests, len(afterwards))
        with world.fleet:
            course.orders_and_faults(first, self.seconds, [f for f in self.timeline if f not in afterwards])
            for fault, requests in zip(afterwards, rest, strict=True):
                course.afterwards(fault, requests)
            course.end()
        failures = [
            *(course.failures + faults.failures),
            *(str(death) for death in world.fleet.deaths if not supervised(death)),
            *world.poison.failures(),
            *world.unreadable.failures(),
            *surprises(url("order-service"), self.plan.endings, self.minds),
        ]
        found = recoveries(faults.happened, Journal(world.fleet.logs))
        return Outcome(
            settings=settings,
            start=course.start,
            placed=course.placed,
            asked_again=course.asked_again,
            recoveries=found,
            exits=world.fleet.exits,
            deaths=world.fleet.deaths,
            refusals=world.fleet.refusals,
            in_vain=faults.in_vain,
            records=course.records,
            verdict=course.verdict,
            log=course.log,
            failures=failures,
        )


def _shared_out(requests: Sequence[OrderRequest], parts: int) -> list[Sequence[OrderRequest]]:
    """Return what comes first, and so many parts for afterwards."""
    size = min(AFTERWARDS, len(requests) // 10 // max(1, parts))
    first = len(requests) - parts * size
    return [requests[:first], *(requests[first + n * size : first + (n + 1) * size] for n in range(parts))]
