"""`<service> database quarantine`, `release` and `accept-backup`: a database that was found older than the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from inspect import getdoc
from typing import Any

import click

from eventbus.cli.backup import Backup, NotAccepted, RestorePlan
from eventbus.cli.options import (
    as_json,
    bootstrap_servers,
    by,
    database_option,
    dry_run,
    fail,
    kafka_config,
    print_json,
    reason,
)
from eventbus.database import Database, existing
from eventbus.kafka.config import BadKafkaConfig, Connection, check
from eventbus.log import (
    AuthenticationFailed,
    CommitOutcomeUnknown,
    LogUnavailable,
    TopicMissing,
    UnsafeToContinue,
    to_iso,
)
from eventbus.service import Service
from eventbus.store import quarantine
from eventbus.store.quarantine import Quarantine
from eventbus.text.redaction import redact, scrub, secrets_in

WRONG = (
    NotAccepted,
    BadKafkaConfig,
    LogUnavailable,
    AuthenticationFailed,
    TopicMissing,
    UnsafeToContinue,
    CommitOutcomeUnknown,
)
INSTANCE = "accept-backup"
yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def add_backup_commands(group: click.Group, service: type[Service[Any]], schema: Any) -> None:
    """Add the commands for a service's database that was found older than the log."""
    commands = _BackupCommands(service, schema)
    program = f"{service.name} {group.name}"
    made: dict[str, tuple[Callable[..., None], tuple[Callable[..., Any], ...]]] = {
        "quarantine": (commands.quarantine, (as_json,)),
        "release": (commands.release, (by, reason)),
        "accept-backup": (commands.accept_backup, (bootstrap_servers, kafka_config, dry_run, yes, by, reason)),
    }
    for name, (act, options) in made.items():
        command = click.Command(name, callback=act)
        for option in (*options, database_option(service.name)):
            option(command)
        text, _, example = (getdoc(act) or "").partition("Example: ")
        command.help = f"{text.rstrip()}\n\nExample: {program} {example.strip()}"
        group.add_command(command)


class _BackupCommands:
    def __init__(self, service: type[Service[Any]], schema: Any) -> None:
        self._service, self._schema = service, schema

    def quarantine(self, database: str, as_json: bool) -> None:
        """Show when a worker found the database older than the log, why, and who released it.

        Exit code 1 while it is in quarantine: no worker continues until it is released.

        Example: quarantine --json
        """
        with self._open(database) as opened, opened.snapshot() as tx:
            found = quarantine.history(tx)
        if as_json:
            print_json([_as_dict(each) for each in found])
        else:
            for each in found:
                click.echo(_as_line(each))
        if not found:
            click.echo(f"{redact(database)} was never in quarantine", err=True)
        if any(each.released_at_ms is None for each in found):
            click.get_current_context().exit(1)

    def release(self, database: str, by: str, reason: str) -> None:
        """End the quarantine of a database. If it is still older than the log, a worker puts it in quarantine again.

        Example: release --by ada --reason 'newest copy restored, INC-7'
        """
        with self._open(database) as opened, opened.transaction() as tx:
            ended = quarantine.release(tx, _now_ms(), by, reason)
        if not ended:
            fail(f"{redact(database)} is not in quarantine")
        click.echo(f"{redact(database)} is released: start the workers")

    def accept_backup(  # noqa: PLR0913 - options
        self,
        database: str,
        bootstrap_servers: str,
        kafka_config: dict[str, str],
        *,
        dry_run: bool,
        yes: bool,
        by: str,
        reason: str,
    ) -> None:
        """Continue with a restored backup although the log is ahead of it, if nothing newer is left.

        Stop all workers of the service first. Records that were handled after the backup are handled again, and their
        outputs are published a second time, with the same ce_id. The command prints how many, and asks.

        Example: accept-backup --by ada --reason 'disk lost, backup of 03:00, INC-7'
        """
        try:
            check(kafka_config)
            connection = _connection(self._service.name, bootstrap_servers, kafka_config)
            with self._open(database) as opened, closing(Backup(self._service, opened, connection)) as backup:
                plan = backup.plan()
                click.echo("\n".join(_consequences(plan, self._service.name)), err=True)
                if dry_run:
                    click.echo("--dry-run: nothing was done", err=True)
                    return
                if not yes:
                    click.confirm("Continue with this database?", abort=True, err=True)
                new_id = backup.accept(plan, by, reason, _now_ms())
        except WRONG as error:
            fail(scrub(str(error), secrets_in(kafka_config)))
        click.echo(f"{redact(database)} is accepted, its id is now {new_id}: start the workers")

    def _open(self, url: str) -> AbstractContextManager[Database]:
        return existing(url, service=self._service.name, schema=self._schema)


def _connection(group: str, servers: str, extra: dict[str, str]) -> Connection:
    logger = logging.getLogger(f"rdkafka.{group}.{INSTANCE}")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return Connection(servers, group, INSTANCE, extra=extra, logger=logger)


def _consequences(plan: RestorePlan, service: str) -> list[str]:
    """Return what the plan does, for the operator who decides."""
    lines = [f"{topic}: up to {count} records will be handled again" for topic, count in sorted(plan.again.items())]
    lines += [
        f"{partition}: {count} of them are no longer in the log, so the workers will stop with exit code 3: see"
        " docs/operating.md, When it refuses"
        for partition, count in sorted(plan.gone.items())
    ]
    lines += [
        f"{partition}: not in the backup, will be consumed from offset {bounds.start}"
        for partition, (bounds, _) in plan.new.items()
    ]
    lines.append(
        f"The outputs of {service} for them will be published a second time, with the same ce_id."
        " External effects that have an idempotency key (remote calls) happen once."
    )
    return lines


def _as_dict(each: Quarantine) -> dict[str, Any]:
    released = None if each.released_at_ms is None else to_iso(each.released_at_ms)
    return {
        "id": each.id,
        "at": to_iso(each.at_ms),
        "instance": each.instance,
        "reason": each.reason,
        "released_at": released,
        "released_by": each.released_by,
        "release_reason": each.release_reason,
    }


def _as_line(each: Quarantine) -> str:
    ended = "in quarantine"
    if each.released_at_ms is not None:
        ended = f"released {to_iso(each.released_at_ms)} by {each.released_by}: {each.release_reason}"
    return f"{to_iso(each.at_ms)}  {each.instance}  {each.reason}  ({ended})"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
