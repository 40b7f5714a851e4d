"""`saga track` and the commands that read what it wrote, on a real broker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from eventbus.log import Partition
from tests.chaos.unreadable import write_unreadable
from tests.support.models.saga_model import CANCELLED, CHARGED, CONFIRMED, CREATED, PARTITIONS, REFUNDED, SHORT
from tests.support.models.tracked_log import TOPICS, TrackedLog
from tests.support.ports import free_port
from tests.support.saga.processes import PATIENCE, environment


@pytest.fixture
def ground(topics: str, tmp_path: Path) -> TrackedLog:
    return TrackedLog(topics, tmp_path)


@pytest.mark.quick
def test_every_order_is_followed_to_its_end_and_told(ground):
    """From the log alone: orders, timeline, why, statistics; nothing is left to read, and nothing is undeclared."""
    assert ground.track().exit_code == 0
    orders = ground.ask("orders")
    assert {order["order_id"]: (order["status"], order["undone"], order["total"]) for order in orders} == {
        order.order_id: (order.status, ["refunded"] if order.refunded else [], order.total)
        for order in ground.world.orders.values()
    }
    stats = ground.ask("stats")
    counts = Counter(order.status for order in ground.world.orders.values())
    assert stats["by_status"] == counts
    assert stats["undone"] == {"refunded": sum(order.refunded > 0 for order in ground.world.orders.values())}
    assert (stats["orders"], stats["violations"], stats["behind"], stats["waiting_on"]) == (12, {}, 0, {})
    refunded = ground.of_order(CREATED, CHARGED, SHORT, CANCELLED, REFUNDED)
    shown = ground.ask("show", refunded[0].order_id)
    assert [step["address"] for step in shown["steps"]] == [str(ground.lies[fact.address]) for fact in refunded]
    assert shown["steps"][-1]["undoes"] == shown["steps"][1]["address"]
    assert (shown["due"], shown["possible"]) == ([], [])
    why = ground.ask("why", refunded[0].order_id)
    assert "because inventory could not reserve: short; the charge of" in why["why"]
    assert [link["address"] for link in why["chain"]] == [step["address"] for step in shown["steps"]]


@pytest.mark.quick
def test_a_tracker_goes_on_where_it_was_and_a_rebuilt_one_has_the_same_rows(ground):
    """Stopped after some events, started again, and rebuilt; one that holds something else is found and kept."""
    ground.track()
    order = ground.of_order(CREATED, CHARGED, SHORT, CANCELLED, REFUNDED)[0]
    placed = ground.copy(order)._replace(key=b"another")
    created, partition = placed._replace(value=placed.value.replace(order.order_id.encode(), b"order-z")), 0
    assert len(b"order-z") == len(order.order_id)
    ground.publisher.publish(created._replace(key=b"order-z"), partition)
    ground.track()
    assert {order["order_id"] for order in ground.ask("orders", "--status", "pending")} == {"order-z"}
    verified = ground.track("--rebuild", "--verify")
    assert verified.exit_code == 0
    assert verified.stdout.startswith(f"verified: {len(ground.lies) + 1} records in")
    assert ground.ask("stats")["orders"] == 13


def test_a_tracker_that_is_killed_loses_nothing_and_takes_nothing_in_twice(ground):
    """Rows and positions move in one transaction; the broker keeps nothing of it, not even a group."""
    groups_of_others = ground.admin.groups()
    port = free_port()
    track = [sys.executable, "-m", "saga", "track", "--metrics-port", str(port)]
    with subprocess.Popen(track, env=environment(**ground.environment), stderr=subprocess.DEVNULL) as tracker:
        try:
            until(lambda: f"saga_tracked_events_total {float(len(ground.lies))}" in metrics(port))
            for event in ground.of_order(CREATED, CHARGED, SHORT, CANCELLED, REFUNDED):
                ground.publisher.publish(ground.copy(event), event.partition)
            until(lambda: 'saga_violations{kind="repeated-step"}' in metrics(port))
        finally:
            tracker.kill()
    assert ground.track().exit_code == 0
    counts = ground.ask("stats")["violations"]
    assert (counts["repeated-step"], counts["second-ending"]) == (4, 1)
    assert ground.track("--rebuild", "--verify").exit_code == 0
    assert ground.admin.groups() <= groups_of_others


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as response:
            return str(response.read().decode())
    except OSError:
        return ""


def until(so: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.1)


def test_a_rogue_producer_is_a_violation_and_the_tracker_goes_on(ground):
    """A stranger's second ending, a charge after the end, and records that are no events."""
    confirmed = ground.of_order(CREATED, CHARGED, "inventory.reserved", CONFIRMED)
    order_id, end = confirmed[0].order_id, confirmed[-1]
    ground.track()
    second = ground.copy(end)._replace(headers=[("ce_source", b"a-stranger")])
    where = ground.publisher.publish(second, end.partition)
    ground.publisher.publish(second._replace(value=b"{}"), end.partition)
    ground.publisher.publish(second._replace(value=None, key=None, headers=[]), end.partition)
    assert ground.track().exit_code == 0
    result = ground.saga("violations", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert {v["kind"] for v in found if v["address"] == str(where)} == {
        *("undeclared-publisher", "undeclared-cause", "second-ending")
    }
    assert [v["kind"] for v in found].count("undecodable") == 2
    counted = {order["order_id"]: order["violations"] for order in ground.ask("orders")}
    assert counted == dict.fromkeys(ground.world.orders, 0) | {order_id: 3}
    assert ground.ask("show", order_id)["order"]["violations"] == 3
    assert f"but {where} is not as declared" in ground.ask("why", order_id)["why"]
    assert ground.track("--rebuild", "--verify").exit_code == 0


def test_what_cannot_be_decompressed_is_a_violation_and_the_tracker_goes_on(ground):
    """What lies behind it is read; rebuilt, it is the same."""
    created = ground.of_order(CREATED, CHARGED, "inventory.reserved", CONFIRMED)[0]
    at = Partition(CREATED, 0)
    batch = write_unreadable({"bootstrap.servers": ground.environment["KAFKA_BOOTSTRAP_SERVERS"]}, at)
    behind = ground.publisher.publish(ground.copy(created)._replace(value=b"{}"), 0)
    assert ground.track().exit_code == 0
    undecodable, unreadable = json.loads(ground.saga("violations", "--json").stdout)
    assert unreadable["kind"] == "unreadable"
    assert unreadable["address"] == f"{at}/{batch.start}"
    assert unreadable["detail"] == f"offsets {batch.start} to {batch[-1]} cannot be decompressed"
    assert undecodable["address"] == str(behind)
    assert ground.track("--rebuild", "--verify").exit_code == 0


@pytest.mark.parametrize("command", [["track", "--metrics-port"], ["tail", "order.created", "--count", "99999"]])
def test_who_follows_a_topic_that_is_created_again_ends_and_says_so(ground, command):
    """Exit code 3, within seconds; nothing of the new topic is taken for a continuation of the old one."""
    port = free_port()
    follow = [sys.executable, "-m", "saga", *command, *([str(port)] if command[0] == "track" else [])]
    with subprocess.Popen(
        follow, env=environment(**ground.environment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as follower:
        try:
            if command[0] == "track":
                until(lambda: f"saga_tracked_events_total {float(len(ground.lies))}" in metrics(port))
            else:
                time.sleep(5)  # it says nothing until a record comes
            ground.admin.remove(["order.created"])
            ground.admin.create(["order.created"], PARTITIONS)
            _, said = follower.communicate(timeout=PATIENCE)
        finally:
            follower.kill()
    assert follower.returncode == 3
    assert "order.created was deleted and recreated" in said
    if command[0] == "track":
        refused = ground.track()
        assert (refused.exit_code, "Run `saga track --rebuild`" in refused.stderr) == (3, True)
        assert ground.track("--rebuild").exit_code == 0


def test_a_topic_that_was_made_again_is_refused_until_the_tracker_is_rebuilt(ground):
    """Its offsets mean something else."""
    ground.track()
    ground.admin.remove(TOPICS)
    missing = ground.track()
    assert (missing.exit_code, "the topic 'order.created' does not exist" in missing.stderr) == (1, True)
    ground.admin.create(TOPICS, PARTITIONS)
    refused = ground.track()
    assert (refused.exit_code, "was deleted and recreated" in refused.stderr) == (3, True)
    assert ground.ask("stats")["orders"] == 12
    assert ground.track("--rebuild").exit_code == 0
    assert ground.ask("stats")["orders"] == 0
