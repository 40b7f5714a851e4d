"""Starts that cannot work: what only a person can mend ends the worker and is named, what may come back is waited for.

Exit codes: 1 wrong database or port, 2 wrong usage, 3 refused, 4 the instance name is taken, 5 a topic is missing.
"""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from eventbus.database import connect
from eventbus.log import Identity, Partition
from eventbus.store import progress
from eventbus.store.progress import Checkpoint
from payment_service.repository import SCHEMA
from tests.support.databases import postgres
from tests.support.ports import free_port
from tests.support.saga import SERVICES, SESSION, Saga
from tests.support.saga.processes import PATIENCE, Worker, Workers, saga_environment
from tests.support.stopwatch import Stopwatch

DEAD_LETTERS = "payment-service.dead-letters"
ROOM = 65_536
PARTITIONS = 4
STOP_SECONDS = 10


@pytest.fixture
def away() -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def postgres_port(request: pytest.FixtureRequest) -> int:
    """The port of a PostgreSQL that answers."""
    server: postgres.Server = request.getfixturevalue("postgres")
    return server.port


@pytest.fixture
def ready(saga: Saga) -> Iterator[Saga]:
    """The saga with all its topics and no worker; afterwards too."""
    yield saga
    saga.workers.kill_all()
    saga.make_topics(PARTITIONS)


def start(workers: Workers, folder: Path, servers: str, *arguments: str, **settings: str) -> Worker:
    """Start a payment worker with a database of its own, in this folder."""
    return workers.start("payment_service", *arguments, env=saga_environment(folder, servers, **settings))


def last_word(worker: Worker, code: int) -> str:
    """Return what it says at last, once it has ended with this code; it is one line and no traceback."""
    assert worker.wait() == code
    assert "Traceback" not in worker.log
    line = worker.log.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def assert_waits(worker: Worker, *words: str) -> None:
    """It says again and again what it waits for, is alive and not ready, and ends in time when it is told to."""
    worker.wait_for(words[0])
    deadline = time.monotonic() + PATIENCE
    while len(said := worker.events("waiting")) < 2:
        assert time.monotonic() < deadline, f"said only {said}"
        assert worker.get("/livez") == (200, "ok\n")
        assert worker.get("/readyz") == (503, "no partitions are assigned\n")
        time.sleep(0.1)
    assert all(word in line["why"] for word in words for line in said)
    stopping = Stopwatch()
    assert worker.terminate() == 0
    assert stopping.seconds < STOP_SECONDS


@pytest.mark.parametrize("module", SERVICES)
def test_brokers_that_do_not_answer_are_waited_for(workers, tmp_path, away, module):
    assert_waits(workers.start(module, env=saga_environment(tmp_path, away)), "no Kafka broker answers at", away)


def test_a_postgresql_that_does_not_answer_is_waited_for(workers, tmp_path, away):
    """It may be on its way up, as after a power failure."""
    url = f"postgresql://saga@{away}/saga"
    assert_waits(start(workers, tmp_path, away, PAYMENT_SERVICE_DATABASE=url), "PostgreSQL: ", "refused")


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (f"{postgres.USER}:wrong-one@{{}}/postgres", "password authentication failed"),
        ("nobody-of-that-name:any-one@{}/postgres", "password authentication failed"),
        (f"{postgres.USER}:{postgres.PASSWORD}@{{}}/no-such-database", "does not exist"),
    ],
    ids=["password", "user", "database"],
)
def test_a_postgresql_that_lets_nobody_in_is_refused(workers, tmp_path, postgres_port, login, said):
    """Waiting would not mend the setting; what is wrong is named, the password is not."""
    url = f"postgresql://{login.format(f'127.0.0.1:{postgres_port}')}"
    worker = start(workers, tmp_path, f"127.0.0.1:{free_port()}", PAYMENT_SERVICE_DATABASE=url)
    words = last_word(worker, 1)
    assert "PostgreSQL refused the connection" in words
    assert said in words
    assert str(urlsplit(url).password) not in worker.log


def test_a_postgresql_schema_of_another_service_is_refused(workers, tmp_path, away, postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("create schema payment_service create table service (name text)")
        server.execute("insert into payment_service.service values ('another-service')")
    said = last_word(start(workers, tmp_path, away, PAYMENT_SERVICE_DATABASE=postgres_url), 1)
    assert "the schema payment_service is the database of another-service, not of payment-service" in said


def test_a_folder_that_does_not_exist_is_waited_for(workers, tmp_path, away):
    """It may be a volume that is not there yet."""
    file = tmp_path / "not-mounted" / "payment.db"
    assert_waits(start(workers, tmp_path, away, PAYMENT_SERVICE_DATABASE=f"sqlite:///{file}"), str(file))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://saga@localhost/saga",
        "payment.db",
        "sqlite://payment.db",
        "sqlite:///",
        "postgresql://localhost/saga?no-such-parameter=1",
    ],
)
def test_what_is_no_url_of_a_database_is_refused(workers, tmp_path, away, url):
    """And the answer shows a form that is one."""
    said = last_word(start(workers, tmp_path, away, PAYMENT_SERVICE_DATABASE=url), 1)
    assert "postgresql://USER@HOST/NAME" in said


def test_a_file_that_is_not_sqlites_is_refused_and_left_alone(workers, tmp_path, away):
    file = tmp_path / "notes.txt"
    file.write_text("to be or not to be\n" * 100)
    said = last_word(start(workers, tmp_path, away, PAYMENT_SERVICE_DATABASE=f"sqlite:///{file}"), 1)
    assert f"{file} is not a SQLite file" in said
    assert file.read_text() == "to be or not to be\n" * 100


def test_a_database_of_another_program_is_refused_and_left_alone(workers, tmp_path, away):
    file = tmp_path / "photos.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("create table photo (name text)")
    before = file.read_bytes()
    said = last_word(start(workers, tmp_path, away, PAYMENT_SERVICE_DATABASE=f"sqlite:///{file}"), 1)
    assert f"{file} is a SQLite file of another application (tables photo)" in said
    assert file.read_bytes() == before


def test_another_services_database_is_refused(ready):
    """It says whose it is; two services in one database would take each other's checkpoints for theirs."""
    ready.stock(cd_1=1)
    worker = ready.start("payment_service", PAYMENT_SERVICE_DATABASE=ready.env["INVENTORY_SERVICE_DATABASE"])
    assert "is the database of inventory-service, not of payment-service" in last_word(worker, 1)


def test_a_database_that_is_refused_takes_nothing_from_who_works(ready, tmp_path):
    """However often it is started again: it does not come as far as the group."""
    ready.stock(cd_1=100)
    good, orders = ready.start("payment_service", *SESSION), ready.start("order_service", *SESSION)
    good.wait_ready()
    orders.wait_ready()
    ready.import_orders("charged", 20, "cd-1")
    ready.until(lambda: len(ready.records("payment.charged")) == 20, "not every order was charged")
    empty = {"PAYMENT_SERVICE_DATABASE": f"sqlite:///{tmp_path}/empty.db"}
    for _ in range(2):
        refused = ready.start("payment_service", *SESSION, instance="b", **empty)
        assert "older than the log" in last_word(refused, 3)
    assert good.events("partitions.revoked") == []


def test_a_metrics_port_that_is_taken_is_named(workers, tmp_path, away):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        said = last_word(start(workers, tmp_path, away, "--metrics-port", str(port)), 1)
    assert f"--metrics-port {port}: " in said


@pytest.mark.parametrize(("log_format", "times"), [("console", 1), ("json", 2)])
def test_a_person_reads_once_why_a_worker_ended(workers, tmp_path, away, log_format: str, times: int):
    """In a terminal only the last line says it. The JSON log says it, too: it may be all that is collected."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        worker = start(workers, tmp_path, away, "--metrics-port", str(port), "--log-format", log_format)
        why = last_word(worker, 1).removeprefix("error: ")
    assert worker.log.count(why) == times
    assert "PortTaken" in worker.log


@pytest.mark.parametrize(
    "setting",
    ["no.such.property=1", "fetch.no.such=1", "linger.no.such=1", "batch.size=much", "security.protocol=secret"],
)
def test_a_kafka_config_that_librdkafka_does_not_know_is_refused(ready, setting):
    """Whichever of the clients it is for: consumer, producer or all. And before partitions are taken from anybody."""
    worker = ready.start("payment_service", "--kafka-config", setting)
    said = last_word(worker, 2)
    assert "partitions.assigned" not in worker.log
    assert setting.partition("=")[0] in said
    assert "--kafka-config" in said


@pytest.mark.parametrize("setting", ["enable.auto.commit=true", "transactional.id=mine", "isolation.level=x"])
def test_a_kafka_config_that_exactly_once_rests_on_is_refused(workers, tmp_path, away, setting):
    """Before anything is connected to."""
    said = last_word(start(workers, tmp_path, away, "--kafka-config", setting), 2)
    assert f"--kafka-config {setting.partition('=')[0]}: exactly-once depends on this" in said


def test_a_kafka_config_that_is_no_pair_is_wrong_usage(workers, tmp_path, away):
    worker = start(workers, tmp_path, away, "--kafka-config", "linger.ms")
    assert worker.wait() == 2
    assert "'…' is not KEY=VALUE" in worker.log, "it may be a password"


@pytest.mark.parametrize("topic", ["order.created", "payment.charged", DEAD_LETTERS], ids=["input", "output", "dead"])
def test_a_missing_topic_is_named_with_the_command_that_makes_it(ready, workers, tmp_path, topic):
    """Whether it would be read, written or is for dead letters; only the one that is missing is named."""
    ready.admin.remove([topic])
    said = last_word(start(workers, tmp_path, ready.bootstrap_servers), 5)
    assert f"topics that do not exist: {topic}. " in said
    assert "But this database" not in said
    assert f"saga topics create --bootstrap-servers {ready.bootstrap_servers}" in said


def test_who_has_read_topics_is_told_that_making_them_again_is_not_enough(ready, workers, tmp_path):
    """A new cluster under an old database: code 5 must not send people in a circle to code 3."""
    url = f"sqlite:///{tmp_path}/old.db"
    with closing(connect(url, service="payment-service", schema=SCHEMA)) as old, old.transaction() as tx:
        progress.create(tx, Partition("order.created", 0), Checkpoint(5, 0, 1), Identity("the-old-cluster", "topic"))
    ready.admin.remove(["payment.charged"])
    said = last_word(start(workers, tmp_path, ready.bootstrap_servers, PAYMENT_SERVICE_DATABASE=url), 5)
    assert "topics that do not exist: payment.charged. " in said
    assert ". But this database has checkpoints of the Kafka cluster the-old-cluster: " in said


def test_a_topic_for_dead_letters_that_takes_too_small_ones_is_refused(ready):
    """It says how small, and what its limit has to be: one that fits nowhere would stop everything behind it."""
    ready.admin.remove([DEAD_LETTERS])
    ready.admin.create([DEAD_LETTERS], config={"max.message.bytes": "100000"})
    said = last_word(ready.start("payment_service"), 3)
    assert f"{DEAD_LETTERS} accepts at most 100000 bytes" in said
    assert f"Set its max.message.bytes to {1_048_588 + ROOM}" in said
    ready.admin.remove([DEAD_LETTERS])
