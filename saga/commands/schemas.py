"""`saga schemas`."""

from __future__ import annotations

from dataclasses import asdict

import click

from eventbus.cli import options as cli
from eventbus.cli.connection_options import url
from eventbus.cli.help import CommandGroup
from eventbus.serde.subjects import Subjects
from eventbus.text.plural import plural
from eventbus.text.redaction import redact
from saga.evolution.released import check, released
from schemas import EVENTS, IDS

FOLDER = IDS.parent


@click.group("schemas", cls=CommandGroup, context_settings=cli.CONTEXT)
def schemas_command() -> None:
    """Register and check the released schemas of the events.

    Example: saga schemas check
    """


@schemas_command.command("register")
@click.option(
    "--schema-registry-url",
    envvar="SCHEMA_REGISTRY_URL",
    show_envvar=True,
    required=True,
    callback=url,
    help="A Confluent-compatible registry.",
)
@cli.schema_subject
@cli.registry_options
@cli.as_json
def register_command(schema_registry_url: str, as_json: bool) -> None:
    """Register every released schema under its subject, oldest first.

    Every subject is set to FULL_TRANSITIVE, so that services can be upgraded in any order. Running it again changes
    nothing.

    Example: saga schemas register --schema-registry-url http://localhost:8081
    """
    # Imported here: loading the registry's client takes 0.1 s (measured), which every other command would wait for.
    from eventbus.serde.confluent_registry import registry_client  # noqa: PLC0415
    from saga.evolution.registration import register  # noqa: PLC0415

    client = registry_client(schema_registry_url, cli.registry_config())
    _, subjects = Subjects.behind(schema_registry_url)
    entries = []
    for versions in released(FOLDER).values():
        for entry in register(client, versions, subjects):
            entries.append(asdict(entry))
            if not as_json:
                click.echo(f"{entry.status:10}  id {entry.id}  {entry.subject} version {entry.version}")
    if as_json:
        cli.print_json(entries)


@schemas_command.command("check")
@cli.schema_registry_url
@cli.as_json
def check_command(schema_registry_url: str | None, as_json: bool) -> None:
    """Check that every released version of an event can read every other one, and that no unreleased one is in use.

    With a registry also: that all of them are registered, and compatible with all other versions registered there. Exit
    1 when there is a problem.

    Example: saga schemas check --json
    """
    versions, where = released(FOLDER), ""
    problems = check(FOLDER, {event.topic: event.key_field for event in EVENTS})
    if schema_registry_url:
        from eventbus.serde.confluent_registry import registry_client  # noqa: PLC0415
        from saga.evolution.registration import check_registered  # noqa: PLC0415

        client = registry_client(schema_registry_url, cli.registry_config())
        where, subjects = Subjects.behind(schema_registry_url)
        for of_topic in versions.values():
            problems += check_registered(client, of_topic, subjects)
    count = sum(map(len, versions.values()))
    if as_json:
        cli.print_json({"problems": [problem._asdict() for problem in problems], "versions": count})
    else:
        for problem in problems:
            click.echo(f"{problem.topic}: {problem.rule}: {problem.detail}")
        there = f" here and at {redact(where)}" if where else ""
        told = plural(len(problems), "problem") if problems else "no problems"
        click.echo(f"{plural(count, 'released schema')} of {plural(len(versions), 'topic')}{there}: {told}")
    if problems:
        raise SystemExit(1)
