"""The page's tracker, in a thread of its own, and whether the broker answers."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from confluent_kafka import KafkaException

from eventbus.kafka.outage import BrokerOutage
from saga.kafka.cluster import TopicRecreated, Unreachable
from saga.kafka.reader import NoSuchTopic, ReadFailed
from saga.tracker.exclusive_lock import LogIsFollowed, exclusive_lock
from saga.tracker.installed import MODEL
from saga.tracker.run import Tracking, Watch
from saga.tracker.source import TrackedLog
from saga.tracker.store import AnotherTracker, NotATracker, Store

AGAIN_SECONDS = 1.0
PULSE_SECONDS = 2.0
ANSWER_SECONDS = 3.0
READS = "this page follows the log"
OTHER_READS = "another process (`saga track` or `saga ui`) follows the log; this page shows what it writes"
NOBODY_READS = "this page does not follow the log (--no-track); it shows what `saga track` writes"
PASSING = (Unreachable, ReadFailed, NoSuchTopic, KafkaException, AnotherTracker, sqlite3.Error)


class Following:
    """A context manager: inside, the log is followed (with `path`) and the broker is polled for availability."""

    def __init__(self, source: TrackedLog, path: Path | None) -> None:
        self._source, self._path = source, path
        self._stop = threading.Event()
        self._log = structlog.get_logger()
        self._outage, self._watch = BrokerOutage(source.bootstrap_servers), Watch()
        """Both threads' knowledge of the brokers, so that one sentence is said, with one time."""
        self.broker = ""
        """Why the broker does not answer; empty if it does."""
        self.tracker = ""
        """Why the log is not followed at the moment; empty if this process or another one follows it."""
        self.reader = NOBODY_READS
        """Which process follows the log, as a sentence; empty if the page should and cannot."""

    def __enter__(self) -> Self:
        loops = [self._pulse, *([self._track] if self._path else [])]
        self._threads = [threading.Thread(target=loop, name=loop.__name__, daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _pulse(self) -> None:
        cluster, outage = self._source.cluster(ANSWER_SECONDS), self._outage
        while not self._stop.is_set():
            refused = ""
            try:
                cluster.id()
                outage.end()
            except Unreachable as error:
                if error.silence:
                    outage.unanswered(error.silence, since=error.since)
                else:
                    refused = str(error)
            self._watch.broker.look(outage)
            self.broker = refused or (str(outage) if outage.active else "")
            self._stop.wait(PULSE_SECONDS)

    def _track(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except LogIsFollowed:
                self._left_to_another()
            except PASSING as why:
                if isinstance(why, Unreachable) and why.silence:
                    self._wait_for_broker(why.silence)
                else:
                    self._complain(str(why))
            except NotATracker as why:
                self._complain(str(why))
                return
            except TopicRecreated as why:
                self._complain(str(why))
                return
            except SystemExit:
                self._complain("the log was recreated since it was tracked; see stderr")
                return
            self._stop.wait(AGAIN_SECONDS)

    def _follow(self) -> None:
        """Follow until it is stopped, or an error occurs."""
        assert self._path is not None
        cluster = self._source.cluster_id()
        with exclusive_lock(self._path), closing(Store(self._path, MODEL, cluster=cluster)) as store:
            if store.renewed:
                self._log.warning("tracker.rebuilt", path=str(self._path), why=store.renewed, kept=str(store.kept))
            with self._source.reader(self._source.resumable(store)) as reader:
                reader.outage = self._outage
                tracking = Tracking(reader, self._source.intake(), store, self._watch, self._source.census())
                self.tracker, self.reader = "", READS
                while not self._stop.is_set():
                    tracking.run_once()

    def _wait_for_broker(self, why: str) -> None:
        """Show why the log is not followed; that no broker answers is logged by `_pulse`."""
        self.tracker, self.reader = f"no Kafka broker has answered ({why}); trying again", ""

    def _complain(self, why: str) -> None:
        if why != self.tracker:
            self._log.warning("not.tracking", why=why)
        self.tracker, self.reader = why, ""

    def _left_to_another(self) -> None:
        if self.reader != OTHER_READS:
            self._log.info("reading.only", why=OTHER_READS)
        self.tracker, self.reader = "", OTHER_READS
