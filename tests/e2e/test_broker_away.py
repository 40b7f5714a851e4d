"""A broker that is away: workers and tools say the same sentence, go on trying, and go on when it is back."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from eventbus.serde.registry import registry_at
from saga.tracker.source import TrackedLog
from saga.ui.following import READS, Following
from schemas import EVENTS
from tests.support.brokers.forwarder import Forwarder
from tests.support.brokers.kafka_node import OwnBroker
from tests.support.saga import Saga
from tests.support.saga.processes import PATIENCE, Worker

SAID = (
    r"no Kafka broker answers at {servers} since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(\d+ s\): [^;]+; {doing}\. Look at"
    r" the brokers, at the network, and at --bootstrap-servers \(KAFKA_BOOTSTRAP_SERVERS\)"
)
TRYING = "trying again until one does"


@pytest.fixture
def broker(make_broker: Callable[..., OwnBroker]) -> OwnBroker:
    return make_broker()


@pytest.fixture
def saga(broker: OwnBroker, tmp_path: Path) -> Iterator[Saga]:
    saga = Saga(tmp_path, broker.bootstrap_servers)
    saga.make_topics(2)
    yield saga
    saga.close()


def sentence(saga: Saga, doing: str = TRYING) -> re.Pattern[str]:
    return re.compile(SAID.format(servers=re.escape(saga.bootstrap_servers), doing=re.escape(doing)))


class Tool:
    """A command of `saga` that follows the log; what it prints goes to a file."""

    def __init__(self, saga: Saga, *arguments: str) -> None:
        self.output = saga.folder / f"{arguments[0]}.out"
        with self.output.open("wb") as file:
            run = [sys.executable, "-m", "saga", *arguments]
            self.process = subprocess.Popen(run, env=saga.env, cwd=saga.folder, stdout=file, stderr=file)

    def says(self, what: re.Pattern[str] | str) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return re.search(what, self.output.read_text()) is not None


@contextmanager
def tools(saga: Saga) -> Iterator[list[Tool]]:
    """`saga track` and `saga tail`."""
    started = [Tool(saga, "track", "--tracker", "tracker.db"), Tool(saga, "tail", "order.created")]
    try:
        yield started
    finally:
        for tool in started:
            tool.process.kill()
            tool.process.wait()


def source(saga: Saga) -> TrackedLog:
    return TrackedLog(saga.bootstrap_servers, {}, registry_at(None, EVENTS))


def test_all_say_the_same_sentence_while_it_is_away_and_go_on_when_it_is_back(
    saga: Saga, broker: OwnBroker, tmp_path: Path
) -> None:
    """Within seconds; a worker says it instead of what it cannot do, and nothing of librdkafka's own log."""
    saga.place("cd-1=1", wait=0)
    worker, *_ = saga.start_all()
    with capture_logs() as logged, tools(saga) as (track, tail), Following(source(saga), tmp_path / "p.db") as page:
        saga.until(lambda: track.says("events.tracked"), "nothing was tracked")
        assert page.broker == ""
        broker.kill()
        words = sentence(saga)
        for told, who in (
            (lambda: any(words.search(line["why"]) for line in worker.events("waiting")), "the worker"),
            (lambda: track.says(words), "track"),
            (lambda: tail.says(words), "tail"),
            (lambda: words.fullmatch(page.broker), "the page"),
        ):
            saga.until(told, f"{who} did not say it", 30)
        done = saga.run("saga", "check")
        assert done.code == 1
        assert sentence(saga, "gave up after 10 s").search(done.stderr), done.stderr
        done = saga.run("saga", "workers")
        assert re.search(r"\(1\d s\): .*gave up after 10 s", done.stderr), done.stderr
        # Before it is back: a broker that has just started may say what it still loads.
        assert [line for line in worker.events("rdkafka") if "FAIL" in line["line"]] == []
        # Before the first sentence: a request that was under way fails before librdkafka says that no broker is left.
        heard = [line["why"] for line in worker.events("waiting")]
        first = next(number for number, why in enumerate(heard) if words.search(why))
        assert [why for why in heard[first:] if not words.search(why)] == []
        broker.restart()
        saga.until(lambda: worker.events("kafka.reached"), "the worker did not go on")
        saga.until(lambda: track.says("kafka.reached"), "track did not go on")
        saga.until(lambda: tail.says("a Kafka broker answers again"), "tail did not go on")
        saga.until(lambda: page.broker == "", "the page did not see it")
        assert one_outage(logged)
        later = saga.place("cd-1=1", wait=0)["order_id"]
        saga.until(lambda: tail.says(later), "tail did not print the next record")


SOON = 30
"""How soon a frozen broker is said to be away: after ten seconds, on a machine that is busy with other things, too."""


def test_a_broker_that_stands_still_is_away_and_back_like_one_that_is_down(saga: Saga, broker: OwnBroker) -> None:
    """Its connections stay open, and librdkafka says nothing for a minute. Then the right length, once, and no more."""
    ports = broker.host_ports
    with Forwarder(ports.proxy, ports.behind_proxy) as port:
        behind = Saga(saga.folder, port.bootstrap_servers)
        behind.place("cd-1=1", wait=0)
        workers = behind.start_all()
        with tools(behind) as (track, tail), Following(source(behind), None) as page:
            behind.until(lambda: track.says("events.tracked"), "nothing was tracked")
            words, began = sentence(behind), time.time()
            with port.frozen():
                for worker in workers:
                    behind.until(lambda w=worker: said(w, words), "a worker did not say it", SOON)
                for tool in (track, tail):
                    behind.until(lambda tool=tool: tool.says(words), "a tool did not say it", SOON)
                behind.until(lambda: words.fullmatch(page.broker), "the page did not say it", SOON)
                # Before it goes on: a request that had no answer may be said to have timed out a moment later.
                assert [line for worker in workers for line in worker.events("rdkafka")] == []
                before = len(words.findall(tail.output.read_text()))
                behind.until(lambda: len(words.findall(tail.output.read_text())) > before + 1, "tail is silent", SOON)
            length = time.time() - began
            for worker in workers:
                behind.until(lambda w=worker: w.events("kafka.reached"), "a worker did not go on")
                [over] = worker.events("kafka.reached")
                assert length - 5 < over["seconds"] < time.time() - began + 5  # since the last answer before it
            behind.until(lambda: tail.says(r"(?m)^a Kafka broker answers again, after \d+ s$"), "tail did not go on")
            behind.until(lambda: track.says("kafka.reached"), "track did not go on")
            behind.until(lambda: page.broker == "", "the page did not see it")
            later = behind.place("cd-1=1", wait=0)["order_id"]
            behind.until(lambda: tail.says(later), "tail did not print the next record")
            since = track.output.read_text().rpartition("kafka.reached")[2]
            assert not words.search(since), "it is back"
        behind.close()


def said(worker: Worker, words: re.Pattern[str]) -> bool:
    return any(words.search(line["why"]) for line in worker.events("waiting"))


def one_outage(logged: list[MutableMapping[str, Any]]) -> bool:
    """Whether the page said every few seconds that no broker answers since one moment, then that one does, no more."""
    away = [line["why"] for line in logged if line["event"] == "waiting"]
    events = [line["event"] for line in logged if line["event"] != "events.tracked"]
    assert events == ["waiting"] * len(away) + ["kafka.reached"], events
    assert len({re.findall(r"since (\S+)", why)[0] for why in away}) == 1, away
    return len(away) > 1


def test_what_starts_without_a_broker_says_so_and_begins_once_there_is_one(
    saga: Saga, broker: OwnBroker, tmp_path: Path
) -> None:
    """Where they follow the log; what reads it once gives up after ten seconds."""
    saga.place("cd-1=1", wait=0)
    broker.kill()
    worker = saga.start("order_service")
    with capture_logs() as logged, tools(saga) as (track, tail), Following(source(saga), tmp_path / "p.db") as page:
        for tool in (track, tail):
            saga.until(lambda tool=tool: tool.says(sentence(saga)), "a tool did not say it", 30)
        saga.until(lambda: any(sentence(saga).search(e["why"]) for e in worker.events("waiting")), "nor the worker", 30)
        saga.until(lambda: page.tracker, "the page did not say why it does not follow the log", 30)
        once = saga.run("saga", "tail", "order.created", "--no-follow")
        assert (once.code, bool(sentence(saga, "gave up after 10 s").search(once.stderr))) == (1, True), once
        broker.restart()
        worker.wait_ready()
        saga.until(lambda: track.says("events.tracked"), "nothing was tracked")
        saga.until(lambda: page.reader == READS, "the page did not go on")
        assert one_outage(logged)


def test_a_wrong_password_is_not_waited_for(saga: Saga) -> None:
    """Only silence is an outage: time repairs no setting."""
    began = time.monotonic()
    config = ["--kafka-config", "security.protocol=SASL_PLAINTEXT", "--kafka-config", "sasl.mechanism=PLAIN"]
    config += ["--kafka-config", "sasl.username=a", "--kafka-config", "sasl.password=b"]
    done = saga.run("saga", "track", "--tracker", "tracker.db", *config)
    assert done.code == 1, done
    assert "no Kafka broker answers" in done.stderr
    assert TRYING not in done.stderr
    assert time.monotonic() - began < PATIENCE
