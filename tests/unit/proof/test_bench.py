"""What the bench measures with does what it says: the orders, the textbook loop, and how figures are summed up."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest

from eventbus import Codec
from eventbus.serde.registry import registry_at
from inventory_service.stock_file import read_counts
from order_service.intake import read_request
from payment_service.gateway import open_gateway
from schemas import OrderCreated, PaymentCharged
from tests.bench import textbook
from tests.bench.answers import check
from tests.bench.ground import Handled, handled
from tests.bench.peers.__main__ import table
from tests.bench.peers.job import Clock, Job
from tests.bench.report import percentile
from tests.bench.run import ProcessorTime, Run, Stretch
from tests.bench.workload import ARTICLES, CODEC, orders, skus, write_lines, write_stock


class Message:
    """A record as the client hands it out."""

    def __init__(self, order: OrderCreated) -> None:
        self._value = CODEC.encode(order)

    def value(self) -> bytes:
        return self._value


class Topic:
    """Where the textbook loop publishes, and its transactions."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.records: list[tuple[str, bytes, str]] = []

    def produce(self, topic, value, key):
        self.records.append((topic, value, key))

    def __getattr__(self, step):
        return lambda *_: self.steps.append(step)


def test_the_same_seed_gives_the_same_orders_under_new_ids():
    """Rounds and machines can be compared; no order is another's double."""
    first, second = list(orders(200)), list(orders(200))
    assert [(o.customer_id, o.total, o.items) for o in first] == [(o.customer_id, o.total, o.items) for o in second]
    assert len({o.order_id for o in first + second}) == 400
    assert [o.order_id for o in first] == sorted(o.order_id for o in first)


def test_every_written_line_can_be_imported_and_every_article_is_in_stock(tmp_path):
    """The files are what the services' own commands take."""
    write_lines(tmp_path / "orders.jsonl", 100)
    requests = [read_request(line) for line in (tmp_path / "orders.jsonl").read_text(encoding="utf-8").splitlines()]
    write_stock(tmp_path / "stock.csv")
    with (tmp_path / "stock.csv").open("rb") as file:
        counts = read_counts(file)
    assert len(counts) == ARTICLES == len(skus())
    assert {sku for request in requests for sku, _ in request.items} <= set(counts)
    assert len({request.request_id for request in requests}) == 100


def test_the_textbook_loop_charges_stores_and_publishes_each_order(tmp_path):
    """It does the payment service's work: a charge at the provider, a row, and an event that others can read."""
    placed = list(orders(50))
    gateway, connection, topic = open_gateway("simulated://"), textbook.database(str(tmp_path / "t.db")), Topic()
    charged = textbook.decide([Message(order) for order in placed], gateway)
    textbook.store(connection, charged)
    textbook.publish(topic, topic, "charged", charged)
    assert gateway.totals() == {"USD": (sum(order.total for order in placed), 0)}
    rows = connection.execute("select order_id, amount, status from payment order by order_id").fetchall()
    assert rows == [(order.order_id, order.total, "charged") for order in placed]
    codec = Codec(registry_at(None, [PaymentCharged]), [PaymentCharged])
    events = [codec.decode("payment.charged", key.encode(), value) for _, value, key in topic.records]
    assert [(event.order_id, event.amount) for event in events] == [(order.order_id, order.total) for order in placed]
    assert connection.execute("pragma synchronous").fetchone() == (2,)
    connection.close()


def test_the_peers_do_the_same_work(tmp_path, capsys):
    """A row and an event for each order, and their time when all of them are published."""
    placed = list(orders(50))
    job = Job(str(tmp_path / "p.db"), 50)
    answers = job.handle([CODEC.encode(order) for order in placed])
    codec = Codec(registry_at(None, [PaymentCharged]), [PaymentCharged])
    events = [codec.decode("payment.charged", key, value) for key, value in answers]
    assert [(event.order_id, event.amount) for event in events] == [(order.order_id, order.total) for order in placed]
    assert len({event.payment_id for event in events}) == 50
    assert not job.published(49)
    assert job.published(1)
    assert Run.told(json.loads(capsys.readouterr().out)).whole.events == 50
    rows = job._connection.execute("select order_id, amount, status from payment order by order_id").fetchall()
    assert rows == [(order.order_id, order.total, "charged") for order in placed]
    assert job._connection.execute("pragma synchronous").fetchone() == (2,)


def test_the_second_half_begins_with_the_first_batch_after_the_middle(capsys):
    """So the start of a program, and what it has not yet committed there, does not count in it."""
    clock = Clock(1_000)
    for done in range(0, 1_000, 200):
        clock.handling(done)
        assert clock.published(200) == (done == 800)
    run = Run.told(json.loads(capsys.readouterr().out))
    assert (run.whole.events, run.half.events) == (1_000, 400)
    assert run.half.seconds <= run.whole.seconds


@pytest.mark.parametrize(
    ("answers", "accepted"),
    [
        ({"a": [("a", 1, "p-1")], "b": [("b", 2, "p-2")]}, True),
        ({"a": [("a", 1, "p-1")]}, False),
        ({"a": [("a", 1, "p-1"), ("a", 1, "p-1")], "b": [("b", 2, "p-2")]}, False),
        ({"a": [("a", 1, "p-1")], "b": [("b", 1, "p-2")]}, False),
        ({"a": [("a", 1, "p-1")], "b": [("b", 2, "p-1")]}, False),
        ({"a": [("b", 1, "p-1")], "b": [("a", 2, "p-2")]}, False),
    ],
    ids=["right", "missing", "twice", "another amount", "one payment for two orders", "under another key"],
)
def test_a_peers_answers_are_right_when_each_order_is_charged_once_in_full(answers, accepted):
    """Whoever is fast because it leaves something out is not measured."""
    codec = Codec(registry_at(None, [PaymentCharged]), [PaymentCharged])

    def record(key, order, amount, payment):
        charged = PaymentCharged(order, payment, amount, "USD")
        return SimpleNamespace(key=key.encode, value=lambda: codec.encode(charged))

    records = [record(key, *answer) for key, several in answers.items() for answer in several]
    admin, orders = SimpleNamespace(read=lambda _: records), {b"a": 1, b"b": 2}
    if accepted:
        check(admin, "sink", orders)
    else:
        with pytest.raises(RuntimeError, match="sink: 2 orders"):
            check(admin, "sink", orders)


def test_the_processor_time_of_a_process_is_known_for_any_moment_since_it_is_watched():
    """Of all its threads, whatever it does itself."""
    watched = ProcessorTime(os.getpid())
    watched.sample()
    began, used = time.time(), time.process_time()
    while time.process_time() - used < 0.05:
        pass
    ended = time.time()
    assert watched.between(began, ended) >= 0.04
    with pytest.raises(ValueError, match="not between"):
        watched.between(began, time.time() + 1)


def test_the_peers_table_has_ratios_of_medians_fastest_first():
    """One slow round, or one fast one, changes nothing."""
    runs = {
        "textbook loop": [Run(Stretch(100, s, 1), Stretch(50, s, 0.001)) for s in (1, 2, 50)],
        "fast": [Run(Stretch(100, s, 1), Stretch(50, s, 0.002)) for s in (0.1, 1, 2)],
    }
    lines = table(runs, {"textbook loop": "none", "fast": "all"})
    assert lines[2:] == [
        "| fast | 50 | 2.00 | 40.0 | 100 | all |",
        "| textbook loop | 25 | 1.00 | 20.0 | 50 | none |",
    ]


def test_the_textbook_loop_flushes_and_sends_offsets_inside_one_transaction():
    """In the order that makes it fast; so the comparison is fair."""
    topic = Topic()
    textbook.publish(topic, topic, "charged", [])
    calls = [step for step in topic.steps if step not in ("position", "assignment", "consumer_group_metadata")]
    assert calls == ["begin_transaction", "flush", "send_offsets_to_transaction", "commit_transaction"]


def test_a_workers_seconds_run_from_the_start_of_its_first_batch_to_its_last_commit_of_outputs():
    """Neither joining the group before nor idling afterwards counts."""
    said = [
        {"event": "transaction", "timestamp": "2026-01-01T00:00:01Z", "outcome": "committed", "outputs": 0},
        {"event": "batch.handled", "timestamp": "2026-01-01T00:00:03Z", "milliseconds": 500, "consumed": {"a": 2}},
        {"event": "batch.handled", "timestamp": "2026-01-01T00:00:04Z", "milliseconds": 500, "consumed": {"a": 1}},
        {"event": "transaction", "timestamp": "2026-01-01T00:00:05Z", "outcome": "committed", "outputs": 3},
        {"event": "transaction", "timestamp": "2026-01-01T00:00:09Z", "outcome": "committed", "outputs": 0},
    ]
    log = "\n".join(["not JSON", *map(json.dumps, said)])
    assert handled(log)[:2] == (3, 3)
    assert handled(log).seconds == 2.5
    assert handled(log).middle[1] == 3
    assert handled("") == Handled(0, 0, 0.0, [])
    assert handled("").seconds == 0.0


def test_a_percentile_is_a_value_that_was_measured():
    """The smallest one that so many percent do not exceed."""
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert percentile([7.0], 50) == 7.0
