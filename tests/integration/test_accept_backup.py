"""docs/operating.md, Our database was lost: a backup that is older than the log is accepted, on record."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import pytest

from eventbus.cli.backup import Backup, NotAccepted
from eventbus.kafka.config import Connection
from eventbus.store import quarantine
from eventbus.store.age import DatabaseTooOld
from tests.integration.test_database_age import SOON_GONE, empty_group, refusal, worked
from tests.support.databases.copies import backed_up, restore
from tests.support.engines import Playground


def backup_of(playground: Playground) -> Backup:
    connection = Connection(playground.bootstrap, playground.group, "accept-backup")
    return Backup(type(playground.service()), playground.database(), connection)


def test_a_backup_is_accepted_and_handled_on_from(playground: Playground) -> None:
    """What it lacks is handled again, each answer stands at most twice, and no older copy is taken for it later."""
    worked(playground, 20, killed=False)
    copy = backed_up(playground)
    worked(playground, 40, killed=False)
    restore(playground, copy)
    assert "older than the log" in refusal(playground)
    with closing(backup_of(playground)) as backup:
        with pytest.raises(NotAccepted, match=f"{playground.group}.one"):
            backup.plan()
        playground.abandon(worker := playground.workers[0])
        worker.log._consumer.close()
        empty_group(playground)
        plan = backup.plan()
        assert plan.again["ping"] >= 20
        backup.accept(plan, "ada", "disk lost", 5)
        with pytest.raises(NotAccepted, match="nothing to accept"):
            backup.plan()
    worker = playground.worker(**SOON_GONE)
    playground.turn_until(lambda: playground.tallied() == 40)
    playground.send(range(10))
    playground.turn_until(lambda: playground.tallied() == 50)
    playground.turn_until(lambda: not worker.watch.pending)
    times = Counter(dict(message.headers())["ce_id"] for message in playground.pongs())
    assert (len(times), max(times.values())) == (50, 2)
    worker.engine.close()
    playground.workers.clear()
    [mark] = playground.sql("select released_by, release_reason from quarantine")
    assert mark == ("ada", "disk lost")
    copy["checkpoint"] = playground.sql("select * from checkpoint")
    restore(playground, copy)
    assert "another copy has been used" in refusal(playground, DatabaseTooOld)
    database = playground.database()
    with database.snapshot() as tx:
        assert len(quarantine.history(tx)) == 1
    database.close()
