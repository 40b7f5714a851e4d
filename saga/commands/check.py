"""`saga check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click
from confluent_kafka import KafkaException

from eventbus import ReadOnlyOrFull, Unavailable
from eventbus.cli import options as cli
from eventbus.database import NotThere, WrongDatabase
from eventbus.serde.registry import RegistryUnavailable, UnknownSchema
from payment_service.gateway import BadGateway
from saga.check.laws import judge
from saga.check.report import OpenWork, as_text, truncation
from saga.check.report import as_json as report_as_json
from saga.check.rules import CLOCK_SKEW_MS, DEADLINE_MARGIN_MS, Rules
from saga.check.sources import Sources, sources_options
from saga.deadletters.letters import LetterTarget
from saga.deadletters.open import Decisions, decisions
from saga.flow.model import Flow
from saga.kafka.cluster import BadConfiguration, Unreachable
from saga.kafka.event_topics import TopicsMissing
from saga.kafka.reader import NoSuchTopic
from saga.kafka.records import LogMoved
from saga.kafka.recount import ReadingsDiffer
from saga.services import SERVICES
from saga.tracker.moments import Seconds

CANNOT_CHECK = (
    *(NotThere, WrongDatabase, Unavailable, ReadOnlyOrFull, BadGateway),
    *(Unreachable, BadConfiguration, TopicsMissing, LogMoved, ReadingsDiffer),
    *(UnknownSchema, RegistryUnavailable),
)


@click.command("check")
@sources_options
@click.option(
    "--delivery",
    type=click.Choice(["exactly-once", "at-least-once"]),
    default="exactly-once",
    help="at-least-once: an event may be on the log more than once, with the same ce_id and bytes.",
)
@click.option(
    "--finished",
    "--quiescent",
    "finished",
    is_flag=True,
    help="Nothing is in flight any more: an open order is a violation, too. (--quiescent is its former name.)",
)
@click.option(
    "--clock-skew",
    type=Seconds(),
    default=f"{CLOCK_SKEW_MS / 1000:g}s",
    help="By how much the clocks of workers' and databases' hosts may differ.",
)
@click.option(
    "--deadline-margin",
    type=Seconds(),
    default=f"{DEADLINE_MARGIN_MS / 1000:g}s",
    help="How long after its deadline an order may be pending.",
)
@cli.as_json
def check_command(sources: Sources, as_json: bool, **rules: Any) -> None:
    """Check the laws of the saga over the databases, the payment provider's ledger and the topics.

    It only reads, and may run while the saga runs: an order in flight is counted as open, and is not a violation. Exit
    0 when no law is broken, 1 when one is or the check failed. An order whose events may have expired is not reported
    as a violation for a missing event: such orders are counted. What is open and breaks no law (orders that have not
    ended, parked ones, dead letters, records that are not events) is listed with the command that shows it.

    Example: saga check --finished
    """
    flow = Flow.of(SERVICES)
    try:
        facts = sources.collect(flow, _with_a_bar)
    except CANNOT_CHECK as why:
        cli.fail(f"cannot check: {why}")
    verdict = judge(facts, _rules(flow, **rules))
    work = OpenWork.of(verdict, facts, *_dead_letters(sources))
    if as_json:
        for warning in truncation(verdict, facts.log):
            click.echo(warning, err=True)
        cli.print_json(report_as_json(verdict, facts.log, work))
    else:
        click.echo("\n".join(as_text(verdict, facts.log, work)))
    if verdict.violations:
        raise SystemExit(1)


def _dead_letters(sources: Sources) -> Decisions | tuple[None, tuple[str, ...]]:
    """Return what was decided about dead letters; None and nothing, with a warning, if these topics cannot be read."""
    try:
        where = LetterTarget(sources.bootstrap_servers, sources.kafka_config)
        return decisions(where, SERVICES)
    except (KafkaException, Unreachable, NoSuchTopic, LogMoved) as why:
        click.echo(f"the dead letters cannot be read: {why}", err=True)
        return None, ()


def _with_a_bar(messages: Iterator[Any], most: int) -> Iterator[Any]:
    """Show on a terminal how much of the log has been read: a million orders take minutes."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(
        messages, length=most, label="reading the log", file=sys.stderr, hidden=hidden, update_min_steps=5_000
    ) as shown:
        yield from shown


def _rules(flow: Flow, *, delivery: str, clock_skew: int, deadline_margin: int, finished: bool) -> Rules:
    return Rules(
        flow,
        finished=finished,
        at_least_once=delivery == "at-least-once",
        deadline_margin_ms=deadline_margin,
        clock_skew_ms=clock_skew,
    )
