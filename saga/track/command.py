"""`saga track`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from eventbus import Codec
from eventbus.cli import options as cli
from eventbus.log import Partition
from eventbus.serde.registry import Registry
from eventbus.worker.health import serve
from eventbus.worker.telemetry import configure_logging
from saga.census import Census
from saga.cluster import Cluster, TopicRecreated, check_same
from saga.quiet import ends_quietly
from saga.reader import Reader
from saga.topics import extents
from saga.track.alone import alone
from saga.track.common import MODEL, tracker
from saga.track.intake import Intake
from saga.track.rebuild import build_anew
from saga.track.run import Tracking, Watch
from saga.track.store import Store
from schemas import EVENTS

BOUNDED = {
    "queued.max.messages.kbytes": "32768",
    "queued.min.messages": "20000",
    "fetch.max.bytes": "8388608",
}
"""What waits in the client is memory; so much is enough to be kept busy."""


CENSUS_SECONDS = 3.0
"""A broker that does not answer must not keep a tracker from its work for long."""


@dataclass(frozen=True, slots=True)
class Source:
    """The log that is followed."""

    bootstrap_servers: str
    kafka_config: dict[str, str]
    registry: Registry

    def cluster_id(self) -> str:
        """Return which cluster this is; empty where it does not say. Raises Unreachable."""
        return Cluster(self.bootstrap_servers, self.kafka_config).id()

    def topic_ids(self) -> dict[str, str]:
        """Return which topics there are now. Raises NoSuchTopic, Unreachable."""
        cluster = Cluster(self.bootstrap_servers, self.kafka_config)
        there = cluster.partitions()
        return cluster.topic_ids(topic for topic in MODEL.topics if topic in there)

    def reader(self, positions: Mapping[Partition, int]) -> Reader:
        """Return a reader that starts there, and elsewhere at the beginning."""
        config = {**BOUNDED, **self.kafka_config}
        return Reader(self.bootstrap_servers, MODEL.topics, positions=positions, kafka_config=config)

    def census(self) -> Census:
        """Return what asks the brokers how far the topics go."""
        cluster = Cluster(self.bootstrap_servers, self.kafka_config, answer_seconds=CENSUS_SECONDS)
        return Census(cluster, MODEL.topics)

    def intake(self) -> Intake:
        """Return what turns records into rows."""
        return Intake(Codec(self.registry, EVENTS))

    def _compare(self, store: Store) -> None:
        known, actual = store.topic_ids(), self.topic_ids()
        try:
            check_same(known, actual)
        except TopicRecreated as error:
            raise TopicRecreated(f"{error}. `saga track --rebuild` starts anew with what is there") from error
        store.note_topic_ids(actual | known)

    def resumable(self, store: Store) -> dict[Partition, int]:
        """Return where to go on. Exits where the log is not the one that was read; says what expired unread.

        Raises TopicRecreated.
        """
        self._compare(store)
        positions = {Partition(*at): offset for at, (offset, _) in store.positions().items()}
        found = extents(Cluster(self.bootstrap_servers, self.kafka_config), MODEL.topics)
        bounds = {Partition(topic, part.partition): part for topic, parts in found.items() for part in parts}
        for at, offset in positions.items():
            if at not in bounds:
                continue
            start, end = bounds[at].start, bounds[at].end
            if offset > end:
                cli.fail(
                    f"{at} ends at {end}, but was read up to {offset}: the topic was deleted and made again."
                    " `saga track --rebuild` starts anew with what is there"
                )
            if offset < start:
                click.echo(f"warning: {at} begins at {start}: what lay from {offset} on has expired unread", err=True)
                positions[at] = start
        return {at: offset for at, offset in positions.items() if at in bounds}


@click.command("track", context_settings=cli.CONTEXT)
@tracker
@cli.bootstrap_servers
@cli.kafka_config
@cli.schema_registry_url
@click.option("--rebuild", is_flag=True, help="Read the whole log anew, then replace what the database holds.")
@click.option(
    "--verify", is_flag=True, help="With --rebuild: exit 1, and replace nothing, unless the rows are as on the log."
)
@click.option("--no-follow", is_flag=True, help="Stop at the end of the log.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /livez and /readyz here.")
def track_command(
    tracker: Path, schema_registry_url: str | None, rebuild: bool, verify: bool, no_follow: bool, **options: object
) -> None:
    """Follow the log into a database that says where every order stands, until Ctrl-C.

    Committed records only; no consumer group is joined and nothing is written to Kafka, so it may be stopped, deleted
    and built again at any time. Started again it goes on where it was.

    \b
    Examples:
      saga track
      saga track --rebuild --verify --no-follow
    """  # noqa: D301 - \b is click's
    if verify and not rebuild:
        raise click.UsageError("--verify compares what --rebuild builds: give both")
    configure_logging("auto", "info")
    port = options.pop("metrics_port")
    source = Source(**options, registry=cli.registry(schema_registry_url, EVENTS))  # type: ignore[arg-type]
    watch = Watch()
    cluster = source.cluster_id()
    with (
        ends_quietly(),
        alone(tracker),
        closing(Store(tracker, MODEL, cluster=cluster)) as store,
        _serving(watch, port),
    ):
        if store.renewed:
            click.echo(f"{tracker} is built anew: {store.renewed}; what it knew is kept in {store.kept}", err=True)
        if rebuild:
            build_anew(source, store, watch, cluster, verify=verify)
        with source.reader(source.resumable(store)) as reader:
            tracking = Tracking(reader, source.intake(), store, watch, source.census())
            while not (no_follow and tracking.done):
                tracking.turn()


def track_once(source: Source, file: Path) -> None:
    """Take in what is on the log now."""
    with closing(Store(file, MODEL)) as store, source.reader(source.resumable(store)) as reader:
        tracking = Tracking(reader, source.intake(), store, Watch(), source.census())
        while not tracking.done:
            tracking.turn()


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
