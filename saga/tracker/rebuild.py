"""Rebuilding the tracker's database from the log; rows of records that have expired from the log are kept."""

from __future__ import annotations

from contextlib import closing

import click

from eventbus.cli import options as cli
from saga.kafka.event_topics import EventTopics
from saga.kafka.records import Ends
from saga.tracker.installed import MODEL
from saga.tracker.run import Tracking, Watch, aside, remove
from saga.tracker.source import TrackedLog
from saga.tracker.store import Lost, Store
from saga.tracker.verify import Comparison, compare


def build_anew(source: TrackedLog, store: Store, watch: Watch, cluster: str, *, verify: bool) -> None:
    """Build a second database from the beginning of the log, and replace the first with it.

    Rows of records that have expired since are copied. With `verify` both are compared with the log first. Exits, and
    leaves the first unchanged, if they differ from the log, or if the second would have less.
    """
    path = aside(store.path)
    try:
        with closing(Store(path, MODEL, cluster=cluster)) as fresh:
            fresh.note_topic_ids(source.topic_ids())
            with source.reader({}) as reader:
                tracking = Tracking(reader, source.intake(), fresh, watch, source.census())
                while not tracking.done:
                    tracking.run_once()
            topics = EventTopics(source.cluster(), MODEL.topics)
            ends, starts = topics.ends(), topics.starts()
            _check_partitions(store, fresh, ends)
            if verify:
                _verify(source, store, fresh, starts, ends)
            lost = fresh.take_over(store, starts)
            if lost:
                _keep(store, lost)
            store.replace_with(fresh)
    finally:
        remove(path)


def _check_partitions(store: Store, fresh: Store, ends: Ends) -> None:
    missing = sorted(f"{topic}/{number}" for topic, number in ends.keys() - fresh.positions().keys())
    if missing:
        cli.fail(f"{', '.join(missing)} was added while {store.path} was rebuilt: nothing is replaced, run it again")


def _verify(source: TrackedLog, store: Store, fresh: Store, starts: Ends, ends: Ends) -> None:
    config = source.client_config()
    old, new = compare(config, source.intake(), starts, ends, [store, fresh])
    for comparison, what in ((old, str(store.path)), (new, "the rebuilt database")):
        if comparison.different:
            more = comparison.different - len(comparison.first)
            shown = "\n  ".join([*comparison.first, *([f"... and {more} more"] if more else [])])
            cli.fail(f"{what} differs from the log; {store.path} is left unchanged:\n  {shown}")
    click.echo(_verified(old, store))


def _verified(found: Comparison, store: Store) -> str:
    said = f"verified: {found.records} records in {store.path} match the log"
    if found.unread:
        said += f"; {found.unread} more had not been read yet"
    if found.expired:
        said += f"; {found.expired} rows of records that have expired from the log are kept"
    return said


def _keep(store: Store, lost: list[Lost]) -> None:
    """Keep the database under another name if the log was recreated; exit if records were left out."""
    named = ", ".join(f"{each.partition} ({each.rows} rows)" for each in lost)
    if not all(each.made_again for each in lost):
        cli.fail(
            f"{store.path} has events of {named} that were not read from the log, and have not expired: it is left"
            " unchanged. Run --rebuild again; to start without them, move the file away first"
        )
    kept = store.keep()
    click.echo(
        f"{named}: the log has other records in their place, because the topic was deleted and recreated."
        f" The old rows are kept in {kept}",
        err=True,
    )
