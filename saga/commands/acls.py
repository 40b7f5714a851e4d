"""`saga acls`."""

from __future__ import annotations

import click

from eventbus.cli import options as cli
from saga.flow.access import as_kafka_acls, as_strimzi, rights
from saga.flow.sources import FlowSource, flow_options


@click.command("acls", context_settings=cli.CONTEXT)
@flow_options
@click.option("--format", "form", type=click.Choice(["kafka", "strimzi"]), default="kafka", help="The output format.")
@click.option("--tool-user", metavar="NAME", default="saga", help="The user of `saga` itself; it only reads.")
@click.option("--cluster", metavar="NAME", default="kafka", help="strimzi: the name of the Kafka resource.")
def acls_command(source: FlowSource, form: str, tool_user: str, cluster: str) -> None:
    """Print the minimum rights that each service needs on the brokers, for principals named after the services.

    kafka: commands of kafka-acls.sh. strimzi: a KafkaUser for each. No right to create topics is included.

    \b
    Examples:
      saga acls --bootstrap-servers kafka:9092 | sh
      saga acls --format strimzi --cluster my-cluster | kubectl apply -f -
    """  # noqa: D301 - \b is click's
    if form != "strimzi" and cli.is_given("cluster"):
        raise click.UsageError("--cluster names the Kafka resource of Strimzi: add --format strimzi")
    who = rights(source.flow, tool_user)
    text = as_strimzi(who, cluster) if form == "strimzi" else as_kafka_acls(who, source.bootstrap_servers)
    click.echo(text, nl=False)
