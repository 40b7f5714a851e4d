"""`saga track`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from eventbus.cli import options as cli
from eventbus.worker.health import serve
from saga.commands.exits import exit_cleanly
from saga.commands.tracker_option import tracker
from saga.kafka.waiting import until_reached
from saga.tracker.console import log_to_stderr
from saga.tracker.exclusive_lock import exclusive_lock
from saga.tracker.installed import MODEL
from saga.tracker.rebuild import build_anew
from saga.tracker.run import Tracking, Watch
from saga.tracker.source import TrackedLog
from saga.tracker.store import Store
from schemas import EVENTS


@click.command("track", context_settings=cli.CONTEXT)
@tracker
@cli.bootstrap_servers
@cli.kafka_config
@cli.schema_registry_url
@click.option("--rebuild", is_flag=True, help="Read the whole log again, then replace the content of the database.")
@click.option(
    "--verify", is_flag=True, help="With --rebuild: exit 1, and replace nothing, unless the rows match the log."
)
@click.option("--no-follow", is_flag=True, help="Stop at the end of the log.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /livez and /readyz here.")
@cli.log_format
def track_command(
    tracker: Path, schema_registry_url: str | None, rebuild: bool, verify: bool, no_follow: bool, **options: object
) -> None:
    """Follow the log and keep the state of every order in a database, until Ctrl-C.

    Committed records only; no consumer group is joined and nothing is written to Kafka, so the database may be deleted
    and rebuilt at any time. After a restart it resumes where it stopped.

    \b
    Examples:
      saga track
      saga track --rebuild --verify --no-follow
    """  # noqa: D301 - \b is click's
    if verify and not rebuild:
        raise click.UsageError("--verify requires --rebuild")
    log_to_stderr(str(options.pop("log_format")))
    port = options.pop("metrics_port")
    source = TrackedLog(**options, registry=cli.registry(schema_registry_url, EVENTS))  # type: ignore[arg-type]
    watch = Watch()
    job = _Job(source, tracker, watch, rebuild=rebuild, verify=verify, follow=not no_follow)
    with exit_cleanly(), _serving(watch, port):
        if no_follow:
            job.run()
        else:
            until_reached(source, job.run, watch.broker)


@dataclass
class _Job:
    """What the command does. It begins again when no broker answers while it begins."""

    source: TrackedLog
    tracker: Path
    watch: Watch
    rebuild: bool
    verify: bool
    follow: bool

    def run(self) -> None:
        """Read to the end of the log, or follow it. Raises Unreachable."""
        cluster = self.source.cluster_id()
        with exclusive_lock(self.tracker), closing(Store(self.tracker, MODEL, cluster=cluster)) as store:
            if store.renewed:
                why = f"{store.renewed}; the old content is kept in {store.kept}"
                click.echo(f"{self.tracker} is rebuilt: {why}", err=True)
            if self.rebuild:
                build_anew(self.source, store, self.watch, cluster, verify=self.verify)
                self.rebuild = False
            with self.source.reader(self.source.resumable(store)) as reader:
                tracking = Tracking(reader, self.source.intake(), store, self.watch, self.source.census())
                while self.follow or not tracking.done:
                    tracking.run_once()


@contextmanager
def _serving(watch: Watch, port: object) -> Iterator[None]:
    try:
        server = serve(watch, port) if isinstance(port, int) else None
    except OSError as error:
        cli.fail(f"--metrics-port {port} cannot be used: {error.strerror}")
    try:
        yield
    finally:
        if server is not None:
            server.shutdown()
