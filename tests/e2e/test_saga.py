"""Three worker processes on a real broker: how orders end, and what lies on the topics afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from tests.conftest import do_without
from tests.support.saga import Saga, address_of, headers_of
from tests.support.saga.processes import PATIENCE

pytestmark = pytest.mark.quick

DEADLINE = timedelta(minutes=15)
"""Of an order for which none is given."""
PATH_OF_A_CONFIRMED_ORDER = ("order.created", "payment.charged", "inventory.reserved", "order.confirmed")


@pytest.fixture(scope="module")
def running(saga: Saga) -> Saga:
    """All three workers, and plenty of cd-1."""
    saga.stock(cd_1=100_000)
    saga.start_all("--kafka-config", "session.timeout.ms=30000")
    return saga


def books(saga):
    """What payment's own books and the provider's say, which must be the same."""
    ledger = saga.ask("payment_service", "ledger")
    assert ledger["service"] == ledger["provider"]
    return ledger["service"].get("USD", {"charged": 0, "refunded": 0, "net": 0})


def change(before, after):
    return {name: after[name] - before[name] for name in before}


def until_refunded(saga, order_id):
    def refunded():
        shown = saga.ask("order_service", "show", order_id)
        return shown if shown["refunded"] else None

    return saga.until(refunded, f"order {order_id} has not stored its refund")


def published(saga, topic, order_id):
    """Return what is on a topic about an order, once something is: it is in the database before it is published."""
    return saga.until(lambda: saga.records(topic, order_id), f"nothing about {order_id} came to {topic}")


def test_an_order_is_charged_once_reserved_and_confirmed(running):
    """And `place --wait` returns when it is."""
    before = books(running)
    order = running.place("cd-1=2")
    assert (order["status"], order["reason"], order["repeated"]) == ("confirmed", None, False)
    assert change(before, books(running)) == {"charged": 2933, "refunded": 0, "net": 2933}
    payment = running.ask("payment_service", "show", order["order_id"])
    assert (payment["status"], payment["amount"], payment["currency"]) == ("charged", 2933, "USD")
    reservation = running.ask("inventory_service", "show", order["order_id"])
    assert (reservation["status"], reservation["items"]) == ("reserved", [{"sku": "cd-1", "quantity": 2}])


def test_an_order_whose_charge_is_declined_is_cancelled(running):
    """Nothing is charged, nothing set aside; the provider's reason is the order's."""
    before = books(running), running.shelf()
    order = running.place("cd-1=1", total="200.01")
    assert order["status"] == "cancelled"
    assert order["reason"] == "declined: 200.01 USD is above the limit of 200.00 USD (LIMIT_EXCEEDED)"
    assert running.ask("payment_service", "show", order["order_id"])["status"] == "declined"
    running.until(
        lambda: running.ask("inventory_service", "show", order["order_id"])["status"] == "cancelled",
        "inventory did not hear of the cancellation",
    )
    assert (books(running), running.shelf()) == before


def test_an_order_that_is_out_of_stock_is_cancelled_and_the_money_is_back(running):
    """All items or none: what there was is not set aside either. In both books it nets to 0, and `show` says so."""
    running.stock(cd_2=1)
    before = books(running), running.shelf()
    order = running.place("cd-1=1", "cd-2=2")
    assert (order["status"], order["reason"]) == ("cancelled", "out of stock: 2 of cd-2 wanted, 1 left")
    assert until_refunded(running, order["order_id"])["refunded"] == 2933
    assert "refunded  29.33" in running.run("order_service", "show", order["order_id"]).stdout
    assert change(before[0], books(running)) == {"charged": 2933, "refunded": 2933, "net": 0}
    assert running.shelf() == before[1]


def test_services_and_tracker_use_one_word_for_how_an_order_ended(running):
    """An order is cancelled; that its money is back is said beside it, never instead of it."""
    running.stock(cd_3=0)
    order_id = running.place("cd-3=1")["order_id"]
    until_refunded(running, order_id)
    assert running.run("saga", "track", "--no-follow").code == 0
    kept = {order["order_id"]: order for order in running.ask("order_service", "list")}
    tracked = {order["order_id"]: order for order in running.ask("saga", "orders", "--limit", "1000")}
    assert {i: o["status"] for i, o in kept.items()} == {i: o["status"] for i, o in tracked.items()}
    assert (tracked[order_id]["status"], tracked[order_id]["undone"]) == ("cancelled", ["refunded"])
    counted = running.ask("order_service", "list", "--summary")
    assert running.ask("saga", "stats")["by_status"] == {
        s: counted[s] for s in ("cancelled", "confirmed") if counted[s]
    }
    assert counted["refunded"] == sum(order["refunded"] > 0 for order in kept.values()) > 0


def test_an_unknown_article_is_a_shortage_with_a_reason(running):
    """The order is cancelled like any other that cannot be served."""
    order = running.place("cd-1=1", "no-such-cd=1")
    assert (order["status"], order["reason"]) == ("cancelled", "out of stock: no-such-cd is not a known article")
    until_refunded(running, order["order_id"])


@pytest.mark.parametrize(("item", "status"), [("cd-1=1", "confirmed"), ("none-left=1", "cancelled")])
def test_a_total_of_nothing_is_an_order_and_no_provider_is_asked(running, item, status):
    """It ends like any other, in both ways, and no money moves in the books."""
    before = books(running)
    order = running.place(item, total="0")
    assert (order["status"], order["total"]) == (status, 0)
    assert books(running) == before


def test_the_same_request_is_one_order(running):
    """Given again it is the same order, and is charged once; given with other content it is refused."""
    request = ("--request-id", "my-own-key")
    before = books(running)
    first = running.place("cd-1=1", more=request)
    again = running.place("cd-1=1", more=request)
    assert (again["order_id"], again["repeated"]) == (first["order_id"], True)
    other = running.run("order_service", "place", "--customer", "42", "--total", "29.34", "--item", "cd-1=1", *request)
    assert (other.code, other.stdout) == (1, "")
    assert f"'my-own-key' belongs to order {first['order_id']}, which has other content" in other.stderr
    assert change(before, books(running))["charged"] == 2933


def test_who_does_not_want_to_wait_long_enough_is_told(running):
    """Exit code 1, and the order goes on all the same."""
    done = running.run(
        "order_service", "place", "--customer", "42", "--total", "1", "--item", "cd-1=1", "--wait", "0", "--json"
    )
    order_id = json.loads(done.stdout)["order_id"]
    assert done.code == 1
    assert f"order {order_id} is still pending after 0 s" in done.stderr
    running.until(
        lambda: running.ask("order_service", "show", order_id)["status"] == "confirmed", "it was not confirmed"
    )


def test_each_event_names_its_cause_by_its_address_in_the_log(running):
    """CloudEvents headers; ids are made of the cause, so the same cause always gives the same event."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    order_id = running.place("cd-1=1", more=("--traceparent", traceparent))["order_id"]
    cause, sources = None, ("order-service", "payment-service", "inventory-service", "order-service")
    for topic, source in zip(PATH_OF_A_CONFIRMED_ORDER, sources, strict=True):
        (record,) = published(running, topic, order_id)
        expected = {
            "ce_specversion": "1.0",
            "ce_id": f"{topic}<{cause}" if cause else f"{topic}/{order_id}",
            "ce_type": topic,
            "ce_source": source,
            "content-type": "application/avro",
            "traceparent": traceparent,
        }
        assert headers_of(record) == expected | ({"ce_causationid": cause} if cause else {})
        assert record.key() == order_id.encode()
        cause = address_of(record)


def test_events_of_one_order_lie_in_the_same_partition_of_every_topic(running):
    """Because all topics have as many partitions, and the key is the order id."""
    order_id = running.place("cd-1=1")["order_id"]
    partitions = {
        record.partition() for topic in PATH_OF_A_CONFIRMED_ORDER for record in published(running, topic, order_id)
    }
    assert len(partitions) == 1


def test_kcat_reads_a_topic_and_saga_decode_shows_it(running):
    """What other tools read is what was published: Confluent framing, one JSON line a record."""
    if shutil.which("kcat") is None:
        do_without("kcat", "it is not installed")
    order = running.place("cd-1=3", total="12.34")
    kcat = ("kcat", "-C", "-b", running.bootstrap_servers, "-t", "order.created", "-e", "-q", "-f", "%R%s")
    read = subprocess.run([*kcat, "-X", "isolation.level=read_committed"], capture_output=True, check=True)
    decode = [sys.executable, "-m", "saga", "decode"]
    shown = subprocess.run(decode, input=read.stdout, capture_output=True, check=True, env=running.env)
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(lines) == len(running.records("order.created"))
    assert [line for line in lines if line["order_id"] == order["order_id"]] == [
        {
            "order_id": order["order_id"],
            "customer_id": "42",
            "total": 1234,
            "currency": "USD",
            "items": [{"sku": "cd-1", "quantity": 3}],
            "request_id": "",
            "cancel_at_ms": round((datetime.fromisoformat(order["created_at"]) + DEADLINE).timestamp() * 1000),
        }
    ]


def test_saga_tail_shows_a_topic_and_then_what_comes(running):
    """It follows: an order that is confirmed later is shown when it is."""
    published(running, "order.confirmed", running.place("cd-1=1")["order_id"])
    there = len(running.records("order.confirmed"))
    follow = [sys.executable, "-m", "saga", "tail", "order.confirmed", "--from-beginning"]
    follow += ["--count", str(there + 1)]
    with subprocess.Popen(follow, env=running.env, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        before = [json.loads(tail.stdout.readline()) for _ in range(there)]
        order_id = running.place("cd-1=1")["order_id"]
        (line,) = [json.loads(line) for line in tail.stdout]
        assert tail.wait(PATIENCE) == 0
    (record,) = running.records("order.confirmed", order_id)
    assert (line["key"], line["value"]) == (order_id, {"order_id": order_id})
    assert f"{line['topic']}/{line['partition']}/{line['offset']}" == address_of(record)
    assert order_id not in {each["key"] for each in before}
    listed = running.run("saga", "tail", "order.confirmed", "--no-follow")
    assert len(listed.stdout.splitlines()) == there + 1


def test_after_all_that_every_law_holds(running):
    """`saga check --finished`: nothing lost, nothing twice, all three services agree."""
    report = running.settle()
    assert report["orders"] == sum(running.summary().values()) > 0
    assert report["undecodable"] == 0
