"""The simulated provider keeps the promises that the payment service builds on."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from eventbus import TryAgain
from eventbus.service import finished
from payment_service.books import LedgerEntry, Request
from payment_service.domain import Charge, Conflict, Declined, NothingTaken, Refund, RefundRefused
from payment_service.gateway import BadGateway, open_gateway, set_outage
from payment_service.ledger import Ledger
from payment_service.service import PaymentService
from payment_service.simulated import Behaviour, SimulatedProvider
from tests.support.saga.processes import PATIENCE


def charge(provider, *arguments):
    return finished(provider.charge(*arguments))


def refund(provider, *arguments):
    return finished(provider.refund(*arguments))


def together(*requests):
    """Return the answers, or exceptions, of requests that are made at once."""

    async def gathered():
        return await asyncio.gather(*requests, return_exceptions=True)

    return asyncio.run(gathered())


@pytest.fixture
def url(tmp_path):
    return f"simulated:///{tmp_path}/provider.db"


@pytest.fixture(params=["file", "memory"])
def provider(url, request):
    place = url if request.param == "file" else "simulated://"
    provider = open_gateway(f"{place}?decline-above=10000")
    yield provider
    provider.close()


def test_the_same_key_has_the_same_result_and_takes_the_money_once(provider):
    """A question asked again is answered again, without a second effect."""
    first = charge(provider, "o", 2933, "USD")
    assert isinstance(first, Charge)
    assert charge(provider, "o", 2933, "USD") == first
    assert list(provider.entries()) == [LedgerEntry("o", "o", "charge", 2933, "USD")]


def test_a_refund_gives_back_once_and_names_the_charge(provider):
    """The refund's own key makes it idempotent too."""
    charged = charge(provider, "o", 2933, "USD")
    for _ in range(2):
        assert refund(provider, "refund/o", "o", 2933, "USD") == Refund(charged.payment_id)
    assert charge(provider, "o", 2933, "USD") == charged
    assert provider.totals() == {"USD": (2933, 2933)}
    assert {(e.order_id, e.kind, e.amount) for e in provider.entries()} == {
        ("o", "charge", 2933),
        ("o", "refund", 2933),
    }


def test_amounts_above_the_limit_are_declined_and_move_nothing(provider):
    """The limit itself is still taken; a declined charge can be asked for again and given back: nothing moves."""
    assert isinstance(charge(provider, "at", 10_000, "USD"), Charge)
    declined = charge(provider, "above", 10_001, "USD")
    assert declined == Declined("declined: 100.01 USD is above the limit of 100.00 USD", "LIMIT_EXCEEDED")
    assert charge(provider, "above", 10_001, "USD") == declined
    assert refund(provider, "refund/above", "above", 10_001, "USD") == NothingTaken()
    assert provider.totals() == {"USD": (10_000, 0)}


def test_a_decision_outlives_the_limit_it_was_made_by(url):
    """Idempotency is older than the terms: a repeated question does not take what was declined."""
    strict, generous = open_gateway(f"{url}?decline-above=1"), open_gateway(url)
    declined = charge(strict, "o", 2, "USD")
    assert charge(generous, "o", 2, "USD") == declined
    strict.close()
    generous.close()


@pytest.mark.parametrize(("amount", "currency"), [(2934, "USD"), (2933, "EUR")])
def test_the_same_key_with_other_parameters_is_a_conflict(provider, amount, currency):
    """A key stands for one amount of one currency, of charges and of refunds."""
    charge(provider, "o", 2933, "USD")
    conflict = charge(provider, "o", amount, currency)
    assert isinstance(conflict, Conflict)
    assert "29.33 USD" in conflict.detail
    assert isinstance(refund(provider, "refund/o", "o", amount, currency), Conflict)
    assert isinstance(refund(provider, "o", "o", 2933, "USD"), Conflict)
    assert isinstance(refund(provider, "refund/o", "o", 2933, "USD"), Refund)
    assert isinstance(refund(provider, "refund/o", "o", amount, currency), Conflict)
    assert provider.totals() == {"USD": (2933, 2933)}


def test_no_charge_is_given_back_twice(provider):
    """A second refund under another key is refused."""
    charge(provider, "o", 2933, "USD")
    refund(provider, "refund/o", "o", 2933, "USD")
    assert isinstance(refund(provider, "again/o", "o", 2933, "USD"), Conflict)
    assert provider.totals() == {"USD": (2933, 2933)}


def test_refunds_are_refused_for_a_while_and_everything_else_is_answered(url):
    """Only what can be refunded is refused, of one charge or of all; afterwards it is refunded once."""
    provider = open_gateway(url)
    for key in ("a", "b"):
        charge(provider, key, 1, "USD")
    set_outage(url, "no-refunds", "a")
    with pytest.raises(RefundRefused, match="refuses to refund a"):
        refund(provider, "refund/a", "a", 1, "USD")
    assert isinstance(refund(provider, "refund/b", "b", 1, "USD"), Refund)
    set_outage(url, "no-refunds", None)
    assert refund(provider, "refund/c", "c", 1, "USD") == NothingTaken()
    assert isinstance(charge(provider, "d", 1, "USD"), Charge)
    assert isinstance(refund(provider, "refund/b", "b", 1, "USD"), Refund), "what was refunded is said again"
    with pytest.raises(RefundRefused):
        refund(provider, "refund/a", "a", 1, "USD")
    set_outage(url, None, None)
    assert isinstance(refund(provider, "refund/a", "a", 1, "USD"), Refund)
    assert provider.totals() == {"USD": (3, 2)}
    provider.close()


def test_a_ledger_of_an_earlier_release_is_used_on(tmp_path, url):
    """It gets the column that tells when a key was used; what was charged before is never forgotten."""
    with closing(sqlite3.connect(tmp_path / "provider.db")) as old:
        columns = (
            "charge_key text, kind text, amount integer, currency text, outcome text, detail text, refund_key text"
        )
        old.execute(f"create table provider_ledger (key text primary key, {columns}) without rowid")
        old.execute("insert into provider_ledger values ('o', 'o', 'charge', 1, 'USD', 'done', 'ch_1', null)")
        old.commit()
    provider = open_gateway(f"{url}?key-lifetime-s=0.001")
    time.sleep(0.01)
    assert charge(provider, "o", 1, "USD") == Charge("ch_1")
    assert provider.totals() == {"USD": (1, 0)}
    provider.close()


def test_a_charge_that_comes_after_its_refund_takes_nothing(provider):
    """A request that was still on its way when the order was cancelled must not take money nobody gives back."""
    assert refund(provider, "refund/o", "o", 2933, "USD") == NothingTaken()
    assert charge(provider, "o", 2933, "USD") == Declined("declined: the charge was refunded before it was made")
    assert refund(provider, "refund/o", "o", 2933, "USD") == NothingTaken()
    assert provider.totals() == {}


def test_a_failure_leaves_no_trace(url):
    """failure-rate: refused before anything happened."""
    provider = open_gateway(f"{url}?failure-rate=1")
    with pytest.raises(TryAgain):
        charge(provider, "o", 1, "USD")
    assert list(provider.entries()) == []


def test_a_lost_reply_is_of_a_charge_that_happened(url):
    """lose-reply-rate: the effect happens; asked for again with the same key, it has happened once."""
    forgetful, reliable = open_gateway(f"{url}?lose-reply-rate=1"), open_gateway(url)
    for _ in range(2):
        with pytest.raises(TryAgain):
            charge(forgetful, "o", 1, "USD")
    assert reliable.totals() == {"USD": (1, 0)}
    with pytest.raises(TryAgain):
        refund(forgetful, "refund/o", "o", 1, "USD")
    assert reliable.totals() == {"USD": (1, 1)}
    assert isinstance(refund(reliable, "refund/o", "o", 1, "USD"), Refund)
    assert reliable.totals() == {"USD": (1, 1)}


@pytest.mark.parametrize(
    ("answer", "said"), [("500", "answers 500"), ("429", "answers 429"), ("nothing", "has not answered for 0.01 s")]
)
def test_an_outage_begins_and_ends_for_every_process_and_leaves_no_trace(url, answer, said):
    """What was asked meanwhile has not happened; what was known before is known afterwards."""
    provider = open_gateway(f"{url}?timeout-ms=10")
    before = charge(provider, "before", 1, "USD")
    set_outage(url, answer, None)
    for key in ("before", "meanwhile"):
        with pytest.raises(TryAgain, match=said):
            charge(provider, key, 1, "USD")
    set_outage(url, None, None)
    assert provider.totals() == {"USD": (1, 0)}
    assert charge(provider, "before", 1, "USD") == before
    assert isinstance(charge(provider, "meanwhile", 1, "USD"), Charge)


def test_an_outage_of_one_order_is_none_for_the_others(url):
    """Its charge and its refund are not looked at, all others are; each such outage ends by itself or with all."""
    provider = open_gateway(url)
    for key in ("a", "b"):
        set_outage(url, "500", key)
    refused, also_refused, charged = together(*(provider.charge(key, 1, "USD") for key in "abc"))
    assert isinstance(charged, Charge)
    assert str(refused) == str(also_refused) == "the provider answers 500"
    with pytest.raises(TryAgain):
        refund(provider, "refund/a", "a", 1, "USD")
    set_outage(url, None, "a")
    assert isinstance(charge(provider, "a", 1, "USD"), Charge)
    with pytest.raises(TryAgain):
        charge(provider, "b", 1, "USD")
    set_outage(url, None, None)
    assert isinstance(charge(provider, "b", 1, "USD"), Charge)


def test_rates_are_rates_and_a_seed_repeats_them(url):
    """Some calls fail and some do not, the same ones for the same seed."""

    def failures(seed):
        provider, failed = open_gateway(f"{url}?failure-rate=0.5&seed={seed}"), []
        for number in range(40):
            try:
                charge(provider, f"{seed}/{number}", 1, "USD")
            except TryAgain:
                failed.append(number)
        provider.close()
        return failed

    first = failures(1)
    assert 5 < len(first) < 35
    assert failures(1) == first
    assert failures(2) != first


def test_many_threads_asking_for_the_same_orders_take_each_once():
    """The provider in memory settles one request after the other, whichever thread asks."""
    provider = open_gateway("simulated://")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: request(provider, number), range(400)))
    _takes_each_once(provider, answers)


def test_many_requests_at_once_about_the_same_orders_take_each_once(url):
    """Requests that are settled together keep their own answers, conflicts among them."""
    provider = open_gateway(url)
    _takes_each_once(provider, together(*(request(provider, number) for number in range(400))))
    provider.close()


def request(provider, number):
    return provider.charge(f"o{number % 50}", number % 50 + (1 if number >= 390 else 0), "EUR")


def _takes_each_once(provider, answers):
    charges = [set(answers[order:390:50]) for order in range(50)]
    assert all(len(same) == 1 and isinstance(*same, Charge) for same in charges)
    assert len(set.union(*charges)) == 50
    assert all(isinstance(answer, Conflict) for answer in answers[390:])
    assert [entry.key for entry in provider.entries()] == sorted(f"o{number}" for number in range(50))


def test_requests_made_at_once_are_one_transaction(tmp_path):
    """A ledger in a file waits for the disk once for all of them."""
    ledger = CountingLedger(str(tmp_path / "provider.db"), None)
    provider = SimulatedProvider(ledger)
    answers = together(*(provider.charge(f"o{number}", 1, "USD") for number in range(1_000)))
    assert {type(answer) for answer in answers} == {Charge}
    assert ledger.transactions == [1_000]
    provider.close()


class CountingLedger(Ledger):
    def __init__(self, path, decline_above):
        super().__init__(path, decline_above)
        self.transactions = []

    def settle(self, requests):
        self.transactions.append(len(requests))
        return super().settle(requests)


def test_a_charge_that_was_answered_is_on_the_disk(tmp_path):
    """synchronous=FULL: a power failure forgets no charge."""
    ledger = Ledger(str(tmp_path / "provider.db"), None)
    assert ledger._connection.execute("pragma synchronous").fetchone() == (2,)
    assert ledger._connection.execute("pragma journal_mode").fetchone() == ("wal",)
    ledger.close()


def test_a_request_that_is_cancelled_leaves_the_others_their_answers(url):
    """Nobody waits for it any more; those that were settled with it are answered."""
    provider = open_gateway(url)

    async def cancelled():
        asked = [asyncio.ensure_future(provider.charge(f"o{number}", 1, "USD")) for number in range(3)]
        await asyncio.sleep(0)
        asked[0].cancel()
        return await asyncio.gather(*asked, return_exceptions=True)

    gone, *answered = asyncio.run(cancelled())
    assert isinstance(gone, asyncio.CancelledError)
    assert [type(answer) for answer in answered] == [Charge, Charge]
    provider.close()


ASK = """
import sys
from eventbus.service import finished
from payment_service.gateway import open_gateway
provider = open_gateway(sys.argv[1])
for number in range(100):
    print(finished(provider.charge(f"o{number}", number, "USD")).payment_id)
"""


def test_many_processes_share_one_new_ledger(url, tmp_path):
    """Processes that start at once, on a file that does not exist yet, all get the same answers."""
    command = [sys.executable, "-c", ASK, url]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=PATIENCE) for process in asking]
    assert [errors for _, errors in said] == [""] * 4
    assert len({out for out, _ in said}) == 1
    assert open_gateway(url).totals() == {"USD": (sum(range(100)), 0)}


def test_a_group_that_cannot_be_written_is_not_half_written(tmp_path):
    """A ledger that is locked or broken means TryAgain, and nothing of the group has happened."""
    path = f"{tmp_path}/provider.db"
    ledger = Ledger(path, decline_above=None)
    with sqlite3.connect(path) as other:
        other.execute(
            "create trigger stop before insert on provider_ledger when new.key = 'bad' begin"
            " select raise(abort, 'no space'); end"
        )
    with pytest.raises(sqlite3.DatabaseError):
        ledger.settle([Request("charge", key, key, 1, "USD") for key in ("good", "bad")])
    assert list(ledger.entries()) == []
    assert ledger.settle([Request("charge", "good", "good", 1, "USD")]) != []
    ledger.close()


def test_a_ledger_that_fails_means_the_outcome_is_asked_for_again(tmp_path):
    """The service hears TryAgain, never SQLite's own errors."""
    provider = open_gateway(f"simulated:///{tmp_path}/provider.db")
    with sqlite3.connect(tmp_path / "provider.db") as other:
        other.execute("drop table provider_ledger")
    with pytest.raises(TryAgain, match="the provider's ledger is unavailable"):
        charge(provider, "o", 1, "USD")


def test_no_request_waits_for_a_ledger_that_fails_otherwise(tmp_path):
    """Whatever is raised, everybody is told that the outcome is not known."""
    provider = SimulatedProvider(Ledger(str(tmp_path / "provider.db"), None))
    answers = together(*(provider.charge(f"o{number}", 2**70, "USD") for number in range(3)))
    assert [type(answer) for answer in answers] == [TryAgain] * 3
    assert isinstance(charge(provider, "o", 1, "USD"), Charge)
    provider.close()


@pytest.mark.parametrize("place", ["simulated://", "simulated:///:memory:"])
def test_books_in_memory_leave_no_file_and_are_nobody_elses(place, tmp_path, monkeypatch):
    """Two providers in memory know nothing of each other, behave as the URL says, and write nowhere."""
    monkeypatch.chdir(tmp_path)
    one, other = open_gateway(place), open_gateway(f"{place}?lose-reply-rate=1")
    charge(one, "o", 2933, "USD")
    assert other.totals() == {}
    with pytest.raises(TryAgain):
        charge(other, "o", 5, "USD")
    assert (one.totals(), other.totals()) == ({"USD": (2933, 0)}, {"USD": (5, 0)})
    assert list(tmp_path.iterdir()) == []


BAD = {
    "sqlite:///p.db": "is not simulated:///FILE",
    "simulated:///": "is not simulated:///FILE",
    "simulated://host/p.db": "is not simulated:///FILE",
    "simulated:///p.db?declineabove=1": "no parameter 'declineabove'; its parameters are decline-above, latency-ms",
    "simulated:///p.db?decline-above=1.5": "decline-above is '1.5'",
    "simulated:///p.db?decline-above=": "decline-above is ''",
    "simulated:///p.db?decline-above=-1": "decline-above is -1",
    "simulated:///p.db?latency-ms=-1": "latency-ms is -1",
    "simulated:///p.db?latency-ms=inf": "latency-ms is inf",
    "simulated:///p.db?timeout-ms=-1": "timeout-ms is -1",
    "simulated:///p.db?failure-rate=1.1": "failure-rate is 1.1",
    "simulated:///p.db?failure-rate=nan": "failure-rate is nan",
    "simulated:///p.db?lose-reply-rate=-0.1": "lose-reply-rate is -0.1",
    "simulated:///p.db?seed=1&seed=2": "seed is given twice",
    "simulated:///no/such/folder/p.db": "cannot be used",
}


@pytest.mark.parametrize("url", BAD)
def test_a_bad_url_is_refused_with_what_is_wrong(url, tmp_path, monkeypatch):
    """Unknown parameters and values out of range name themselves, and no file is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadGateway) as refused:
        open_gateway(url)
    assert BAD[url] in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else_is_no_ledger(tmp_path):
    """The provider's books are outside the service's database: naming that is refused, and it stays as it was."""
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table payment (order_id text)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(BadGateway, match="another application"):
        open_gateway(f"simulated:///{tmp_path}/other.db")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be one " * 20)
    with pytest.raises(BadGateway, match="not a database"):
        open_gateway(f"simulated:///{tmp_path}/text.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_every_parameter_reaches_the_provider(url):
    """The URL says all of the behaviour."""
    provider = open_gateway(
        f"{url}?decline-above=5&latency-ms=1.5&failure-rate=0.25&lose-reply-rate=0.5&seed=3&timeout-ms=7"
    )
    assert provider.behaviour == Behaviour(5, 1.5, 0.25, 0.5, 3, 7)


@pytest.mark.parametrize(
    ("place", "style"),
    [
        ("simulated://", "inline"),
        ("simulated://?decline-above=1", "inline"),
        ("simulated://?latency-ms=1", "async"),
        ("simulated://?lose-reply-rate=0.1", "together"),
        ("simulated:///provider.db", "together"),
        ("simulated:///provider.db?latency-ms=1", "async"),
    ],
)
def test_only_a_provider_that_cannot_keep_its_caller_waiting_is_called_inline(place, style, tmp_path, monkeypatch):
    """A worker that waits in a call reads nothing meanwhile."""
    monkeypatch.chdir(tmp_path)
    assert PaymentService(open_gateway(place)).call_style == style


def test_requests_to_a_slow_provider_wait_at_the_same_time():
    """A hundred answers after a tenth of a second each are there after little more than that."""
    provider, started = open_gateway("simulated://?latency-ms=100"), time.monotonic()
    answers = together(*(provider.charge(f"o{number}", 1, "USD") for number in range(100)))
    assert 0.1 <= time.monotonic() - started < 5
    assert {type(answer) for answer in answers} == {Charge}
