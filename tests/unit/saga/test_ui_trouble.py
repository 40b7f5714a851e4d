"""What the page says of orders in trouble, where there is no broker to ask."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.database import connect
from eventbus.serde.registry import registry_at
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey
from saga.deadletters.letters import LetterTarget
from saga.kafka.decode import Decoder
from saga.ui import trouble
from saga.ui.trouble import TroubleReport, parked_orders
from schemas import EVENTS
from tests.support.saga.processes import PATIENCE

DECODER = Decoder(registry_at(None, EVENTS))


def database(path: Path, *statements: str) -> str:
    with closing(sqlite3.connect(path)) as opened, opened:
        for statement in statements:
            opened.execute(statement)
    return f"sqlite:///{path}"


def test_parked_orders_are_read_and_what_cannot_be_read_is_said(tmp_path):
    """A service that parks nothing is no error; a database that is not there is, and is not made."""
    parking = f"sqlite:///{tmp_path / 'payment.db'}"
    with closing(connect(parking, service="payment-service", schema="")) as opened, opened.transaction() as tx:
        blocked_keys.change(tx, {}, {"o": BlockedKey("o", "order.created", 3, 1, 4, 7, 0, 90000, "IntegrityError")})
    older = database(tmp_path / "order.db", "create table orders (id text)")
    missing = tmp_path / "inventory.db"
    databases = {"payment-service": parking, "order-service": older, "inventory-service": f"sqlite:///{missing}"}
    parked, errors = parked_orders(databases, DECODER)
    assert parked == [
        {
            "service": "payment-service",
            "order_id": "o",
            "partition": "order.created/3",
            "records": 4,
            "attempts": 7,
            "since": "1970-01-01T00:00:00.000Z",
            "retry_at": "1970-01-01T00:01:30.000Z",
            "error": "IntegrityError",
            "record": None,
            "value": None,
            "headers": {},
            "commands": [
                "payment-service parked show o",
                "payment-service parked retry o --by YOU --reason 'WHY'",
                "payment-service parked discard o --by YOU --reason 'WHY'",
            ],
        }
    ]
    [away] = errors
    assert str(missing) in away
    assert not missing.exists()


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of somebody who takes connections and says nothing: a broker that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_while_the_broker_does_not_answer_what_is_known_is_told_within_two_seconds(tmp_path, mute):
    """Parked orders come from the databases, and are all; of dead letters it is said that they are not read."""
    parking = f"sqlite:///{tmp_path / 'payment.db'}"
    with closing(connect(parking, service="payment-service", schema="")) as opened, opened.transaction() as tx:
        blocked_keys.change(tx, {}, {"o": BlockedKey("o", "order.created", 3, 1, 4, 7, 0, 90000, "IntegrityError")})
    for servers in (mute, "127.0.0.1:1"):
        asked = TroubleReport(LetterTarget(servers, {}), {"payment-service": parking}, DECODER)
        for _ in range(2):
            began = time.monotonic()
            told = asked.report()
            assert time.monotonic() - began < 2
            assert [order["order_id"] for order in told["parked"]] == ["o"]
            assert told["dead_letters"] == []
            assert told["errors"] == ["dead letters: still being read (no data yet)"]
            assert told["unread"] == ["dead_letters"]


@pytest.mark.parametrize("is_old", [False, True])
def test_what_was_read_before_is_shown_while_it_is_read_again(monkeypatch, *, is_old):
    """And that it was, if that is long ago; as soon as there is an answer, that is told."""
    answers, gone = iter([["first"], ["second"]]), threading.Event()
    gone.set()

    def read():
        answer = next(answers)
        assert gone.wait(PATIENCE)
        return [{"letter": each} for each in answer], []

    monkeypatch.setattr(trouble, "FRESH_SECONDS", 0)
    monkeypatch.setattr(trouble, "STALE_SECONDS", 0 if is_old else PATIENCE)
    look = trouble.TroubleQuery(read, "dead letters")
    look.begin()
    assert look.result(time.monotonic() + PATIENCE) == ([{"letter": "first"}], [])
    gone.clear()
    look.begin()
    note = ["dead letters: still being read (the data shown is from an earlier read)"]
    assert look.result(time.monotonic() + 0.1) == ([{"letter": "first"}], note if is_old else [])
    gone.set()
    assert look.result(time.monotonic() + PATIENCE) == ([{"letter": "second"}], [])
