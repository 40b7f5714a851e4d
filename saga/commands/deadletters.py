"""`saga deadletters list | show | redrive | discard | skip`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from itertools import islice
from typing import Any, TypeVar, cast

import click

from eventbus.cli import options as cli
from eventbus.cli.connection_options import from_file, secret
from eventbus.cli.help import CommandGroup
from eventbus.database import check_file, connect
from eventbus.deadletters.resolutions import DISCARD, REDRIVE, AuditNote
from eventbus.log import Partition
from eventbus.text.json_form import to_json
from eventbus.text.plural import plural
from saga.commands.exits import exit_cleanly
from saga.commands.options import statement_options, where_options
from saga.deadletters.letters import STATUS, LetterTarget, groups, letters_of, resolutions_of
from saga.deadletters.resolve import ResolveRequest, resolve
from saga.deadletters.selection import LetterSelection, selecting
from saga.deadletters.skip import reader_of, skip
from saga.declared import registry
from saga.kafka.decode import Decoder
from saga.kafka.describe import describe
from saga.kafka.reader import NoSuchTopic

F = TypeVar("F", bound=Callable[..., Any])


limit_option = click.option("--limit", type=click.IntRange(1), help="The maximum number to print.")


@click.group("deadletters", cls=CommandGroup, context_settings=cli.CONTEXT)
def deadletters_command() -> None:
    """List, show, redrive, discard and skip dead letters; every decision is kept on record.

    Example: saga deadletters list --group payment-service
    """


@deadletters_command.command("list")
@where_options
@selecting
@click.option("--all", "every", is_flag=True, help="Include those that were redriven or discarded.")
@limit_option
@cli.as_json
def list_command(
    where: LetterTarget, selection: LetterSelection, every: bool, limit: int | None, as_json: bool
) -> None:
    """List dead letters: the address of each, its original record, its attempts, since when, and why.

    With --all also what was decided about it, when, by whom, and why.

    Example: saga deadletters list --where reason=contradiction --json
    """
    rows = islice(_rows(where, selection, every=every), limit)
    with exit_cleanly():
        if as_json:
            cli.print_json(list(rows))
            return
        for row in rows:
            click.echo(_line(row))


def _line(row: dict[str, Any]) -> str:
    tried = f"{plural(row['attempts'], 'attempt')}, the first at {row['first']}"
    decided = "" if row["by"] is None else f" {row['resolved']} by {row['by']}: {row['why']}"
    return f"{row['letter']}  {row['status']}{decided}  {row['record']}  {tried}  {row['reason']}: {row['error']}"


def _rows(where: LetterTarget, selection: LetterSelection, *, every: bool) -> Iterator[dict[str, Any]]:
    for group in selection.groups(lambda: groups(where)):
        resolved = resolutions_of(where, group)
        for letter in selection.of(letters_of(where, group)):
            if every or letter.address not in resolved:
                yield letter.described(resolved.get(letter.address))


@deadletters_command.command("show")
@click.argument("letter")
@where_options
@cli.schema_registry_url
def show_command(letter: str, where: LetterTarget, schema_registry_url: str | None) -> None:
    """Show one dead letter as JSON: the fields of `list`, and its headers and value as `saga tail` prints them.

    Example: saga deadletters show payment-service.dead-letters/3/17
    """
    selection = LetterSelection.named(letter)
    [group] = selection.groups(list)
    found = selection.found(letters_of(where, group))[0]
    decoder = Decoder(registry(schema_registry_url))
    described: dict[str, Any] = {**describe(found.record, decoder)}
    shown: dict[str, Any] = {
        name: described[name] for name in ("headers", "value", "value_base64", "error") if name in described
    }
    if "error" in shown:
        shown["value_error"] = shown.pop("error")
    click.echo(to_json(found.described(resolutions_of(where, group).get(found.address)) | shown))


def _resolving(action: str) -> Callable[[F], F]:
    """Return the decorator with the options of `redrive` and `discard`; they are called with a ResolveRequest."""

    def decorate(command: F) -> F:
        @wraps(command)
        def with_order(*, everything: bool, dry_run: bool, as_json: bool, **what: Any) -> Any:
            order = ResolveRequest(action=action, **what)
            if not (order.selection.addresses or order.selection.tests or everything):
                raise click.UsageError("no dead letters selected: give LETTERs, --where, or --all")
            return command(order, dry_run=dry_run, as_json=as_json)

        options = (
            where_options,
            selecting,
            click.option("--all", "everything", is_flag=True, help="All open dead letters."),
            limit_option,
            cli.dry_run,
            statement_options,
            cli.as_json,
        )
        decorated: Any = with_order
        for option in reversed(options):
            decorated = option(decorated)
        return cast("F", decorated)

    return decorate


@deadletters_command.command("redrive")
@_resolving(REDRIVE)
def redrive_command(order: ResolveRequest, dry_run: bool, as_json: bool) -> None:
    """Have dead letters handled again by the service that refused them, each once, with the same validation.

    Fix the cause first: a record that is still bad becomes a new dead letter, with one more attempt. Prints one line
    for each. If it was interrupted, run it again: it skips dead letters that were redriven.

    Example: saga deadletters redrive --where error=currency --limit 1000 --by ana --reason 'rates fixed, INC-7'
    """
    _say(order, dry_run=dry_run, as_json=as_json)


@deadletters_command.command("discard")
@_resolving(DISCARD)
def discard_command(order: ResolveRequest, dry_run: bool, as_json: bool) -> None:
    """Discard dead letters: they are not handled, and are no longer open. Prints one line for each.

    Example: saga deadletters discard payment-service.dead-letters/3/17 --by ana --reason 'a load test'
    """
    _say(order, dry_run=dry_run, as_json=as_json)


def _say(order: ResolveRequest, *, dry_run: bool, as_json: bool) -> None:
    said = ("would be " if dry_run else "") + STATUS[order.action]
    count = 0
    for letter in resolve(order, dry_run=dry_run, tell=lambda what: click.echo(what, err=True)):
        count += 1
        if as_json:
            click.echo(to_json(letter.described(None) | {"status": said}))
        else:
            does = f"would {order.action}" if dry_run else said
            click.echo(f"{does} {letter.address} ({letter.original}, {letter.said.get('dlq_reason')})")
    again = order.action == REDRIVE and count and not dry_run
    hint = "; what fails again is a new dead letter, see `saga deadletters list`" if again else ""
    click.echo(f"{count} {said}{hint}", err=True)


@deadletters_command.command("skip")
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@click.option(
    "--group",
    callback=cli.not_empty,
    help="The service to resume  [default: the one of the saga's services that reads the topic]",
)
@click.option(
    "--database",
    callback=secret,
    help="Its database  [default: <GROUP>_DATABASE from the environment, or a file here, as its workers]",
)
@where_options
@statement_options
def skip_command(
    where: LetterTarget, group: str | None, database: str | None, by: str, why: str, **place: str | int
) -> None:
    """Skip a batch that a service cannot decompress. The records in it are lost to this service.

    OFFSET is the one that its worker logs as unreadable (`partition.paused`). Exactly that batch is skipped. The worker
    resumes within seconds, and writes who skipped what, and why, to GROUP.dead-letters.resolutions.

    Example: saga deadletters skip order.created 3 1234 --group payment-service --by ana --reason 'corrupt, INC-9'
    """
    partition, offset = Partition(str(place["topic"]), int(place["partition"])), int(place["offset"])
    group = group or reader_of(partition.topic)
    variable, default = cli.database_of(group)
    url = database or from_file(os.environ.get(variable) or default)
    check_file(f"the database of {group}", url)
    if partition.number not in where.cluster().partitions().get(partition.topic, {}):
        raise NoSuchTopic(f"the partition {partition} does not exist; `saga topics list` lists the saga's topics")
    statement = AuditNote(by, why, where.now_ms())
    with closing(connect(url, service=group, schema=None)) as opened:
        next_offset = skip(where, opened, group, (partition, offset), statement)
    click.echo(f"skipped {partition}/{offset} to {next_offset} for {group}")
