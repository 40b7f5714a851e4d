"""An order that a service cannot handle stops no other one, is seen, and goes on when its cause is mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.refusals import accept, refuse
from tests.support.brokers.kafka_node import Broker
from tests.support.saga import Saga, headers_of

INVENTORY = "inventory-service"


@pytest.fixture
def saga(fresh_broker: Broker, tmp_path: Path) -> Iterator[Saga]:
    """A saga on one partition."""
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers)
    saga.make_topics(1)
    saga.stock(cd_1=100, bad_1=100)
    yield saga
    saga.close()


def parked(saga: Saga) -> list[dict[str, Any]]:
    return saga.ask("inventory_service", "parked", "list")  # type: ignore[no-any-return]


def test_an_order_in_trouble_is_seen_everywhere_and_goes_on_when_it_is_mended(saga: Saga) -> None:
    """The others end; list, show, metrics, log and check name it, /readyz stays ok; then its events come in order."""
    _, _, worker = saga.start_all()
    url = saga.env["INVENTORY_SERVICE_DATABASE"]
    refuse(url, INVENTORY, "new.items like '%bad-1%'")
    order_id = saga.place("bad-1=1", wait=0)["order_id"]
    saga.import_orders("others", 20, "cd-1")
    saga.until(lambda: saga.pending() == 1, "the others had not ended")
    saga.until(lambda: [each["records"] for each in parked(saga)] == [2], "its events were not parked")
    [seen] = parked(saga)
    assert seen["key"] == order_id
    assert "refused for a while" in seen["error"]
    waiting = saga.ask("inventory_service", "parked", "show", order_id)["waiting"]
    assert [each["address"].split("/")[0] for each in waiting] == ["order.created", "payment.charged"]
    saga.until(lambda: worker.metric("saga_parked_records") == 2, "the metric was not 2")
    assert worker.metric("saga_parked_orders") == 1
    assert worker.get("/readyz")[0] == 200
    assert [line["key"] for line in worker.events("key.blocked")] == [order_id]

    assert saga.run("saga", "track", "--no-follow").code == 0
    program, *words = saga.ask("saga", "why", order_id)["ask"][0].split()
    told = saga.run(program.replace("-", "_"), *words)
    assert f"parked since {seen['since']}, 2 records, tried" in told.stdout + told.stderr
    assert "refused for a while" in told.stdout + told.stderr
    report = saga.ask("saga", "workers")
    assert [(row["service"], row["worker"], row["behind"]) for row in report["workers"]] == [
        (service, "a", 0) for service in ("inventory-service", "order-service", "payment-service")
    ]
    [waiting_orders] = report["parked"]
    assert (waiting_orders["service"], waiting_orders["orders"]) == (INVENTORY, 1)
    assert "refused for a while" in waiting_orders["error"]
    assert f"{INVENTORY}: 1 parked, next retry " in saga.run("saga", "workers").stdout

    check = saga.run("saga", "check", "--finished")
    assert check.code == 1
    assert f"nothing-is-parked: order {order_id}: 2 events are parked in {INVENTORY}" in check.stdout
    assert check.stdout.splitlines()[-1].partition(",")[0] == "1 violation"

    # Before the cause is mended: afterwards the worker's own next retry may come first, and there is nothing to retry.
    done = saga.run("inventory_service", "parked", "retry", order_id, "--by", "ada", "--reason", "to see it again")
    assert done.code == 0
    assert f"retry  {order_id}  order.created/0/" in done.stdout
    accept(url, INVENTORY)
    saga.settle()
    [reserved] = saga.records("inventory.reserved", order_id)
    assert headers_of(reserved)["ce_causationid"] == waiting[1]["address"], "as if nothing had been"
    assert parked(saga) == []
    assert [line["key"] for line in worker.events("key.unblocked")] == [order_id]
