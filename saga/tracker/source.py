"""The log that the tracker follows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click

from eventbus import Codec
from eventbus.cli import options as cli
from eventbus.log import Partition
from eventbus.serde.registry import Registry
from saga.declared import with_declared
from saga.kafka.census import CENSUS_SECONDS, Census
from saga.kafka.cluster import TopicRecreated, check_same
from saga.kafka.decode import Decoder
from saga.kafka.reader import Reader
from saga.kafka.target import KafkaTarget
from saga.kafka.topics import extents
from saga.tracker.installed import FOREIGN, MODEL
from saga.tracker.intake import ForeignEvents, TrackerIntake
from saga.tracker.run import Tracking, Watch
from saga.tracker.store import Store
from schemas import EVENTS

BOUNDED = {
    "queued.max.messages.kbytes": "32768",
    "queued.min.messages": "20000",
    "fetch.max.bytes": "8388608",
}
"""Records buffered in the client use memory; this much keeps the tracker busy."""


@dataclass(frozen=True, slots=True)
class TrackedLog(KafkaTarget):
    """The log that is followed."""

    registry: Registry

    def cluster_id(self) -> str:
        """Return the cluster's id; empty if it reports none. Raises Unreachable."""
        return self.cluster().id()

    def topic_ids(self) -> dict[str, str]:
        """Return the current ids of the topics. Raises NoSuchTopic, Unreachable."""
        cluster = self.cluster()
        there = cluster.partitions()
        return cluster.topic_ids(topic for topic in MODEL.topics if topic in there)

    def reader(self, positions: Mapping[Partition, int]) -> Reader:
        """Return a reader that starts at these positions, and in other partitions at the beginning."""
        config = {**BOUNDED, **self.kafka_config}
        return Reader(self.bootstrap_servers, MODEL.topics, positions=positions, kafka_config=config)

    def census(self) -> Census:
        """Return the census, which queries the brokers for the end offsets."""
        return Census(self.cluster(CENSUS_SECONDS), MODEL.topics)

    def intake(self) -> TrackerIntake:
        """Return the intake, which turns records into rows."""
        declared = ForeignEvents(FOREIGN, Decoder(with_declared(self.registry)))
        return TrackerIntake(Codec(self.registry, EVENTS), declared)

    def _compare(self, store: Store) -> None:
        known, actual = store.topic_ids(), self.topic_ids()
        try:
            check_same(known, actual)
        except TopicRecreated as error:
            raise TopicRecreated(f"{error}. Run `saga track --rebuild` to read the new topic") from error
        store.note_topic_ids(actual | known)

    def resumable(self, store: Store) -> dict[Partition, int]:
        """Return the offsets to resume from. Exits if the log was recreated; warns about records that expired unread.

        Raises TopicRecreated.
        """
        self._compare(store)
        positions = {Partition(*at): offset for at, (offset, _) in store.positions().items()}
        found = extents(self.cluster(), MODEL.topics)
        bounds = {Partition(topic, part.partition): part for topic, parts in found.items() for part in parts}
        for at, offset in positions.items():
            if at not in bounds:
                continue
            start, end = bounds[at].start, bounds[at].end
            if offset > end:
                cli.fail(
                    f"{at} ends at {end}, but was read up to {offset}: the topic was deleted and recreated."
                    " Run `saga track --rebuild` to read the new topic"
                )
            if offset < start:
                click.echo(f"warning: {at} begins at {start}: records from {offset} on expired unread", err=True)
                positions[at] = start
        return {at: offset for at, offset in positions.items() if at in bounds}


def track_once(source: TrackedLog, file: Path) -> None:
    """Read the log to its present end."""
    with closing(Store(file, MODEL)) as store, source.reader(source.resumable(store)) as reader:
        tracking = Tracking(reader, source.intake(), store, Watch(), source.census())
        while not tracking.done:
            tracking.run_once()
