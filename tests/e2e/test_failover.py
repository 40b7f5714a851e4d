"""A PostgreSQL with a standby: a failover, one to a standby that lacks commits, a standby alone; idle limits."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from saga.kafka.topics_file import read_topics
from tests.conftest import do_without
from tests.support.databases.postgres import NoPostgres
from tests.support.databases.standby import Pair, replicated
from tests.support.saga import SERVICES, SESSION, Saga
from tests.support.saga.outages import Endured, busy
from tests.support.saga.processes import Worker

REFUSED, UNWRITABLE = 3, 7
ORDER = ("--customer", "1", "--total", "1", "--item", "cd-1=1")
MEND = (
    "it is a standby. Name the primary, or all hosts with the wanted role:"
    " postgresql://USER@HOST1,HOST2/NAME?target_session_attrs=read-write, and restart: nothing is lost"
)
AHEAD = "(the group's committed offset|the progress topic) .* is ahead of the database .* failed over"


@pytest.fixture
def pair() -> Iterator[Pair]:
    try:
        with replicated() as pair:
            yield pair
    except NoPostgres as why:
        do_without("PostgreSQL with a standby", why)


@pytest.fixture
def saga_on_both(own_saga: Saga, pair: Pair) -> Saga:
    """All three services on whichever of the two can be written."""
    use(own_saga, pair.url)
    return own_saga


def use(saga: Saga, url: str) -> None:
    saga.env |= {name: url for name in saga.env if name.endswith("_DATABASE")}


def written(saga: Saga) -> dict[str, int]:
    """How many records are on each topic, but that to which each worker that starts says what it does."""
    names = [topic.name for topic in read_topics() if topic.name != "choreography.declarations"]
    return {name: len(saga.records(name)) for name in names}


def last_line(worker: Worker) -> str:
    return worker.log.splitlines()[-1]


def test_workers_go_on_with_a_standby_that_lacks_nothing(saga_on_both: Saga, pair: Pair) -> None:
    """The primary dies amid the work; each commit that it confirmed is on its synchronous standby."""
    saga = saga_on_both
    pair.wait_for_each_commit()
    workers = busy(saga)
    placed = len(saga.rows("order-service", "select 1 from orders"))
    outage = Endured(workers, 4)
    pair.primary.kill()
    for worker in workers:
        worker.wait_for("PostgreSQL: ")
    outage.wait()
    pair.standby.promote()
    saga.import_orders("after", 100, "cd-1")
    outage.over(saga)
    assert saga.summary() == {"confirmed": placed + 100}
    books = saga.ask("payment_service", "ledger")
    assert books["service"] == books["provider"]


def test_every_worker_refuses_a_standby_that_lacks_commits(saga_on_both: Saga, pair: Pair) -> None:
    """They are on the log. What the standby believes to be unpublished is not published a second time."""
    saga = saga_on_both
    saga.stock(cd_1=1_000)
    workers = [*saga.start_all(*SESSION), *saga.start_all(*SESSION, instance="b")]
    saga.import_orders("on both", 20, "cd-1")
    saga.settle()
    for worker in workers:
        worker.stop()
    saga.import_orders("known to both, published to one", 20, "cd-1")
    pair.standby.catch_up()
    pair.standby.cut_off()
    for worker in workers:
        worker.resume()
    saga.settle()
    on_the_log, charged = written(saga), saga.ask("payment_service", "ledger")["provider"]

    pair.primary.kill()
    pair.standby.promote()
    assert [worker.wait() for worker in workers] == [REFUSED] * len(workers)
    for module in SERVICES:
        said = [last_line(worker) for worker in workers if worker.name.startswith(module)]
        assert any(re.match(f"error: .*{AHEAD}", line) for line in said), said
        quarantined = f"error: (the database has been in quarantine since .*)?.*{AHEAD}"
        assert all(re.match(quarantined, line) for line in said), said
    assert written(saga) == on_the_log
    assert saga.summary() == {"confirmed": 20, "pending": 20}, "it lacks what was decided since"
    assert saga.ask("payment_service", "ledger")["provider"] == charged

    saga.admin.remove([module.replace("_", "-") for module in SERVICES])
    for module in SERVICES:
        assert saga.run(module, "database", "release", "--by", "ada", "--reason", "a mistake").code == 0
        again = saga.start(module, *SESSION)
        assert again.wait() == REFUSED
        assert re.match("error: .*the progress topic .* is ahead of the database", last_line(again)), again.log
    assert written(saga) == on_the_log


def test_a_standby_alone_is_named(own_saga: Saga, pair: Pair) -> None:
    """A worker ends, with or without its tables on the standby; commands that only read work."""
    use(own_saga, pair.standby_url)
    assert_named(own_saga)
    use(own_saga, pair.url)
    own_saga.stock(cd_1=10)
    own_saga.start_all(*SESSION)
    own_saga.import_orders("before", 5, "cd-1")
    own_saga.settle()
    own_saga.workers.kill_all()
    pair.standby.catch_up()
    use(own_saga, pair.standby_url)
    assert_named(own_saga)
    refused = own_saga.run("order_service", "place", *ORDER)
    assert (refused.code, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("error: cannot write to PostgreSQL: ")
    assert MEND in refused.stderr
    own_saga.settle()
    assert own_saga.shelf()["cd-1"]["reserved"] == 5


def assert_named(saga: Saga) -> None:
    """With code 7, and one sentence that says what to write instead."""
    for module in SERVICES:
        worker = saga.start(module)
        assert worker.wait() == UNWRITABLE
        assert last_line(worker).startswith("error: cannot write to PostgreSQL: "), worker.log
        assert MEND in last_line(worker)
        assert "Traceback" not in worker.log


def test_who_wants_a_primary_waits_until_there_is_one(own_saga: Saga, pair: Pair) -> None:
    """In the middle of a failover, say: the primary is dead, and nobody is promoted yet."""
    use(own_saga, pair.url)
    own_saga.stock(cd_1=10)
    pair.standby.catch_up()
    pair.primary.kill()
    workers = [own_saga.start(module, *SESSION) for module in SERVICES]
    for worker in workers:
        worker.wait_for("session is read-only")
    refused = own_saga.run("order_service", "place", *ORDER)
    assert (refused.code, refused.stderr.startswith("error: PostgreSQL: ")) == (1, True)
    assert "session is read-only" in refused.stderr
    pair.standby.promote()
    for worker in workers:
        worker.wait_ready()
    own_saga.import_orders("after", 5, "cd-1")
    own_saga.settle()


@pytest.mark.parametrize("limit", [{"idle_in_transaction_session_timeout": "1"}, {"idle_session_timeout": "10s"}])
def test_the_servers_limits_on_idle_clients_meet_no_worker(own_saga: Saga, pair: Pair, limit: dict[str, str]) -> None:
    """In a transaction a worker sets its own limit, and it asks something every two seconds: no connection is lost."""
    use(own_saga, pair.url)
    pair.primary.set(**limit)
    workers = busy(own_saga)
    own_saga.settle()
    time.sleep(15)
    for worker in workers:
        assert not [line["why"] for line in worker.events("waiting") if "PostgreSQL" in line["why"]]
        assert worker.metric("saga_doubts_total") == 0
        assert worker.terminate() == 0
