"""`saga deadletters skip`: past what cannot be read, on record."""

from __future__ import annotations

import os
from contextlib import closing

import click

from eventbus.cli import options as cli
from eventbus.cli.connection_options import from_file, secret
from eventbus.database import Database, LostRace, check_file, connect
from eventbus.deadletters.resolutions import Statement, skipping
from eventbus.log import Partition
from eventbus.store import progress
from eventbus.store.progress import Checkpoint, Entry
from saga.deadletters.letters import Where
from saga.deadletters.options import statement_options, where_options
from saga.reader import NoSuchTopic
from saga.services import SERVICES


def reader_of(topic: str) -> str:
    """Return the one of the saga's services that reads a topic; UsageError where it is none of them, or several."""
    readers = [service.name for service in SERVICES if topic in service.subscriptions()]
    if len(readers) == 1:
        return readers[0]
    if readers:
        raise click.UsageError(f"{' and '.join(readers)} read {topic}: say with --group which of them is to go on")
    names = ", ".join(service.name for service in SERVICES)
    raise click.UsageError(f"none of {names} reads {topic}: say with --group which service is to go on")


class NothingToSkip(LookupError):
    """Nothing that cannot be read lies there, or the group is past it; nothing was changed."""


@click.command("skip")
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@click.option(
    "--group", help="The service that is to go on  [default: the one of the saga's services that reads the topic]"
)
@click.option(
    "--database",
    callback=secret,
    help="Its database  [default: <GROUP>_DATABASE from the environment, or a file here, as its workers]",
)
@where_options
@statement_options
def skip_command(where: Where, group: str | None, database: str | None, by: str, why: str, **place: str | int) -> None:
    """Let a service go on behind a batch that cannot be decompressed. To this service, what is in it is lost.

    OFFSET is where its worker says that it cannot read (`partition.paused`). The whole batch is passed by, and nothing
    else. The worker goes on within seconds, and writes who skipped what, and why, to GROUP.dead-letters.resolutions.

    Example: saga deadletters skip order.created 3 1234 --group payment-service --by ana --reason 'corrupt, INC-9'
    """
    partition, offset = Partition(str(place["topic"]), int(place["partition"])), int(place["offset"])
    group = group or reader_of(partition.topic)
    variable, default = cli.database_of(group)
    url = database or from_file(os.environ.get(variable) or default)
    check_file(f"the database of {group}", url)
    if partition.number not in where.cluster().partitions().get(partition.topic, {}):
        raise NoSuchTopic(f"there is no partition {partition}; `saga topics list` shows the saga's topics")
    statement = Statement(by, why, where.now_ms())
    with closing(connect(url, service=group, schema=None)) as opened:
        next_offset = skip(where, opened, group, (partition, offset), statement)
    click.echo(f"skipped {partition}/{offset} to {next_offset} for {group}")


def skip(where: Where, database: Database, group: str, place: tuple[Partition, int], statement: Statement) -> int:
    """Move the checkpoint past the batch at this place, with the record of it in the outbox, and return where to.

    So whoever owns the partition notices that somebody else has moved it, recovers, publishes the record together with
    its cursor, and reads on behind the batch. Raises NothingToSkip, LostRace, Unreachable.
    """
    partition, offset = place
    with database.snapshot() as tx:
        before = progress.checkpoints(tx, [partition]).get(partition)
    if before is None:
        raise NothingToSkip(f"the database of {group} knows nothing of {partition}")
    next_offset = _behind(where, partition, offset, before)
    with database.transaction() as tx:
        if progress.checkpoints(tx, [partition]).get(partition) != before:
            raise LostRace(f"{group} has moved on in {partition} meanwhile: try again if it is still paused")
        after = Checkpoint(next_offset, before.position + 1, before.epoch)
        progress.advance(tx, {partition: after})
        record = skipping(group, partition, (offset, next_offset), statement)
        progress.add(tx, {partition: Entry(after.position, [record])})
    return next_offset


def _behind(where: Where, partition: Partition, offset: int, checkpoint: Checkpoint) -> int:
    if checkpoint.next_offset > offset:
        raise NothingToSkip(
            f"{partition} is handled up to {checkpoint.next_offset}: nothing is to be skipped at {offset}"
        )
    with closing(where.probe(partition)) as probe:
        found = probe.first(checkpoint.next_offset)
        if found.why is None:
            raise NothingToSkip(f"{partition} can be read at {found.offset}, the next that is handled: nothing to skip")
        if found.offset != offset:
            raise NothingToSkip(
                f"what cannot be read of {partition} begins at {found.offset}, not {offset}: {found.why}"
            )
        return probe.end_of(offset)
