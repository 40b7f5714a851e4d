"""What `make chaos` does to a service's database, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.database import Database, Unavailable, connect
from inventory_service.repository import SCHEMA, set_on_hand
from inventory_service.service import InventoryService
from tests.chaos.databases import Databases, databases

SERVICE = InventoryService.name


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Databases:
    """Files in a folder, or a server."""
    url = "sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return databases(url, tmp_path)


@pytest.fixture
def worker(stores: Databases) -> Iterator[Database]:
    """Somebody who has the database open all the time."""
    with closing(connect(stores.url(SERVICE), service=SERVICE, schema=SCHEMA)) as database:
        yield database


def put(database: Database, on_hand: int) -> None:
    with database.transaction() as tx:
        set_on_hand(tx, {"cd": on_hand})


def on_hand(database: Database) -> int:
    with database.snapshot() as tx:
        [[found]] = tx.rows("select on_hand from stock")
    return int(found)


def test_a_database_is_put_back_to_its_backup_and_then_to_the_newest(stores: Databases, worker: Database) -> None:
    """Who has it open loses his connection each time. Nothing that was committed is lost in the end, nor anything kept
    that was written into the old copy."""
    put(worker, 1)
    stores.back_up(SERVICE)
    put(worker, 2)
    stores.restore(SERVICE)
    with pytest.raises(Unavailable):
        on_hand(worker)
    assert on_hand(worker) == 1
    put(worker, 3)
    worker.close()
    stores.put_newest_back(SERVICE)
    assert on_hand(worker) == 2
    assert worker.losses == 1


def test_it_can_be_done_again(stores: Databases, worker: Database) -> None:
    """With a newer backup."""
    for number in (1, 3):
        put(worker, number)
        stores.back_up(SERVICE)
        put(worker, number + 1)
        stores.restore(SERVICE)
        with pytest.raises(Unavailable):
            on_hand(worker)
        assert on_hand(worker) == number
        worker.close()
        stores.put_newest_back(SERVICE)
        assert on_hand(worker) == number + 1
