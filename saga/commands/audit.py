"""`saga audit`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.cli.help import CommandGroup
from saga.audit.export import whole_file, write_lines
from saga.audit.findings import MISSING
from saga.audit.history import AuditHistory, AuditSelection, in_order
from saga.audit.lines import entry_of
from saga.audit.ocel import write_ocel
from saga.audit.report import as_json as report_as_json
from saga.audit.report import as_text
from saga.audit.summary import Summary
from saga.audit.verify import AuditVerdict, compare, entries_of, verify_file
from saga.declared import registry
from saga.flow.model import Flow
from saga.kafka.decode import Decoder
from saga.services import installed_services
from saga.tracker.moments import Moment


@click.group("audit", cls=CommandGroup, context_settings=cli.CONTEXT)
def audit_command() -> None:
    """Export the history of the log as evidence, and compare it with the log later.

    Example: saga audit export history.jsonl
    """


@audit_command.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "ocel"]),
    default="jsonl",
    help="jsonl: the evidence, for `saga audit verify`. ocel: OCEL 2.0 as JSON, for process mining.",
)
@click.option("--since", type=Moment(), help="Records of this time or later: RFC 3339, or how long ago (2h, 7d).")
@click.option("--until", type=Moment(), help="Records before this time.")
@click.option("--order", "order_id", callback=cli.not_empty, help="Records of this order only.")
@cli.bootstrap_servers
@cli.kafka_config
@cli.schema_registry_url
def export_command(
    file: Path, kind: str, since: int | None, until: int | None, order_id: str | None, **where: Any
) -> None:
    """Write all committed records of the choreography's topics to FILE: the whole file, or none.

    They range from the beginning of each topic to its present end. The digest that is printed at the end covers the
    whole file: store it where it cannot be changed.

    \b
    Examples:
      saga audit export history.jsonl
      saga audit export history.json --format ocel --since 7d
    """  # noqa: D301 - \b is click's
    decoder = Decoder(registry(where.pop("schema_registry_url")))
    flow, selection = Flow.of(installed_services()), AuditSelection(since, until, order_id)
    with whole_file(file) as out:
        history = AuditHistory(reverse_topological=flow.reverse_topological(), **where)
        starts, ends = history.bounds()
        records = history.read(starts, ends, selection, whole=True)
        if kind == "ocel":
            told = write_ocel(out, records, decoder, flow).told
        else:
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            summary = Summary(history.cluster_id, now, selection, starts, ends)
            summary, digest = write_lines(out, in_order(entry_of(record, decoder) for record in records), summary)
            told = f"{summary.count} records; digest {digest}"
    for (topic, number), start in sorted(starts.items()):
        if start > 0:
            click.echo(f"{topic}/{number} begins at {start}: earlier records have expired; not exported", err=True)
    click.echo(f"{file}: {told}", err=True)


@audit_command.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--digest", help="The digest that `saga audit export` printed when it wrote the file.")
@click.option("--live", is_flag=True, help="Read the log, and compare it record by record.")
@cli.bootstrap_servers
@cli.kafka_config
@cli.schema_registry_url
@cli.as_json
def verify_command(file: Path, digest: str | None, live: bool, as_json: bool, **where: Any) -> None:
    """Check that an export is complete and unaltered; list every record that is not. Exit code 1 if there is one.

    Without --live only the file is checked: a line that was altered and all hashes recomputed is detected only by
    --digest or --live. Records that have expired from the log since the export are counted, and are not findings.

    \b
    Examples:
      saga audit verify history.jsonl
      saga audit verify history.jsonl --live
    """  # noqa: D301 - \b is click's
    decoder = Decoder(registry(where.pop("schema_registry_url")))
    verdict = verify_file(file)
    if digest is not None and digest.strip().lower() != verdict.digest:
        verdict.findings.add("altered", "the file", f"its digest is {verdict.digest or 'missing'}")
    if live:
        _compare(verdict, file, decoder, **where)
    if as_json:
        cli.print_json(report_as_json(verdict, live=live))
    else:
        click.echo("\n".join(as_text(verdict, file, live=live)))
    if verdict.findings.count:
        raise SystemExit(1)


def _compare(verdict: AuditVerdict, file: Path, decoder: Decoder, **where: Any) -> None:
    summary = verdict.summary
    if summary is None:
        cli.fail(f"{file} has no last line with the offsets of the export: it cannot be compared")
    topics = sorted({topic for topic, _ in summary.ends} | set(Flow.of(installed_services()).events))
    history = AuditHistory(reverse_topological=topics, **where)
    if history.cluster_id != summary.cluster:
        cli.fail(f"{file} was exported from the cluster {summary.cluster}, but this is {history.cluster_id}")
    starts, ends = history.bounds()
    for topic, number in sorted(ends.keys() - summary.ends.keys()):
        if ends[topic, number] > 0:
            verdict.findings.add(
                MISSING, f"{topic}/{number}", "the partition is not in the export: it was added since, or removed"
            )
    tps = summary.ends.keys() & ends.keys()
    read_from = {tp: max(summary.starts[tp], starts[tp]) for tp in tps}
    read_to = {tp: max(read_from[tp], min(summary.ends[tp], ends[tp])) for tp in tps}
    records = history.read(read_from, read_to, summary.selection, whole=False)
    compare(verdict, entries_of(file), in_order(entry_of(record, decoder) for record in records), starts)
