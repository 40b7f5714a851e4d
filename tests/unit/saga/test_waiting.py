"""What those who follow the log say of brokers that are away, and of all else, to people."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from structlog.testing import capture_logs

import saga
from eventbus.kafka.embedded import EmbeddedBroker
from eventbus.kafka.outage import BrokerOutage
from eventbus.worker.console import for_people
from saga.kafka import waiting
from saga.kafka.reader import Reader
from saga.kafka.waiting import OutageNews
from saga.tracker.console import SENTENCES
from saga.tracker.run import Watch
from tests.support.saga.processes import PATIENCE


def test_an_outage_is_said_every_few_seconds_and_its_end_once(monkeypatch):
    told: list[str] = []
    news = OutageNews(lambda _why: told.append("away"), lambda seconds: told.append(f"back after {seconds:.0f} s"))
    clock = [1_000.0]
    outage = BrokerOutage("b:1", clock=lambda: clock[0])
    monkeypatch.setattr(waiting, "SAY_SECONDS", PATIENCE)
    news.look(outage)
    outage.begin("timed out")
    for _ in range(3):
        news.look(outage)
    monkeypatch.setattr(waiting, "SAY_SECONDS", 0)
    news.look(outage)
    clock[0] += 89
    outage.end()
    for _ in range(2):
        news.look(outage)
    outage.begin("again")
    news.look(outage)
    assert told == ["away", "away", "back after 89 s", "away"]


def test_whatever_is_read_ends_an_outage():
    """A record, or the end of a partition; the next outage has a time of its own."""
    with EmbeddedBroker({"there": 1}) as broker, Reader(broker.bootstrap_servers, ["there"]) as reader:
        assert not reader.outage.in_question
        reader._checked_topic_ids = float("inf")  # no answer but what is read
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce("there", b"x")
        assert producer.flush(PATIENCE) == 0
        reader.outage.begin("timed out", since=1_000.0)
        while not reader.receive(0.1, limit=0):
            pass
        assert (reader.outage.active, reader.at_end) == (False, False)
        reader.outage.begin("timed out", since=1_000.0)
        while not reader.at_end:
            reader.read(0.1)
        assert not reader.outage.active
        reader._handle_error(_Silence(), KafkaError(KafkaError._ALL_BROKERS_DOWN))
        assert (reader.outage.suspected, reader.complaint) == (True, "")
        reader.outage.unanswered("timed out")
        assert "1970" not in str(reader.outage)


class _Silence:
    def topic(self) -> None: ...

    def partition(self) -> None: ...


def said_to_people(said: list) -> list[str]:
    events = [for_people(None, "", {"level": e.pop("log_level"), "timestamp": "", **e}, SENTENCES) for e in said]
    return [f"[{event['level']}] {event['event']}" for event in events]


def test_the_tracker_says_what_workers_say():
    with capture_logs() as said:
        watch, outage = Watch(), BrokerOutage("b:1", clock=lambda: 1_000.0)
        outage.begin("timed out", since=911.0)
        watch.broker.look(outage)
        outage.end()
        watch.broker.look(outage)
        watch._said -= 10
        watch.turned(28, 1_200, "", at_end=True)
        watch.turned(0, None, "the schema registry does not answer", at_end=True)
        watch.turned(0, None, "", at_end=True)
    first, *others = said_to_people(said)
    assert first.startswith("[warning] waiting: no Kafka broker answers at b:1 since")
    assert others == [
        "[info] a Kafka broker answers again, after 89 s",
        "[info] tracked 28 events, 3 a second; offsets not read yet: 1,200",
        "[warning] waiting: the schema registry does not answer",
        "[info] reads the log again",
    ]


@pytest.mark.parametrize("file", ["tracker/run.py", "ui/following.py"])
def test_every_event_of_the_log_has_a_sentence(file):
    tree = ast.parse((Path(saga.__file__).parent / file).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    logged = {
        call.args[0].value
        for call in calls
        if call.func.attr in {"info", "warning", "error"} and isinstance(call.args[0], ast.Constant)
    }
    assert logged
    assert logged <= SENTENCES.keys()
