"""Whether a database is older than the log, by what Kafka knows of it."""

from __future__ import annotations

import pytest

from eventbus.log import CommittedOffset, Partition
from eventbus.store.age import DatabaseTooOld, Evidence, Row, check_age

PING = Partition("ping", 0)


def judge(row: Row, cursor: CommittedOffset, witness: CommittedOffset | None) -> None:
    """The topic `ping` is `new` now."""
    witnesses = {PING: witness} if witness else {}
    check_age({PING: row}, "db", Evidence({PING: cursor}, witnesses), ["ping"], lambda _topic: "new")


def test_a_cursor_of_a_topic_that_was_deleted_says_nothing_about_offsets_of_the_new_one() -> None:
    """A worker may commit one before it notices, after Kafka has forgotten those of before. Who mended the checkpoint
    by the statement that workers say is not told that his database is old."""
    judge(Row(0, 530, "new"), CommittedOffset(182, 530), CommittedOffset(182, 530, "db", "old"))


@pytest.mark.parametrize(
    ("row", "cursor", "witness"),
    [
        (Row(0, 529, "new"), CommittedOffset(182, 530), CommittedOffset(182, 530, "db", "old")),
        (Row(0, 530, "new"), CommittedOffset(183, 531), CommittedOffset(182, 530, "db", "old")),
        (Row(0, 530, "new"), CommittedOffset(182, 530), CommittedOffset(182, 530, "db", "new")),
        (Row(0, 530, "old"), CommittedOffset(182, 530), CommittedOffset(182, 530, "db", "old")),
        (Row(0, 530, "new"), CommittedOffset(182, 530), None),
    ],
    ids=["answers that it lacks", "committed later", "of the new topic", "not mended", "no witness"],
)
def test_any_other_cursor_that_is_ahead_does(
    row: Row, cursor: CommittedOffset, witness: CommittedOffset | None
) -> None:
    """The database is older than the log."""
    with pytest.raises(DatabaseTooOld):
        judge(row, cursor, witness)
