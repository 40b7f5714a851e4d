"""`saga tail`: the records of a topic, as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.log import Record
from eventbus.text.json_form import to_json
from saga.commands.exits import exit_cleanly
from saga.declared import registry
from saga.kafka.census import CENSUS_SECONDS, Census
from saga.kafka.decode import Decoder
from saga.kafka.describe import describe
from saga.kafka.reader import Reader
from saga.kafka.target import KafkaTarget
from saga.kafka.topics_file import read_topics
from saga.kafka.unreadable import said
from saga.kafka.waiting import OutageNews, until_reached

POLL_SECONDS = 0.5


def _topics(_context: click.Context, _parameter: click.Parameter, given: str) -> list[str]:
    return [topic.name for topic in read_topics() if topic.name.startswith(given)]


@click.command("tail", context_settings=cli.CONTEXT)
@click.argument("topic", shell_complete=_topics)
@cli.bootstrap_servers
@cli.kafka_config
@cli.schema_registry_url
@click.option("--from-beginning", is_flag=True, help="Start at the oldest record, not at the next one.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many records.")
@click.option("--no-follow", is_flag=True, help="Read from the beginning, and stop at the end of the topic.")
def tail_command(topic: str, schema_registry_url: str | None, count: int | None, **where: Any) -> None:
    """Print the committed records of a topic, one JSON line each, until Ctrl-C.

    Bytes that are not UTF-8 are printed as `base64:...`; a value that cannot be decoded as `value_base64`, with the
    reason in `error`. No consumer group is joined.

    \b
    Examples:
      saga tail order.cancelled
      saga tail payment-service.dead-letters --no-follow | jq .headers
    """  # noqa: D301 - \b is click's
    no_follow = where.pop("no_follow")
    where["from_beginning"] |= no_follow
    decoder = Decoder(registry(schema_registry_url))
    target = KafkaTarget(where["bootstrap_servers"], where["kafka_config"])
    census = Census(target.cluster(CENSUS_SECONDS), [topic])
    with exit_cleanly(), ExitStack() as stack:

        def opened() -> Reader:
            return stack.enter_context(Reader(topics=[topic], **where))

        news = OutageNews(_warn, _broker_answers)
        reader = opened() if no_follow else until_reached(target, opened, news)
        for record in islice(_records(reader, census, news, follow=not no_follow), count):
            click.echo(to_json(describe(record, decoder)))


def _warn(why: str) -> None:
    click.echo(f"warning: {why}", err=True)


def _broker_answers(seconds: float) -> None:
    click.echo(f"a Kafka broker answers again, after {seconds:.0f} s", err=True)


def _records(reader: Reader, census: Census, news: OutageNews, *, follow: bool) -> Iterator[Record]:
    told = 0
    stuck: list[str] = []
    while follow or not (census.all_read(reader.positions) and reader.at_end):
        yield from reader.read(POLL_SECONDS)
        news.look(reader.outage)
        if not reader.outage.active and census.look(reader.positions):
            before, stuck = stuck, [str(each) for each in census.stuck]
            for each in stuck:
                if each not in before:
                    _warn(each)
        for at, batch in reader.unreadable[told:]:
            click.echo(f"{at}: {said(batch)}", err=True)
        told = len(reader.unreadable)
