"""`saga topics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.cli.help import CommandGroup
from saga.commands.options import cluster_options
from saga.kafka.cluster import Cluster
from saga.kafka.topics import BROKERS_DEFAULT, DIFFERS, FAILED, RETENTION_MS, Extent, create, extents, short_retention
from saga.kafka.topics_file import Topic, read_topics

DAY_MS = 86_400_000

file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    show_default="the deploy/topics.yaml that is installed",
    help="The file that defines the topics.",
)


@click.group("topics", cls=CommandGroup, context_settings=cli.CONTEXT)
def topics_command() -> None:
    """Create the topics of the saga, or list them.

    Example: saga topics create --bootstrap-servers localhost:9092
    """


@topics_command.command("create")
@cluster_options
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=12,
    help="Partitions of a topic, unless the file sets it: the maximum number of workers that share it.",
)
@click.option(
    "--replication-factor", type=click.IntRange(1, 100), show_default="the broker's", help="Copies of every partition."
)
@file_option
@cli.as_json
def create_command(
    cluster: Cluster,
    partitions: int,
    replication_factor: int | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Create the topics that are missing; report which exist, and which differ from the file.

    Existing topics are not changed. Exit 1 when a topic differs or could not be created.

    Example: saga topics create --partitions 12 --replication-factor 3
    """
    findings = create(cluster, read_topics(file), partitions, replication_factor or BROKERS_DEFAULT)
    if as_json:
        cli.print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.status:8} {finding.topic}: {finding.detail}")
    if failed := [finding.topic for finding in findings if finding.status == FAILED]:
        cli.fail(f"these topics could not be created: {', '.join(failed)}")
    if differing := [finding.topic for finding in findings if finding.status == DIFFERS]:
        cli.fail(
            f"these topics exist and differ, see above; they were not changed: {', '.join(differing)}. For the number"
            " of partitions that they have, give it as --partitions; to change them: kafka-topics.sh --alter"
            " --partitions, kafka-configs.sh --alter --add-config"
        )


@topics_command.command("list")
@cluster_options
@file_option
@cli.as_json
def list_command(cluster: Cluster, file: Path | None, as_json: bool) -> None:
    """List the topics of the saga: partitions, and the number of offsets in them.

    `offsets` counts what takes an offset: records, and the markers of transactions. A missing topic is marked as
    missing. Topics that delete records earlier than the file sets are reported on stderr, with the command to fix it.

    Example: saga topics list --json
    """
    wanted = read_topics(file)
    found = extents(cluster, [topic.name for topic in wanted])
    if denied := cluster.denied(topic.name for topic in wanted if topic.name not in found):
        click.echo(f"warning: {denied}", err=True)
    shorter = short_retention(cluster, wanted)
    for topic in wanted:
        if topic.name in shorter:
            click.echo(_warning(topic, shorter[topic.name], cluster.bootstrap_servers), err=True)
    rows = [
        {**_row(topic.name, topic.kind, found.get(topic.name)), "deletes_early": shorter.get(topic.name, {})}
        for topic in wanted
    ]
    if as_json:
        cli.print_json(rows)
        return
    width = max((len(row["topic"]) for row in rows), default=0)
    click.echo(f"{'TOPIC':{width}}  PARTITIONS  OFFSETS")
    for row in rows:
        numbers = f"{row['partitions']:10}  {row['offsets']:7}" if row["exists"] else "missing: `saga topics create`"
        click.echo(f"{row['topic']:{width}}  {numbers}")


def _warning(topic: Topic, shorter: Mapping[str, str], servers: str) -> str:
    """Return a warning that names the records being deleted, and the Kafka command that stops it."""
    said = ", ".join(f"{name} is {value}{_days(name, value)}" for name, value in shorter.items())
    wanted = ",".join(f"{name}={topic.config.get(name, '-1')}" for name in shorter)
    return (
        f"warning: {topic.name} deletes records: {said}. Checks, audits and rebuilds miss them. To change it:\n"
        f"  kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic.name}"
        f" --add-config {wanted}"
    )


def _days(name: str, value: str) -> str:
    return f" ({int(value) / DAY_MS:.3g} days)" if name == RETENTION_MS else ""


def _row(topic: str, kind: str, found: list[Extent] | None) -> Mapping[str, Any]:
    extent = found or []
    return {
        "topic": topic,
        "kind": kind,
        "exists": found is not None,
        "partitions": len(extent),
        "offsets": sum(part.end - part.start for part in extent),
        "extents": [asdict(part) for part in extent],
    }
