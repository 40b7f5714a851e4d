"""A key is found by how it begins or ends, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from eventbus.database import Database
from eventbus.database.short_keys import AmbiguousKey, whole_key
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey
from tests.support.things import THINGS, put, things

KEYS = ("0198-aaaa-1234", "0198-aabb-5678", "0198-ccdd-5678", "7", "77", "100%", "Ünïque-ende")


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with closing(things(database_url)) as opened:
        put(opened, *((key, "thing", 1) for key in KEYS))
        with opened.transaction() as tx:
            blocked_keys.change(tx, {}, {"0199-bl": BlockedKey("0199-bl", "a", 0, 1, 1, 1, 0, 1, "why")})
        yield opened


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("0198-aaaa-1234", "0198-aaaa-1234"),
        ("0198-aab", "0198-aabb-5678"),
        ("1234", "0198-aaaa-1234"),
        ("b-5678", "0198-aabb-5678"),
        ("7", "7"),  # whole, although another one begins with it
        ("0199", "0199-bl"),  # a key that is only blocked
        ("100%", "100%"),
        ("0198_aab", "0198_aab"),  # no pattern
        ("Ünïque", "Ünïque-ende"),
        ("ünïque", "ünïque"),
        ("-ende", "Ünïque-ende"),
        ("nothing like it", "nothing like it"),
        ("a key that is much longer than any that is there", "a key that is much longer than any that is there"),
        ("'; drop table thing; --", "'; drop table thing; --"),
    ],
)
def test_a_key_is_meant_by_its_beginning_or_its_end(db: Database, given: str, meant: str) -> None:
    """What means nothing comes back as it was given: the command then names it in its error."""
    with db.snapshot() as tx:
        assert whole_key(tx, given, THINGS) == meant


@pytest.mark.parametrize(
    ("given", "said"), [("234", "no id begins with '234'; of an id's end, type 4 characters or more"), ("", "empty id")]
)
def test_what_is_too_short_to_tell_is_refused(db: Database, given: str, said: str) -> None:
    with db.snapshot() as tx, pytest.raises(AmbiguousKey, match=said):
        whole_key(tx, given, THINGS)


def test_what_means_several_keys_is_refused_with_the_first_of_them(db: Database) -> None:
    """At most five, so that one letter does not print a million."""
    both = r"'5678' .* several ids: 0198-aabb-5678, 0198-ccdd-5678; type more"
    with db.snapshot() as tx, pytest.raises(AmbiguousKey, match=both):
        whole_key(tx, "5678", THINGS)
    put(db, *((f"x-{number}", "thing", 1) for number in range(7)))
    with db.snapshot() as tx, pytest.raises(AmbiguousKey, match=r"x-0, x-1, x-2, x-3, x-4, …; type more"):
        whole_key(tx, "x-", THINGS)
