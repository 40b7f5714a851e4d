"""`saga audit` on a real broker: the log as it was when the export began, and what has become of it since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from saga.__main__ import main
from saga.audit.lines import lines_of
from schemas import EVENTS
from tests.support.brokers.admin import Admin
from tests.support.models.saga_model import PARTITIONS
from tests.support.models.written_saga import WrittenLog

pytestmark = pytest.mark.quick

TOPICS = [event.topic for event in EVENTS]


class Ground(WrittenLog):
    """A saga on the log, with an aborted transaction, and where exports go."""

    def __init__(self, bootstrap_servers: str, folder: Path) -> None:
        super().__init__(bootstrap_servers)
        self.servers, self.folder = bootstrap_servers, folder
        self.publisher.publish(self.copy(self.facts[0]), self.facts[0].partition, commit=False)

    def saga(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["audit", *arguments], env={"KAFKA_BOOTSTRAP_SERVERS": self.servers})

    def export(self, name: str, *arguments: str) -> Path:
        path = self.folder / name
        done = self.saga("export", str(path), *arguments)
        assert done.exit_code == 0, done.output
        return path

    def verify(self, path: Path) -> tuple[int, dict[str, Any]]:
        result = self.saga("verify", str(path), "--live", "--json")
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def ground(topics: str, tmp_path: Path) -> Ground:
    return Ground(topics, tmp_path)


def test_what_is_exported_is_the_log_and_the_log_agrees_until_one_of_them_changes(ground):
    """Every committed record once, no aborted one; what is published later is no part; what expires is counted."""
    path = ground.export("history.jsonl")
    addresses = [str(line.address) for line in lines_of(path) if line.address]
    assert sorted(addresses) == sorted(map(str, ground.lies.values()))
    assert addresses == [str(address) for address in sorted(ground.lies.values())]
    assert ground.verify(path)[0] == 0

    ground.publisher.publish(ground.copy(ground.facts[0]), ground.facts[0].partition)
    assert ground.verify(path) == (0, ground.verify(path)[1] | {"ok": True, "expired": 0, "findings_total": 0})

    lines = path.read_text().splitlines(keepends=True)
    changed = ground.folder / "changed.jsonl"
    changed.write_text("".join([*lines[:3], lines[3].replace('"ce_source"', '"ce_sauce"'), *lines[5:]]))
    code, report = ground.verify(changed)
    found = {(finding["kind"], finding["what"]) for finding in report["findings"]}
    assert code == 1
    assert {("altered", addresses[3]), ("missing", addresses[4])} <= found
    assert {what for _, what in found} <= {addresses[3], addresses[4], f"after {addresses[3]}"}

    first = min(ground.lies.values())
    trimmed = [TopicPartition(first.topic, first.partition, first.offset + 1)]
    admin = AdminClient({"bootstrap.servers": ground.servers})
    for answer in admin.delete_records(trimmed).values():
        answer.result(30)
    code, report = ground.verify(path)
    assert (code, report["expired"], report["records"]) == (0, 1, len(addresses))


def test_an_export_of_one_order_or_of_a_time_is_verified_as_such(ground):
    """And the same history makes the same lines."""
    order_id = ground.facts[0].order_id
    path = ground.export("order.jsonl", "--order", order_id)
    keys = [line.content.get("key") for line in lines_of(path)][:-1]
    assert keys == [order_id] * len([fact for fact in ground.facts if fact.order_id == order_id])
    assert ground.verify(path)[0] == 0
    assert ground.verify(ground.export("none.jsonl", "--since", "2999-01-01T00:00:00Z"))[1]["records"] == 0
    all_of_it = ground.export("all.jsonl", "--until", "2999-01-01T00:00:00Z").read_bytes().splitlines()
    assert all_of_it[:-1] == ground.export("again.jsonl").read_bytes().splitlines()[:-1]


def test_the_log_of_events_has_every_event(ground):
    """In OCEL, for process mining."""
    log = json.loads(ground.export("history.json", "--format", "ocel").read_text())
    assert sorted(event["id"] for event in log["events"]) == sorted(map(str, ground.lies.values()))


def test_a_log_that_was_made_again_is_not_the_one_that_was_exported(ground):
    """Every record is named; without the topics there is nothing to compare with, and nothing is left of an export."""
    path, admin = ground.export("history.jsonl"), Admin(ground.servers)
    admin.remove(TOPICS)
    gone = ground.saga("verify", str(path), "--live")
    assert (gone.exit_code, "do not exist" in gone.stderr) == (1, True)
    none = ground.saga("export", str(ground.folder / "none.jsonl"))
    assert (none.exit_code, "do not exist" in none.stderr) == (1, True)
    assert [file.name for file in ground.folder.iterdir()] == ["history.jsonl"]
    admin.create(TOPICS, PARTITIONS)
    code, report = ground.verify(path)
    assert (code, report["findings_total"]) == (1, len(ground.lies))
