"""`saga verify`."""

from __future__ import annotations

from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.startable import cannot_start
from eventbus.text.plural import plural
from saga.flow.progress import runs
from saga.flow.rules import joined_topics_have_the_same_partitions
from saga.flow.sources import FlowSource, flow_options
from saga.flow.starting import every_service_can_start
from saga.flow.states import every_state_has_a_rule_for_every_event
from saga.flow.verify import RuleViolation, verify


@click.command("verify", context_settings=cli.CONTEXT)
@flow_options
@click.option("--topics", is_flag=True, help="Also check the topics of the cluster; --announced always does.")
@cli.as_json
def verify_command(source: FlowSource, topics: bool, as_json: bool) -> None:
    """Verify the choreography before it runs; exit 1 if a rule is violated.

    It reads the services installed here (whose handlers are also tried in every state); or FILES that `<service>
    declaration` wrote; or, with --announced, the declarations that workers published when they started.

    \b
    Examples:
      saga verify
      saga verify order-service.json payment-service.json inventory-service.json
      saga verify --topics --bootstrap-servers localhost:9092
    """  # noqa: D301 - \b is click's
    able = [service for service in source.services if not cannot_start(service)]
    more = [every_service_can_start(source.services), every_state_has_a_rule_for_every_event(able)]
    if topics or source.workers:
        more.append(joined_topics_have_the_same_partitions(_partitions(source)))
    violations = verify(source.flow, more)
    services, events = len(source.flow.services), len(source.flow.events)
    paths = sum(len(runs(source.flow, start)) for start in source.flow.initiates)
    if as_json:
        counts = {"services": services, "events": events, "ways": paths}
        cli.print_json({**counts, "violations": [_row(violation) for violation in violations]})
    else:
        for violation in violations:
            click.echo(_line(violation))
        told = f"{plural(services, 'service')}, {plural(events, 'event')}, {plural(paths, 'path')}"
        click.echo(f"{told}: {plural(len(violations), 'violation') if violations else 'no violations'}")
    if violations:
        raise SystemExit(1)


def _partitions(source: FlowSource) -> dict[str, int]:
    cluster = source.cluster()
    return {topic: len(parts) for topic, parts in cluster.partitions().items()}


def _row(violation: RuleViolation) -> dict[str, Any]:
    return {"rule": violation.rule, **violation.finding._asdict()}


def _line(violation: RuleViolation) -> str:
    event, handler, file, detail = violation.finding
    where = ", ".join(part for part in (handler, file) if part)
    return violation.rule + (f": {event}" if event else "") + (f" ({where})" if where else "") + f": {detail}"
