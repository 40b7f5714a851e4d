"""`<service> parked …`: shows blocked keys; retries or discards their parked records, with an audit record."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from inspect import getdoc
from typing import Any

import click

from eventbus.cli.completion import complete_keys
from eventbus.cli.help import CommandGroup
from eventbus.cli.options import (
    as_json,
    by,
    database_option,
    dry_run,
    fail,
    print_json,
    reason,
    registry,
    schema_registry_url,
    tests_of,
)
from eventbus.database import Database, Transaction, existing, retry_on_conflict
from eventbus.database.schema_version import Schema
from eventbus.database.short_keys import whole_key
from eventbus.engine.config import EngineConfig
from eventbus.engine.delivery import decode
from eventbus.event import Event
from eventbus.log import Record, to_iso
from eventbus.serde.codec import Codec
from eventbus.serde.registry import RegistryUnavailable, UnknownSchema
from eventbus.service import Service, by_topic, deadline_reactions
from eventbus.store import blocked_keys, interventions
from eventbus.store.blocked_keys import BlockedKey
from eventbus.store.interventions import Actor, Intervention, OfADeadline
from eventbus.text.plural import plural
from eventbus.text.redaction import redact

SHOWN_RECORDS = 1_000
FIELDS = ("error", "topic", "key")
Act = Callable[[Transaction, str], list[Intervention]]


def parked_commands(service: type[Service[Any]], schema: Schema | str) -> click.Group:
    """Return the group of commands about a service's parked records."""
    commands = _ParkedCommands(service, schema)
    program = f"{service.name} parked"
    group = CommandGroup(
        "parked", help=f"Show keys on which a handler failed; retry or discard their events.\n\nExample: {program} list"
    )
    reports = [
        click.Command("list", params=[_where()], callback=commands.list),
        click.Command("show", params=[_key(service, ["key"])], callback=commands.show),
        click.Command("history", callback=commands.history),
    ]
    acts = [
        click.Command("retry", params=_which(service), callback=commands.retry),
        click.Command("discard", params=[*_which(service), _everything()], callback=commands.discard),
    ]
    for command in acts:
        for option in (dry_run, by, reason):
            option(command)
    for command in (*reports, *acts):
        database_option(service.name)(command)
    for command in reports:
        as_json(command)
    schema_registry_url(reports[1])
    for command in (*reports, *acts):
        text, _, example = (getdoc(command.callback) or "").partition("Example: ")
        command.help = f"{text.rstrip()}\n\nExample: {program} {example.strip()}"
        group.add_command(command)
    return group


def parked_here(tx: Transaction, key: str) -> dict[str, Any] | None:
    """Return the report on a key that is blocked in this database; None if it is not."""
    known = blocked_keys.blocking(tx, [key]).get(key)
    return None if known is None else as_dict(known)


def parked_with(tx: Transaction, topic: str) -> list[dict[str, Any]]:
    """Return the reports on the keys of which a record of this topic is parked."""
    return [as_dict(each) for each in blocked_keys.waiting(tx, topic)]


def as_dict(known: BlockedKey) -> dict[str, Any]:
    """Return a blocked key for JSON.

    Times in ISO 8601, UTC. `retry_at` is now, if it was written by a clock that was wrong.
    """
    now_ms = _now_ms()
    known_time = 0 < known.retry_at_ms <= now_ms + round(1_000 * EngineConfig().retry_most)
    return {
        "key": known.key,
        "records": known.records,
        "since": to_iso(known.since_ms),
        "attempts": known.attempts,
        "retry_at": to_iso(known.retry_at_ms if known_time else now_ms),
        "partition": str(known.owner),
        "error": known.error,
    }


def parked_line(parked: dict[str, Any]) -> str:
    """Return the same as a line of text."""
    tried = f"tried {plural(parked['attempts'], 'time')}, next at {parked['retry_at']}"
    ahead = " (by a clock that was ahead)" if parked["since"] > to_iso(_now_ms()) else ""
    since = f"parked since {parked['since']}{ahead}"
    return f"{since}, {plural(parked['records'], 'record')}, {tried}: {parked['error'] or 'waiting for a retry'}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _ParkedCommands:
    def __init__(self, service: type[Service[Any]], schema: Schema | str) -> None:
        self._service, self._schema = service, schema

    def list(self, where: tuple[tuple[str, str], ...], database: str, as_json: bool) -> None:
        """List the blocked keys: since when, how many records are parked, how often they were tried, and why.

        Example: list --where error=IntegrityError
        """
        with self._open(database) as opened, opened.snapshot() as tx:
            found = [as_dict(each) for each in interventions.blocked(tx, where)]
        if as_json:
            print_json(found)
        else:
            for each in found:
                click.echo(f"{each['key']}  {parked_line(each)}")
        if not found:
            _report_none(database, where)

    def show(self, key: str, database: str, as_json: bool, schema_registry_url: str | None) -> None:
        """Show one blocked key and its parked events, in sequence.

        Example: show 01980c4e
        """
        with self._open(database) as opened, opened.snapshot() as tx:
            key = whole_key(tx, key)
            known = blocked_keys.blocking(tx, [key]).get(key)
            waiting = blocked_keys.records(tx, known, SHOWN_RECORDS) if known else []
        if known is None:
            fail(f"the key {key} is not blocked in {redact(database)}")
        events = self._service.events()
        try:
            codec = Codec(registry(schema_registry_url, events), events)
            records = [self._described(codec, record) for _, _, record in waiting]
        except (UnknownSchema, RegistryUnavailable) as error:
            fail(str(error))
        if as_json:
            plain = [each | {"event": _as_plain(each["event"])} for each in records]
            print_json({**as_dict(known), "waiting": plain})
            return
        click.echo(f"{key}  {parked_line(as_dict(known))}")
        for record in records:
            click.echo(f"{record['address']}  {record['timestamp']}  {_as_text(record['event'])}")

    def history(self, database: str, as_json: bool) -> None:
        """Show which events were retried or discarded, by whom, and why.

        Example: history --json
        """
        with self._open(database) as opened, opened.snapshot() as tx:
            notes = interventions.history(tx)
        if as_json:
            print_json([{**note._asdict(), "at_ms": to_iso(note.at_ms)} for note in notes])
        else:
            for note in notes:
                click.echo(_as_line(note))
        if not notes:
            click.echo(f"nothing was retried or discarded in {redact(database)}", err=True)

    def retry(self, **options: Any) -> None:
        """Have the workers retry blocked keys now, not only at their next retry time.

        Example: retry --where error=IntegrityError --limit 100 --by ada --reason 'fixed, INC-7'
        """
        who = _actor(options)
        self._each(lambda tx, key: interventions.retry(tx, key, who), **options)

    def discard(self, everything: bool, **options: Any) -> None:
        """Discard the first parked event of a key, or all of them, on record. The remaining ones are retried.

        Example: discard 01980c4e --by ada --reason 'a test event'
        """
        who = _actor(options)
        try:
            self._each(lambda tx, key: interventions.discard(tx, key, who, everything=everything), **options)
        except OfADeadline as refusal:
            fail(str(refusal))

    def _each(self, act: Act, database: str, *, dry_run: bool, **which: Any) -> None:
        """Act key by key, each in a transaction of its own: an interrupted command can be run again."""
        with self._open(database) as opened:
            found = _chosen(opened, database, **which)
            if not found:
                _report_none(database, which["where"])
                return
            if dry_run:
                for each in found:
                    click.echo(f"{each.key}  {parked_line(as_dict(each))}")
                click.echo(f"{plural(len(found), 'key')} (--dry-run: nothing was done)", err=True)
                return
            done = [_act_on(opened, act, each.key) for each in found]
        next_ = "; workers try them at once, and `parked list` shows what fails again"
        click.echo(f"{sum(map(bool, done))} of {plural(len(found), 'key')} done{next_ if any(done) else ''}", err=True)

    def _described(self, codec: Codec, record: Record) -> dict[str, Any]:
        return {
            "address": record.address,
            "timestamp": to_iso(record.timestamp_ms),
            "event": self._event(codec, record),
        }

    def _event(self, codec: Codec, record: Record) -> Event | str:
        """Return the event, decoded as the engine decodes it: redriven records, too."""
        reactions = by_topic(self._service.reactions) | deadline_reactions(self._service.deadlines)
        delivery = decode(codec, record, reactions)
        if delivery is not None and delivery.event is not None:
            return delivery.event
        why = delivery.poison or "too large for its topic" if delivery else "nothing to handle"
        return f"{len(record.value or b'')} bytes ({why})"

    def _open(self, url: str) -> AbstractContextManager[Database]:
        return existing(url, service=self._service.name, schema=self._schema)


def _as_plain(event: Event | str) -> dict[str, Any] | str:
    return event if isinstance(event, str) else event.to_avro()


def _as_text(event: Event | str) -> str:
    if isinstance(event, str):
        return event
    return "; ".join(f"{name} {event.field_text(name)}" for name in event.__struct_fields__)


def _chosen(
    opened: Database, url: str, *, keys: tuple[str, ...], where: tuple[tuple[str, str], ...], limit: int | None
) -> list[BlockedKey]:
    """Return at most `limit` keys: first those without an intervention or with the oldest, then by the next retry."""
    if not keys and not where:
        raise click.UsageError("give a KEY, or --where error=TEXT")
    with opened.snapshot() as tx:
        keys = tuple(whole_key(tx, key) for key in keys)
        found = list(interventions.blocked(tx, where, keys))
        touched = interventions.last_touched(tx)
    if missing := set(keys) - {each.key for each in found}:
        fail(f"not blocked in {redact(url)}: {', '.join(sorted(missing))}; nothing was done")
    return sorted(found, key=lambda each: (touched.get(each.key, 0), each.retry_at_ms, each.key))[:limit]


def _report_none(url: str, where: tuple[tuple[str, str], ...]) -> None:
    click.echo(f"no {'matching ' if where else ''}key is blocked in {redact(url)}", err=True)


def _act_on(opened: Database, act: Act, key: str) -> list[Intervention]:
    """Act, repeat after a concurrent update, and print what was done."""
    notes = retry_on_conflict(opened, lambda tx: act(tx, key))
    click.echo("".join(f"{_as_line(note)}\n" for note in notes), nl=False)
    return notes


def _actor(options: dict[str, Any]) -> Actor:
    return Actor(options.pop("by"), options.pop("reason"), _now_ms())


def _as_line(note: Intervention) -> str:
    about = f"  (was parked: {note.error})" if note.error else ""
    why = f"  {note.reason}" if note.reason else ""
    return f"{to_iso(note.at_ms)}  {note.action}  {note.key}  {note.address}  by {note.by}{why}{about}"


def _where() -> click.Option:
    what = "Only if the error contains TEXT (error=TEXT), or topic or key equals TEXT; may be repeated."
    return click.Option(["--where"], multiple=True, metavar="FIELD=TEXT", callback=tests_of(FIELDS), help=what)


def _key(service: type[Service[Any]], names: list[str], **options: Any) -> click.Argument:
    return click.Argument(names, shell_complete=complete_keys(service.name), **options)


def _which(service: type[Service[Any]]) -> list[click.Parameter]:
    return [
        _key(service, ["keys"], nargs=-1, metavar="[KEY]..."),
        _where(),
        click.Option(["--limit"], type=click.IntRange(1), help="At most this many keys."),
    ]


def _everything() -> click.Option:
    return click.Option(["--all-events", "everything"], is_flag=True, help="All parked events of the key.")
