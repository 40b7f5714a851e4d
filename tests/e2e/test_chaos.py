"""A small `make chaos` on a real broker: it ends clean, and with a bug planted in the workers it does not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saga.services import SERVICES
from tests.chaos.faults import BAD_RECORDS
from tests.chaos.fleet import ROOT
from tests.chaos.poison import TOPICS
from tests.support.brokers.kafka_node import OwnBroker
from tests.support.saga.processes import PATIENCE, Done, command, environment

ORDERS = 300
FAULTS = "kill,cut,end-txn,poison,unreadable,restore,recreate"


def chaos(broker: OwnBroker, folder: Path, *arguments: str) -> tuple[Done, dict[str, Any]]:
    """Run it behind a proxy; return how it ended, and its report."""
    where = ("--bootstrap-servers", broker.bootstrap_servers)
    size = ("--orders", str(ORDERS), "--minutes", "0.3", "--seed", "7", "--json", "report.json")
    env = environment(TMPDIR=str(folder), PYTHONPATH=str(ROOT))
    done = command("tests.chaos", *where, *size, *arguments, env=env, folder=folder, seconds=2 * PATIENCE)
    assert (folder / "report.json").exists(), done
    return done, json.loads((folder / "report.json").read_text(encoding="utf-8"))


def count(split: dict[str, dict[str, Any]]) -> int:
    return sum(times["count"] for times in split.values())


def test_orders_survive_a_kill_of_every_worker_and_a_broken_network(
    make_broker: Callable[..., OwnBroker], tmp_path: Path
) -> None:
    """Each of the six workers is killed once; nothing is lost, doubled or left open, and the two readings agree.

    Among the orders are bad records: each is a dead letter of whoever reads it, redriven, one more, and discarded; and
    a batch that nobody can decompress: whoever reads its topic is let past it, on record. A database is put back to a
    backup, and at the end a topic is created again: all workers concerned refuse, and go on when it is mended.
    """
    broker = make_broker()
    proxy = f"{broker.host_ports.proxy}:{broker.host_ports.behind_proxy}"
    done, report = chaos(broker, tmp_path, "--proxy", proxy, "--faults", FAULTS)
    assert (done.code, report["clean"]) == (0, True), done
    kills = Counter(entry["target"] for entry in report["timeline"] if entry["kind"] == "kill")
    assert kills == {f"{name}-service/{number}": 1 for name in ("order", "payment", "inventory") for number in (1, 2)}
    assert set(report["figures"].values()) == {0}
    assert report["check"]["orders"] == report["placed"] == ORDERS
    assert report["check"]["undecodable"] == BAD_RECORDS
    assert report["check"]["events"] > 3 * ORDERS
    [unreadable] = report["check"]["unreadable"]
    readers = sum(unreadable.partition("/")[0] in topics for topics in TOPICS.values())
    beside = report["records_audited"] - report["check"]["events"] - BAD_RECORDS - readers
    assert beside >= 4 * BAD_RECORDS, "two dead letters and two resolutions of each, in each service that reads it"
    assert beside % 4 == 0
    [recreated] = [entry["target"] for entry in report["timeline"] if entry["kind"] == "recreate"]
    concerned = [s for s in SERVICES if recreated in {*s.topics(), *(event.topic for event in s.publishes())}]
    refused = {kind: count(told["refused"]) for kind, told in report["by_kind"].items() if "refused" in told}
    assert refused == {"restore": 2, "recreate": 2 * len(concerned)}
    assert report["not_made"] == []
    assert not list(tmp_path.glob("saga-chaos-*")), "of a clean run nothing stays behind"


def test_a_planted_bug_makes_it_fail(make_broker: Callable[..., OwnBroker], tmp_path: Path) -> None:
    """Workers that publish again what a killed one had published already: events stand on the log twice."""
    done, report = chaos(
        make_broker(), tmp_path, "--faults", "kill", "--mutant", "forget how far the outbox was published"
    )
    assert (done.code, report["clean"]) == (1, False), done
    assert report["figures"]["duplicates"] > 0
    assert report["check"]["laws"]["each-event-once"] > 0
    assert list(tmp_path.glob("saga-chaos-*/payment-service-1.log")), "the logs are kept"
