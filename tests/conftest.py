"""What the tests run on: a broker, databases, a registry, a proxy, workers. All are started when first asked for."""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.chaos.proxy import Proxy
from tests.support import brokers
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_cluster import KafkaCluster
from tests.support.brokers.kafka_node import SOON_BACK, Broker, NoBroker, OwnBroker, Ports
from tests.support.brokers.maven import Missing
from tests.support.databases import postgres
from tests.support.registries.apicurio import ApicurioRegistry
from tests.support.saga import Saga
from tests.support.saga.processes import PATIENCE, Workers

OWN_BROKER = {"make_broker", "make_cluster", "fresh_broker", "generous"}
"""Fixtures that start a broker."""
PROCESSES = pytest.StashKey[list[Any]]()
SAGA_NAMES = (
    *("order.", "payment.", "inventory.", "choreography."),
    *("order-service", "payment-service", "inventory-service"),
)

Report = Generator[None, pytest.TestReport, pytest.TestReport]
MakeTopics = Callable[..., list[str]]


# An example that takes longer than another one, or than 200 ms, tells of the machine.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Make SIGTERM end the run in good order too: nothing that was started stays behind.

    And let processes hear of Ctrl-C: a run in the background ignores it (sh does so), and what it starts inherits that.
    """
    config.stash[PROCESSES] = []
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end if hasattr(config, "workerinput") else signal.default_int_handler)
    if brokers.named() and config.getoption("numprocesses", None):
        raise pytest.UsageError("the Kafka that KAFKA_BOOTSTRAP_SERVERS names is for one process: leave -n out")


def _end(number: int, _frame: object) -> None:
    """Let the tests end; who ends things already is not interrupted by the next signal."""
    for also in (signal.SIGINT, signal.SIGTERM):
        signal.signal(also, lambda *_: None)
    pytest.exit(f"ended by {signal.Signals(number).name}", returncode=128 + number)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    """Remember a process that pytest-xdist has started."""
    node.config.stash[PROCESSES].append(node)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let the other processes end in good order, too, where this one was told to end: pytest-xdist kills them."""
    if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        return
    working = [node for node in session.config.stash[PROCESSES] if not node.channel.isclosed()]
    for node in working:
        os.kill(node.gateway._rinfo().pid, signal.SIGTERM)
    for node in working:
        node.channel.waitclose(PATIENCE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what `make test` runs of its own accord; everything else in it says so itself.

    Where several processes share the files, the long ones come first: none is left alone with one at the end. Those are
    the end-to-end tests, then whatever starts brokers of its own.
    """
    for item in items:
        if not item.nodeid.startswith(("tests/integration/", "tests/e2e/")):
            item.add_marker(pytest.mark.quick)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (not item.nodeid.startswith("tests/e2e/"), not _has_own_broker(item)))


def _has_own_broker(item: pytest.Item) -> bool:
    return not OWN_BROKER.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Report:
    """Show the end of the workers' logs where a test fails."""
    report = yield
    if report.failed:
        for argument in getattr(item, "funcargs", {}).values():
            workers = argument.workers if isinstance(argument, Saga) else argument
            if isinstance(workers, Workers):
                report.sections.extend((f"end of the log of {name}", log) for name, log in workers.logs())
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """End the output with how many tests were left out, and why."""
    yield
    if terminalreporter.config.option.markexpr == "quick":
        terminalreporter.write_line("left out: the tests that take longer: make test-all", yellow=True)
    skipped = terminalreporter.stats.get("skipped", [])
    for reason, count in Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped).items():
        terminalreporter.write_line(f"left out: {count} {'test' if count == 1 else 'tests'}: {reason}", yellow=True)


def do_without(what: str, why: object) -> NoReturn:
    """Skip the test, or let it fail where everything must be there (REQUIRE_BROKER=1)."""
    if os.environ.get("REQUIRE_BROKER") == "1":
        pytest.fail(f"no {what}: {why}", pytrace=False)
    pytest.skip(f"no {what}: {why}")


@pytest.fixture(scope="session")
def _session_broker() -> Iterator[Broker | NoBroker]:
    try:
        broker = brokers.any_broker().start()
    except NoBroker as why:
        yield why
        return
    yield broker
    broker.stop()


@pytest.fixture
def broker(_session_broker: Broker | NoBroker) -> Broker:
    """One Kafka for all tests of a process. Topics, groups, transactional ids need unique names: see make_topics."""
    if isinstance(_session_broker, NoBroker):
        do_without("Kafka", _session_broker)
    return _session_broker


@pytest.fixture
def make_topics(broker: Broker) -> Iterator[MakeTopics]:
    """Return a function that makes topics of unique names: `(a, b) = make_topics("a", "b", partitions=2)`."""
    admin, made = Admin(broker.bootstrap_servers), list[str]()

    def make(*stems: str, partitions: int = 4, config: dict[str, str] | None = None) -> list[str]:
        names = [f"{stem}-{uuid.uuid4().hex[:8]}" for stem in stems]
        admin.create(names, partitions, config)
        made.extend(names)
        return names

    yield make
    admin.remove(made)


@pytest.fixture(scope="module")
def fresh_broker() -> Iterator[Broker]:
    """A Kafka for one module, without a topic or group of the saga, which the module may then make."""
    yield from free_of_the_saga()


def free_of_the_saga() -> Iterator[Broker]:
    """Yield a new Kafka; only where KAFKA_BOOTSTRAP_SERVERS names one, that one, if nothing of the saga is there."""
    try:
        broker = brokers.any_broker().start()
    except NoBroker as why:
        do_without("Kafka", why)
    there = [name for name in Admin(broker.bootstrap_servers).everything() if name.startswith(SAGA_NAMES)]
    if there:
        do_without("empty Kafka", f"{broker.bootstrap_servers} already has {', '.join(sorted(there)[:3])}")
    yield broker
    broker.stop()


@pytest.fixture
def make_broker() -> Iterator[Callable[..., OwnBroker]]:
    """Return a function that starts a Kafka which the test may kill and restart; it takes Kafka's properties."""
    started = list[OwnBroker]()

    def make(**properties: str) -> OwnBroker:
        try:
            broker = brokers.own_kind()(**SOON_BACK | properties)
        except NoBroker as why:
            do_without("Kafka that may be stopped", why)
        started.append(broker)
        broker.start()
        return broker

    yield make
    for broker in started:
        broker.stop()


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., KafkaCluster]]:
    """Return a function that starts a cluster of so many nodes, which the test may kill and restart one by one."""
    started = list[KafkaCluster]()

    def make(count: int, **properties: str) -> KafkaCluster:
        try:
            cluster = brokers.own_cluster(count, **SOON_BACK | properties)
        except NoBroker as why:
            do_without("Kafka that may be stopped", why)
        started.append(cluster)
        return cluster.start()

    yield make
    for cluster in started:
        cluster.stop()


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    """A proxy in front of `broker`: clients that bootstrap with its address stay behind it."""
    if broker.host_ports is None:
        pytest.skip("no proxy: the broker that KAFKA_BOOTSTRAP_SERVERS names does not advertise one")
    with proxy_to(broker.host_ports) as proxy:
        yield proxy


def proxy_to(ports: Ports) -> Proxy:
    """Return a proxy in front of the broker with these ports (`make_broker().host_ports`)."""
    return Proxy((ports.proxy, ports.behind_proxy))


@pytest.fixture(scope="session")
def _session_postgres() -> Iterator[postgres.Server | postgres.NoPostgres]:
    try:
        server = postgres.server()
    except postgres.NoPostgres as why:
        yield why
        return
    server.start()
    yield server
    server.remove()


@pytest.fixture(name="postgres")
def postgres_server(_session_postgres: postgres.Server | postgres.NoPostgres) -> postgres.Server:
    """One PostgreSQL for all tests of a process. A test that stops it starts it again."""
    if isinstance(_session_postgres, postgres.NoPostgres):
        do_without("PostgreSQL", _session_postgres)
    return _session_postgres


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A new empty database on PostgreSQL."""
    server: postgres.Server = request.getfixturevalue("postgres")
    name = postgres.create_database(server.port)
    yield postgres.url(server.port, name)
    postgres.drop_database(server.port, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/service.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def _session_registry() -> Iterator[ApicurioRegistry | Missing]:
    try:
        registry = ApicurioRegistry()
    except Missing as why:
        yield why
        return
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def registry(_session_registry: ApicurioRegistry | Missing) -> ApicurioRegistry:
    """A schema registry with Confluent's API at `.url`, one for all tests of a process."""
    if isinstance(_session_registry, Missing):
        pytest.skip(f"no schema registry: {_session_registry}")
    return _session_registry


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Start worker processes with `workers.start("order_service", env=...)`; all are ended with the test."""
    started = Workers(tmp_path)
    yield started
    started.kill_all()
