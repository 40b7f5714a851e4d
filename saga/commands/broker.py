"""`saga broker`: the embedded broker in the foreground."""

from __future__ import annotations

import signal
from contextlib import suppress

import click

from eventbus.cli import options as cli
from eventbus.kafka.embedded import EmbeddedBroker
from saga.kafka.topics_file import counts, read_topics


@click.command("broker", context_settings=cli.CONTEXT)
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    default=4,
    help="Partitions of every topic whose number is not fixed.",
)
def broker_command(partitions: int) -> None:
    """Run a Kafka broker inside this process until Ctrl-C, and print its address.

    For experiments: it has the topics of the saga, keeps everything in memory (the newest 5 MB of a partition) and does
    not implement transactions, so start its workers with `--delivery at-least-once`. It listens on a port of 127.0.0.1
    that the operating system assigns: librdkafka's mock cluster cannot use a given port.

    Example: saga broker --partitions 4
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), EmbeddedBroker(counts(read_topics(), partitions)) as broker:
        click.echo(broker.bootstrap_servers)
        while True:
            signal.pause()
