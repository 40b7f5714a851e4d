"""payment-service at the command line."""

from __future__ import annotations

import json
import re
from contextlib import closing

import pytest
from click.testing import CliRunner

from eventbus import TryAgain
from eventbus.database import connect
from eventbus.log import Partition, Record
from eventbus.service import finished
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey, Parked
from payment_service.__main__ import main
from payment_service.domain import Charge
from payment_service.gateway import open_gateway
from payment_service.repository import SCHEMA
from payment_service.service import PaymentService
from schemas import Item, OrderCancelled, OrderCreated
from tests.support.engines.stepping import deliver


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAYMENT_SERVICE_DATABASE", raising=False)
    monkeypatch.delenv("PAYMENT_GATEWAY", raising=False)
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.fixture
def two_orders(run):
    """One order charged, one charged and refunded, one free."""
    url = "sqlite:///payment_service.db"
    with (
        closing(connect(url, service=PaymentService.name, schema=SCHEMA)) as database,
        closing(open_gateway("simulated:///provider.db")) as provider,
    ):
        service = PaymentService(provider)
        for order_id, total, currency in (("a", 100, "USD"), ("b", 50, "EUR"), ("c", 0, "USD")):
            deliver(service, database, OrderCreated(order_id, "customer", total, currency, (Item("x", 1),)))
        deliver(service, database, OrderCancelled("b", "why"))


def test_the_ledger_shows_our_books_and_the_providers(run, two_orders):
    """Charged, refunded and net by currency: minor units under the keys that scripts know, money for people."""
    books = {
        "EUR": {"charged": 50, "refunded": 50, "net": 0},
        "USD": {"charged": 100, "refunded": 0, "net": 100},
    }
    assert json.loads(run("ledger", "--json").stdout) == {"service": books, "provider": books}
    assert run("ledger").stdout.splitlines() == [
        "books      charged  refunded       net",
        "service   0.50 EUR  0.50 EUR  0.00 EUR",
        "service   1.00 USD  0.00 USD  1.00 USD",
        "provider  0.50 EUR  0.50 EUR  0.00 EUR",
        "provider  1.00 USD  0.00 USD  1.00 USD",
    ]


def test_a_payment_is_shown(run, two_orders):
    """Status and amount of one order; an unknown one ends with exit code 1."""
    shown = json.loads(run("show", "b", "--json").stdout)
    assert (shown["order_id"], shown["status"], shown["amount"], shown["currency"]) == ("b", "refunded", 50, "EUR")
    for_people = run("show", "a").stdout
    assert "status     charged" in for_people
    assert "amount     1.00 USD" in for_people
    assert "currency" not in for_people
    unknown = run("show", "nobody")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert unknown.stderr == "error: there is no payment of order nobody in sqlite:///payment_service.db\n"


@pytest.mark.parametrize("command", [["ledger"], ["run", "--bootstrap-servers", "localhost:1"]], ids=lambda c: c[0])
def test_a_bad_gateway_is_one_line_and_nothing_is_started(run, two_orders, command):
    """What is wrong with the URL, exit code 1."""
    result = run(*command, "--gateway", "simulated:///provider.db?decline=5")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the gateway has no parameter 'decline'; its parameters are decline-above")


def test_another_services_database_is_refused(run, two_orders):
    """Naming the provider's ledger as the database, or the other way round, harms neither."""
    assert run("ledger", "--database", "sqlite:///provider.db").exit_code == 1
    assert run("ledger", "--gateway", "simulated:///payment_service.db").exit_code == 1
    assert run("ledger").exit_code == 0


@pytest.mark.parametrize("option", ["--database=sqlite:///nowhere.db", "--gateway=simulated:///nowhere.db"])
def test_who_only_looks_makes_no_books(run, two_orders, tmp_path, option):
    """The wrong place is named, instead of a ledger in which nothing stands."""
    result = run("ledger", option)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nowhere.db: run this where the services run" in result.stderr
    assert not (tmp_path / "nowhere.db").exists()


def test_every_command_helps_with_an_example():
    """--help of each command shows how it is called."""
    for name in main.commands:
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0
        assert f"Example: payment-service {name}" in " ".join(shown.stdout.split())


def test_an_outage_is_of_a_provider_with_a_file_and_ends(run):
    """It reaches the workers through the ledger's file; the ledger of one process's memory reaches nobody."""
    assert run("outage", "429", "--order", "o").stdout == "every request about order o is answered with 429\n"
    with closing(open_gateway("simulated:///provider.db")) as provider, pytest.raises(TryAgain, match="answers 429"):
        finished(provider.charge("o", 1, "USD"))
    assert run("outage", "over").stdout == "every request is answered again\n"
    with closing(open_gateway("simulated:///provider.db")) as provider:
        assert isinstance(finished(provider.charge("o", 1, "USD")), Charge)
    refused = run("outage", "500", "--gateway", "simulated://?latency-ms=1")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "is in the memory of one process" in refused.stderr


def test_payments_are_listed_and_those_whose_refund_fails_are_told_apart(run, two_orders):
    """The order.cancelled of a charged order is parked; one behind its own charge is none, nor is a refunded one."""
    assert [each["order_id"] for each in json.loads(run("list", "--json").stdout)] == ["a", "b", "c"]
    none = run("list", "--refund-pending")
    assert (none.stdout, none.stderr) == ("", "none\n")
    park("a", OrderCancelled.topic, "RefundRefused: not before noon")
    park("b", OrderCancelled.topic, "what is refunded is refunded")
    park("unknown", OrderCancelled.topic, "it waits behind its order.created")
    [pending] = json.loads(run("list", "--refund-pending", "--json").stdout)
    assert (pending["order_id"], pending["amount"], pending["parked"]["attempts"]) == ("a", 100, 3)
    assert pending["parked"]["error"] == "RefundRefused: not before noon"
    listed = run("list", "--refund-pending").stdout
    assert re.search(r"^a +charged +1\.00 USD +parked since", listed, re.MULTILINE), listed
    assert "RefundRefused: not before noon" in run("show", "a").stdout
    assert len(json.loads(run("list", "--json").stdout)) == 3


def park(order_id, topic, error):
    url = "sqlite:///payment_service.db"
    with closing(connect(url, service=PaymentService.name, schema=SCHEMA)) as database, database.transaction() as tx:
        record = Record(Partition(topic, 0), 0, order_id.encode(), b"", 1, [])
        blocked_keys.change(tx, {}, {order_id: BlockedKey(order_id, topic, 0, 1, 1, 3, 1, 1, error)})
        blocked_keys.append(tx, [Parked(order_id, 1, record)])
