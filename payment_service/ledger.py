"""The ledger of the simulated provider: a SQLite file of its own, outside the service's database, or just memory."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence

from payment_service.books import LedgerEntry, LedgerLine, Request, forget, found, settled
from payment_service.domain import Answer, Found

LOCK_WAIT_SECONDS = 5.0
OPENING_ATTEMPTS = 50
PAGE = 1_000
LEDGER = """
create table if not exists provider_ledger (
    key text primary key,       -- the idempotency key
    charge_key text not null,   -- the key of the charge that it is about; a charge's own
    kind text not null,         -- charge, refund
    amount integer not null,    -- minor units
    currency text not null,
    outcome text not null,      -- done; declined, above limit; nothing: was not charged; void: refunded before it was
    detail text not null,       -- the provider's id of the charge, or why it was declined
    refund_key text,            -- of a refunded charge: the key of its refund
    at_ms integer not null default 0  -- when it was asked for first, ms since 1970; 0: not known
) without rowid
"""
ADD_TIME = "alter table provider_ledger add column at_ms integer not null default 0"
OUTAGE = """
create table if not exists provider_outage (
    answer text not null        -- how requests are answered while there is a row: 500, 429, nothing, or no-refunds:
                                -- refunds are refused; "500 KEY": only requests about this charge
)
"""
OF_ONE_CHARGE = "instr(answer, ' ') > 0 and substr(answer, instr(answer, ' ') + 1) = ?"
DELETE = "delete from provider_ledger where key = ?"
NO_REFUNDS = "no-refunds"
TABLES = {"provider_ledger", "provider_outage"}
COLUMNS = "kind, key, charge_key, amount, currency, outcome, detail, refund_key, at_ms"
REPLACE = f"replace into provider_ledger ({COLUMNS}) values (?,?,?,?,?,?,?,?,?)"


class NotALedger(Exception):
    """The file is not a ledger, or cannot be opened."""


class Outage(Exception):
    """The provider processes no requests now; the message says how it answers."""


class NoRefund(Outage):
    """The provider refuses to refund this charge now."""


class Ledger:
    """One connection to the ledger, used by one thread at a time; other processes may write in between.

    synchronous=FULL: a charge that was answered outlives a power failure.
    """

    def __init__(self, path: str, decline_above: int | None, key_lifetime: float | None = None) -> None:
        """Open the ledger, or create it; it forgets keys after `key_lifetime` seconds. Raises NotALedger."""
        self._decline_above, self._key_lifetime = decline_above, key_lifetime
        try:
            self._connection = sqlite3.connect(
                path, timeout=LOCK_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._prepare(path)
        except sqlite3.Error as error:
            raise NotALedger(f"{path}: {error}") from error

    def settle(self, requests: Sequence[Request]) -> list[Answer | Found | Outage]:
        """Answer all requests, in one transaction. After sqlite3.OperationalError the outcome is unknown.

        Raises Outage when no request is processed.
        """
        self._connection.execute("begin immediate")
        try:
            refused = self._refuse_in_an_outage()
            lines = self._lines(requests)
            before = dict(lines)
            now_ms = _now_ms()
            answers = [
                self._refusal(request, refused, lines) or self._settled(request, lines, now_ms) for request in requests
            ]
            self._connection.executemany(DELETE, [(key,) for key in before if key not in lines])
            changed = [_row(line) for key, line in lines.items() if before.get(key) is not line]
            self._connection.executemany(REPLACE, changed)
            self._connection.execute("commit")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise
        return answers

    def _settled(self, request: Request, lines: dict[str, LedgerLine], now_ms: int) -> Answer | Found:
        if request.kind == "find":
            return found(request, lines)
        if self._key_lifetime is not None:
            forget(request, lines, now_ms - 1_000 * self._key_lifetime)
        return settled(request, lines, self._decline_above, now_ms)

    @staticmethod
    def _refusal(request: Request, refused: dict[str, Outage], lines: dict[str, LedgerLine]) -> Outage | None:
        """Return why a request is not processed. Refunds are refused only where there is something to refund."""
        outage = refused.get(request.charge_key) or refused.get("")
        if not isinstance(outage, NoRefund):
            return outage
        charge = lines.get(request.charge_key)
        refundable = charge is not None and charge.outcome == "done" and charge.refund_key is None
        return outage if request.kind == "refund" and refundable else None

    def outage(self, answer: str | None, charge_key: str | None = None) -> None:
        """Begin an outage, for every process that uses this ledger; None ends it.

        With a key it affects only requests about this charge; without one, None ends every outage.
        """
        self._connection.execute("begin immediate")
        if charge_key is None:
            self._connection.execute("delete from provider_outage")
        else:
            self._connection.execute(f"delete from provider_outage where {OF_ONE_CHARGE}", (charge_key,))
        if answer is not None:
            row = answer if charge_key is None else f"{answer} {charge_key}"
            self._connection.execute("insert into provider_outage values (?)", (row,))
        self._connection.execute("commit")

    def entries(self) -> Iterator[LedgerEntry]:
        """Return every charge and refund, by key."""
        sql = (
            "select key, charge_key, kind, amount, currency from provider_ledger"
            f" where outcome = 'done' and key > ? order by key limit {PAGE}"
        )
        last = ""
        while rows := self._connection.execute(sql, (last,)).fetchall():
            yield from (LedgerEntry(*row) for row in rows)
            last = rows[-1][0]

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return what was charged and what was refunded, in minor units, by currency."""
        rows = self._connection.execute(
            "select currency, sum(case when kind = 'charge' then amount else 0 end),"
            " sum(case when kind = 'refund' then amount else 0 end)"
            " from provider_ledger where outcome = 'done' group by currency order by currency"
        )
        return {currency: (charged, refunded) for currency, charged, refunded in rows}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _refuse_in_an_outage(self) -> dict[str, Outage]:
        """Return the charges whose requests are not processed, "" for all. Raises Outage when none is processed."""
        refused: dict[str, Outage] = {}
        for (row,) in self._connection.execute("select answer from provider_outage").fetchall():
            answer, _, charge_key = row.partition(" ")
            outage = NoRefund(answer) if answer == NO_REFUNDS else Outage(answer)
            if not charge_key and not isinstance(outage, NoRefund):
                raise outage
            refused[charge_key] = outage
        return refused

    def _prepare(self, path: str) -> None:
        tables = {row[0] for row in self._connection.execute("select name from sqlite_master where type = 'table'")}
        if tables - TABLES or (tables and "provider_ledger" not in tables):
            raise NotALedger(f"{path} is a SQLite file of another application (tables {', '.join(sorted(tables)[:3])})")
        for attempt in range(OPENING_ATTEMPTS):
            try:
                self._connection.execute("pragma journal_mode = wal")
                break
            except sqlite3.OperationalError:
                # Two processes that open a new file at once: SQLite does not wait for the lock that this pragma takes.
                if attempt == OPENING_ATTEMPTS - 1:
                    raise
                time.sleep(0.02)
        self._connection.execute("pragma synchronous = full")
        self._connection.execute(LEDGER)
        if not self._has_time():
            self._connection.execute("begin immediate")
            if not self._has_time():  # nor has another process added it
                self._connection.execute(ADD_TIME)
            self._connection.execute("commit")
        self._connection.execute(OUTAGE)

    def _has_time(self) -> bool:
        return any(row[1] == "at_ms" for row in self._connection.execute("pragma table_info(provider_ledger)"))

    def _lines(self, requests: Sequence[Request]) -> dict[str, LedgerLine]:
        keys = {key for request in requests for key in (request.key, request.charge_key)}
        sql = f"select {COLUMNS} from provider_ledger where key in (select value from json_each(?))"
        rows = self._connection.execute(sql, (json.dumps(list(keys)),))
        return {key: LedgerLine(Request(kind, key, *rest[:3]), *rest[3:]) for kind, key, *rest in rows}


def _row(line: LedgerLine) -> tuple[str | int | None, ...]:
    asked = line.request
    terms = (asked.kind, asked.key, asked.charge_key, asked.amount, asked.currency)
    return *terms, line.outcome, line.detail, line.refund_key, line.at_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryLedger:
    """A ledger that lasts as long as its process; used by one thread at a time."""

    def __init__(self, decline_above: int | None, key_lifetime: float | None = None) -> None:
        self._decline_above, self.key_lifetime = decline_above, key_lifetime
        self._lines: dict[str, LedgerLine] = {}

    def settle(self, requests: Iterable[Request]) -> list[Answer | Found | Outage]:
        """Answer all requests."""
        return [found(each, self._lines) if each.kind == "find" else self.settle_one(each) for each in requests]

    def find(self, request: Request) -> Found:
        """Answer a search."""
        return found(request, self._lines)

    def settle_one(self, request: Request) -> Answer:
        """Answer one request that is no search."""
        now_ms = 0
        if self.key_lifetime is not None:
            now_ms = _now_ms()
            forget(request, self._lines, now_ms - 1_000 * self.key_lifetime)
        return settled(request, self._lines, self._decline_above, now_ms)

    def entries(self) -> Iterator[LedgerEntry]:
        """Return every charge and refund, by key."""
        for key, line in sorted(self._lines.items()):
            if line.outcome == "done":
                request = line.request
                yield LedgerEntry(key, request.charge_key, request.kind, request.amount, request.currency)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return what was charged and what was refunded, in minor units, by currency."""
        sums: dict[str, tuple[int, int]] = {}
        for entry in self.entries():
            charged, refunded = sums.get(entry.currency, (0, 0))
            if entry.kind == "charge":
                sums[entry.currency] = charged + entry.amount, refunded
            else:
                sums[entry.currency] = charged, refunded + entry.amount
        return dict(sorted(sums.items()))

    def close(self) -> None:
        """Do nothing: the ledger ends with the process."""
