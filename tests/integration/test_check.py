"""`saga check` reads what is there, all of it and nothing else, and says so in its exit code."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus import PoisonRecord
from eventbus.deadletters.letter import dead_letter
from eventbus.deadletters.resolutions import DISCARD, AuditNote, resolution, skipping
from eventbus.log import Output, Partition, Record
from eventbus.service import finished
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey
from inventory_service.repository import RESERVATION
from order_service.repository import ORDERS
from payment_service.gateway import open_gateway
from payment_service.repository import PAYMENT
from saga.commands.check import check_command
from schemas import OrderCancelled
from tests.chaos.unreadable import write_unreadable
from tests.support.brokers.admin import Admin
from tests.support.databases.postgres import PASSWORD
from tests.support.models.saga_model import CHARGED, CREATED, RESERVED, World
from tests.support.models.written_saga import Places, WrittenLog, write_stores

pytestmark = pytest.mark.quick

NOTE = AuditNote("ada", "a test", 0)
TABLES = {table.name: table for table in (ORDERS, PAYMENT, RESERVATION)}


class Written(WrittenLog):
    """The same in databases, too."""

    def __init__(self, places: Places) -> None:
        super().__init__(places.bootstrap_servers)
        self.places = places
        write_stores(self.world, places)
        self.confirmed = next(o for o in self.world.orders.values() if o.status == "confirmed" and o.total > 0)

    def event(self, topic: str) -> tuple[Output, int]:
        """Return an event of the confirmed order as it was published, and its partition."""
        fact = next(e for e in self.facts if (e.topic, e.order_id) == (topic, self.confirmed.order_id))
        return self.copy(fact), fact.partition

    def check(self, *arguments: str) -> Result:
        return CliRunner().invoke(check_command, [*arguments], env=self.places.environment)

    def report(self, *arguments: str) -> dict[str, Any]:
        result = self.check("--json", *arguments)
        report: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == bool(report["violations"])
        return report


@pytest.fixture
def places(topics: str, tmp_path: Path) -> Places:
    return Places(tmp_path, topics)


@pytest.fixture
def written(places: Places) -> Written:
    return Written(places)


def test_a_correct_history_is_clean(written):
    """Markers, aborted and open transactions, and records that are no events change nothing."""
    events = len(written.lies)
    created, partition = written.event(CREATED)
    written.publisher.publish(created, partition, commit=False)
    for value in (None, b"", b"{}", created.value[:-1], created.value + b"\0", b"\0\0\0\x03\xe7" + created.value[5:]):
        written.publisher.publish(created._replace(value=value), partition)
    written.publisher.publish(created._replace(key=b"another"), partition)
    written.publisher.begin(created, partition)
    report = written.report("--finished")
    written.publisher.abort()
    assert report["violations"] == []
    assert (report["orders"], report["open"], report["events"], report["undecodable"]) == (12, 0, events, 7)
    assert (report["truncated"], report["unreadable"]) == ({}, [])


def test_what_is_open_is_said_beside_the_verdict_with_the_command_that_shows_it(written):
    """No law is broken by it, and still somebody has to look: a plain `clean` would send them home.

    A record that was discarded on record is no work any more; it is still counted.
    """
    letters = ["payment-service.dead-letters", "payment-service.dead-letters.resolutions", "other.dead-letters"]
    admin = Admin(written.places.bootstrap_servers)
    admin.create(letters, 1)
    created, partition = written.event(CREATED)
    discarded, left = (written.publisher.publish(created._replace(value=value), partition) for value in (b"[]", b"{}"))
    bad = Record(Partition(CREATED, partition), discarded.offset, b"key", b"no event", 1_700_000_000_000, [])
    other = bad._replace(offset=left.offset)
    for topic, record in ((letters[0], bad), (letters[0], other), (letters[0], other), (letters[2], bad)):
        letter = dead_letter(topic, "payment-service", record, PoisonRecord("not_framed", "no event"), 0)
        written.publisher.publish(letter, 0)
    resolved = bad._replace(partition=Partition(letters[0], 0), offset=0, headers=letter.headers)
    written.publisher.publish(resolution(letters[1], resolved, DISCARD, NOTE), 0)
    columns = "order_id, customer_id, total, currency, items, status, refunded, created_at, updated_at"
    values = "'open', customer_id, total, currency, items, 'pending', 0, 1, 1"
    pending = f"insert into orders ({columns}) select {values}"
    written.places.change("order-service", f"{pending} from orders where order_id = ?", written.confirmed.order_id)
    with written.places.transaction("inventory-service") as tx:
        blocked_keys.change(tx, {}, {"open": BlockedKey("open", CREATED, 0, 1, 1, 1, 0, 1, "no")})
    try:
        said = written.check().stdout.splitlines()
        report = written.report()
    finally:
        admin.remove(letters)
    assert said[-5:] == [
        "open: 1 order has not ended                   saga orders --stuck",
        "open: 1 order is parked in inventory-service  inventory-service parked list",
        "open: 2 open dead letters of payment-service  saga deadletters list --group payment-service",
        "open: 1 record is not an event                saga violations --kind undecodable",
        "clean, but not everything is done: see above",
    ]
    assert (report["open"], report["parked"], report["dead_letters"], report["undecodable"]) == (
        *(1, {"inventory-service": 1}, {"payment-service": 2}, 2),
    )


def test_what_cannot_be_decompressed_is_told_and_passed_by(written):
    """The laws judge what can be read; who is let past such a batch on record can still be checked."""
    created, partition = written.event(CREATED)
    batch = write_unreadable({"bootstrap.servers": written.places.bootstrap_servers}, Partition(CREATED, partition))
    written.publisher.publish(created._replace(value=b"{}"), partition)
    report = written.report("--finished")
    assert (report["violations"], report["orders"], report["undecodable"]) == ([], 12, 1)
    assert report["unreadable"] == [f"{CREATED}/{partition}/{batch.start}"]


def test_a_batch_that_every_reader_has_skipped_is_no_longer_open(written):
    """Two services read order.cancelled: after the first one's skip the other still waits. It stays in the report."""
    place = Partition(OrderCancelled.topic, 0)
    batch = write_unreadable({"bootstrap.servers": written.places.bootstrap_servers}, place)
    topics = {
        group: [f"{group}.dead-letters", f"{group}.dead-letters.resolutions"]
        for group in ("payment-service", "inventory-service")
    }
    admin = Admin(written.places.bootstrap_servers)
    admin.create([topic for both in topics.values() for topic in both], 1)
    open_line = "open: 1 batch cannot be decompressed  saga violations --kind unreadable"
    try:
        assert open_line in written.check().stdout
        written.publisher.publish(skipping("payment-service", place, (batch.start, batch.stop), NOTE), 0)
        assert open_line in written.check().stdout
        written.publisher.publish(skipping("inventory-service", place, (batch.start, batch.stop), NOTE), 0)
        said, report = written.check().stdout, written.report()
    finally:
        admin.remove([topic for both in topics.values() for topic in both])
    assert "open: " not in said
    assert said.endswith("\nclean\n")
    assert report["unreadable"] == [f"{place}/{batch.start}"]


def test_on_postgresql_it_reads_the_same(places, postgres_url):
    """Each service's tables are found in the schema of its name; what is broken there is found too."""
    written = Written(Places(places.folder, places.bootstrap_servers, postgres_url))
    assert written.report("--finished")["violations"] == []
    written.places.change("order-service", "delete from orders where order_id = ?", written.confirmed.order_id)
    found = written.report()["violations"]
    assert {(v["law"], v["order_id"]) for v in found} >= {("order-iff-order-created", written.confirmed.order_id)}


def test_what_is_broken_is_named_for_people_with_its_law_its_order_and_where_to_look(written):
    """A second charge on the log is found, and its records are addressed by topic, partition and offset."""
    charged, partition = written.event(CHARGED)
    address = written.publisher.publish(charged._replace(headers=[("ce_id", b"drawn")]), partition)
    result = written.check()
    assert result.exit_code == 1
    for text in (f"event-id-follows-cause: order {written.confirmed.order_id}: the ce_id is 'drawn'", f"see {address}"):
        assert text in result.stdout
    assert {v["law"] for v in written.report()["violations"]} == {
        "each-event-once",
        "event-id-follows-cause",
        "cause-is-legal",
    }


TAMPERED = [
    ("confirmed-is-charged-once", "payment-service", "update payment set amount = 1 where order_id = ?"),
    ("confirmed-is-reserved-once", "inventory-service", "update reservation set status = 'failed' where order_id = ?"),
    ("event-has-its-state", "order-service", "update orders set status = 'pending' where order_id = ?"),
    ("order-iff-order-created", "order-service", "delete from orders where order_id = ?"),
]


@pytest.mark.parametrize(("law", "service", "sql"), TAMPERED)
def test_a_row_that_was_tampered_with_is_found(written, law, service, sql):
    """What a database says is held against the log and the other databases."""
    written.places.change(service, sql, written.confirmed.order_id)
    assert (law, written.confirmed.order_id) in {(v["law"], v["order_id"]) for v in written.report()["violations"]}


def test_stock_that_does_not_add_up_is_found_by_sku(written):
    """Stock is held against the reservations of the same snapshot."""
    written.places.change("inventory-service", "update stock set reserved = reserved - 1 where sku = 'cd-1'")
    [violation] = written.report("--finished")["violations"]
    assert (violation["law"], violation["order_id"]) == ("reserved-stock-adds-up", "")
    assert violation["detail"].startswith("cd-1: ")


def test_a_copy_on_the_log_is_a_violation_only_with_exactly_once_delivery(written):
    """With at-least-once delivery the same ce_id with the same bytes may stand there twice."""
    written.publisher.publish(*written.event(RESERVED))
    assert [v["law"] for v in written.report("--finished")["violations"]] == ["each-event-once"]
    assert written.report("--finished", "--delivery", "at-least-once")["violations"] == []


def test_a_history_without_its_beginning_is_said_to_be_incomplete(written):
    """Expired records are not called lost; that they are gone is said on stderr and in the report."""
    last = max(at for at in written.lies.values() if at.topic == CREATED)
    admin = AdminClient({"bootstrap.servers": written.places.bootstrap_servers})
    cut = TopicPartition(CREATED, last.partition, last.offset + 1)
    admin.delete_records([cut])[cut].result()
    result = written.check("--finished", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["violations"]) == (0, [])
    assert report["truncated"] == {f"{CREATED}/{last.partition}": last.offset + 1}
    assert f"INCOMPLETE HISTORY: {CREATED}/{last.partition} begins at {last.offset + 1}" in result.stderr
    said = f"clean, but {report['not_judged']} orders could not be judged fully"
    assert (report["not_judged"] > 0, written.check("--finished").stdout.splitlines()[-1]) == (True, said)


def test_an_order_without_an_event_is_found_although_each_topic_has_lost_its_oldest_record(written):
    """Confirmed, charged and reserved, and not an event of it: the same laws are broken as before records expired."""
    copy_of(written, written.confirmed.order_id, "a-ghost")
    whole = written.report("--clock-skew", "0")
    admin = AdminClient({"bootstrap.servers": written.places.bootstrap_servers})
    cuts = []
    for topic in {at.topic for at in written.lies.values()}:
        oldest = min(at for at in written.lies.values() if at.topic == topic)
        cuts.append(TopicPartition(topic, oldest.partition, oldest.offset + 1))
    for cut in admin.delete_records(cuts).values():
        cut.result()
    report = written.report("--clock-skew", "0")
    assert len(whole["violations"]) > 3
    assert report["violations"] == whole["violations"]
    assert {v["order_id"] for v in report["violations"]} == {"a-ghost", ""}, "and the stock is one reservation short"
    assert (whole["not_judged"], report["not_judged"] > 0) == (0, True)
    assert f"Events of {report['not_judged']} orders may have expired" in written.check("--clock-skew", "0").stdout


def copy_of(written: Written, order_id: str, name: str) -> None:
    """Add rows to the databases and the ledger as if there were another such order, placed just now."""
    now = time.time_ns() // 1_000_000
    places = written.places
    for service, table in (
        ("order-service", "orders"),
        ("payment-service", "payment"),
        ("inventory-service", "reservation"),
    ):
        with places.transaction(service) as tx:
            columns = TABLES[table].columns
            [row] = tx.rows(f"select {', '.join(columns)} from {table} where order_id = ?", order_id)
            copied = dict(zip(columns, row, strict=True)) | {"order_id": name}
            if table == "orders":
                copied |= {"created_at": now, "updated_at": now}
            marks = ", ".join("?" * len(copied))
            tx.execute(f"insert into {table} ({', '.join(copied)}) values ({marks})", *copied.values())
    with closing(open_gateway(places.gateway)) as provider:
        finished(provider.charge(name, written.confirmed.total, "USD"))


def test_what_cannot_be_read_is_named_and_nothing_is_made(places):
    """A missing database or ledger, missing topics, no broker: exit 1 with the reason, and no new file."""

    def refusal() -> str:
        result = CliRunner().invoke(check_command, env=places.environment)
        assert (result.exit_code, result.stdout) == (1, "")
        return result.stderr

    assert "the database of orders is not at" in refusal()
    assert list(places.folder.iterdir()) == []
    write_stores(World(Random(0), 0), places)
    Admin(places.bootstrap_servers).remove([CREATED])
    assert f"the topics {CREATED} do not exist: create them with `saga topics create`" in refusal()
    (places.folder / "provider.db").unlink()
    assert "the provider's ledger is not at" in refusal()


def test_an_empty_postgresql_is_named_and_left_as_it_is(places, postgres_url):
    """It is the wrong one: nothing is made in it, and its password is not said."""
    write_stores(World(Random(0), 0), places)
    environment = {**places.environment, "PAYMENT_SERVICE_DATABASE": postgres_url}
    result = CliRunner().invoke(check_command, env=environment)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the database is empty, it has no tables of payment-service" in result.stderr
    assert PASSWORD not in result.stderr
    with psycopg.connect(postgres_url) as server:
        assert server.execute("select nspname from pg_namespace where nspname like '%service%'").fetchall() == []


def test_an_empty_saga_is_clean(places):
    """No orders break no law."""
    write_stores(World(Random(0), 0), places)
    result = CliRunner().invoke(check_command, ["--finished"], env=places.environment)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "clean")
