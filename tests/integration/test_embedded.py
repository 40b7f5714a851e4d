"""The embedded broker is a broker for other processes too, and the commands that read a log work on it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from eventbus import Codec
from eventbus.kafka.embedded import EmbeddedBroker
from eventbus.serde.registry import registry_at
from saga.kafka.cluster import Cluster
from saga.kafka.topics_file import counts, read_topics
from schemas import EVENTS, OrderConfirmed
from tests.support.saga.processes import PATIENCE, command, environment

CODEC = Codec(registry_at(None, EVENTS), EVENTS)


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with EmbeddedBroker(counts(read_topics(), 3)) as embedded:
        yield embedded.bootstrap_servers


@pytest.fixture(scope="module")
def written(broker: str) -> str:
    """A broker with a good record, a null one and one that is no event on order.confirmed."""
    producer = Producer({"bootstrap.servers": broker})
    headers = {"ce_id": b"x", "raw": b"\xff"}
    producer.produce("order.confirmed", CODEC.encode(OrderConfirmed("o-1")), "o-1", partition=1, headers=headers)
    producer.produce("order.confirmed", None, "o-2", partition=1)
    producer.produce("order.confirmed", b"junk", "o-3", partition=1)
    assert producer.flush(PATIENCE) == 0
    return broker


def saga(*arguments, broker, tmp_path, stdin=""):
    return command("saga", *arguments, env=environment(KAFKA_BOOTSTRAP_SERVERS=broker), folder=tmp_path, stdin=stdin)


@pytest.mark.quick
def test_it_has_the_topics_and_partitions_that_were_asked_for(broker):
    """And looking does not make others."""
    found = Cluster(broker).partitions()
    assert {name: len(partitions) for name, partitions in found.items()} == counts(read_topics(), 3)


def test_it_keeps_the_metadata_of_committed_offsets(broker):
    """The cursor of the outbox lives there."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "g"})
    place = TopicPartition("order.created", 0, 5, "17")
    consumer.commit(offsets=[place], asynchronous=False)
    [found] = consumer.committed([TopicPartition("order.created", 0)], timeout=PATIENCE)
    consumer.close()
    assert (found.offset, found.metadata) == (5, "17")


def test_two_of_them_do_not_know_each_other():
    """Each has its own port and topics."""
    with EmbeddedBroker({"a": 1}) as one, EmbeddedBroker({"b": 1}) as other:
        assert set(Cluster(one.bootstrap_servers).partitions()) == {"a"}
        assert set(Cluster(other.bootstrap_servers).partitions()) == {"b"}


def test_no_signal_reaches_its_thread(broker):
    """One that interrupted its poll would silence the broker: a terminal that is resized must not end a demo."""
    threads = []
    for task in sorted(Path("/proc/self/task").iterdir()):
        with suppress(FileNotFoundError):  # a thread that has just ended
            threads.append((task / "status").read_text())
    masks = [re.search(r"SigBlk:\s*(\w+)", status)[1] for status in threads if "rdk:mock" in status]
    assert masks
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGWINCH):
        assert all(int(mask, 16) >> (number - 1) & 1 for mask in masks), number


def test_kcat_reads_it_and_decode_shows_it(written, tmp_path):
    """Null values too, for which kcat writes the length -1."""
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not installed")
    read = ["kcat", "-C", "-b", written, "-t", "order.confirmed", "-p", "1", "-e", "-q", "-f", "%R%s"]
    framed = subprocess.run(read, capture_output=True, check=True).stdout
    decode = [sys.executable, "-m", "saga", "decode"]
    done = subprocess.run(
        decode, input=framed, capture_output=True, env=environment(), cwd=tmp_path, timeout=PATIENCE, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == {"order_id": "o-1"}
    assert [list(line) for line in lines[1:]] == [["error"], ["error"]]
    assert done.returncode == 1


def test_tail_shows_where_a_record_lies_and_what_it_says(written, tmp_path):
    """Undecodable ones in between do not stop it; --no-follow ends at the end."""
    done = saga("tail", "order.confirmed", "--no-follow", broker=written, tmp_path=tmp_path)
    good, null, junk = map(json.loads, done.stdout.splitlines())
    assert (good["partition"], good["offset"], good["key"], good["value"]) == (1, 0, "o-1", {"order_id": "o-1"})
    assert good["headers"] == {"ce_id": "x", "raw": "base64:/w=="}
    assert (null["value"], null["key"]) == (None, "o-2")
    assert junk["value_base64"] == "anVuaw=="
    assert (done.code, done.stderr) == (0, "")


def test_tail_stops_after_so_many(written, tmp_path):
    """Though there are more."""
    done = saga("tail", "order.confirmed", "--from-beginning", "--count", "2", broker=written, tmp_path=tmp_path)
    assert len(done.stdout.splitlines()) == 2
    assert done.code == 0


def test_tail_of_a_topic_that_is_not_there_says_so_and_does_not_make_it(broker, tmp_path):
    """Asking a broker for the metadata of one topic can make it."""
    done = saga("tail", "order.creatde", broker=broker, tmp_path=tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert "the topic 'order.creatde' does not exist" in done.stderr
    assert "order.creatde" not in Cluster(broker).partitions()


def test_topics_create_says_what_differs_and_fails(broker, tmp_path):
    """Every topic by name, with both numbers; nothing is changed."""
    done = saga("topics", "create", "--partitions", "5", "--json", broker=broker, tmp_path=tmp_path)
    findings = json.loads(done.stdout)
    differs = {finding["topic"] for finding in findings if finding["detail"] == "it has 3 partitions, not 5"}
    assert differs == {topic.name for topic in read_topics() if topic.partitions is None}
    assert {finding["status"] for finding in findings if finding["topic"] in differs} == {"differs"}
    assert done.code == 1
    assert "give it as --partitions" in done.stderr
    assert saga("topics", "create", "--partitions", "3", broker=broker, tmp_path=tmp_path).code == 0


def test_saga_dev_says_which_topics_it_cannot_create_why_and_what_to_do(tmp_path):
    """This broker creates none; those that exist do not matter, however many partitions they have."""
    topics = {name: number for name, number in counts(read_topics(), 3).items() if name != "order.cancelled"}
    with EmbeddedBroker(topics) as embedded:
        done = saga("dev", "--partitions", "5", broker=embedded.bootstrap_servers, tmp_path=tmp_path)
    assert done.code == 1
    why = "order.cancelled (this broker does not support creating topics (`saga broker` has its own)). Create them, or"
    assert done.stderr.startswith(
        f"error: these topics are missing at {embedded.bootstrap_servers} and could not be created: {why}"
    )


def test_topics_list_counts_offsets_and_marks_what_is_missing(written, tmp_path):
    """A topic of the file that is not on the broker."""
    path = tmp_path / "topics.yaml"
    path.write_text("events: [order.confirmed, order.lost]")
    done = saga("topics", "list", "--json", "--file", str(path), broker=written, tmp_path=tmp_path)
    there, missing = json.loads(done.stdout)
    assert (there["partitions"], there["offsets"], there["extents"][1]) == (
        3,
        3,
        {"partition": 1, "start": 0, "end": 3},
    )
    assert (missing["topic"], missing["exists"]) == ("order.lost", False)
    text = saga("topics", "list", "--file", str(path), broker=written, tmp_path=tmp_path).stdout
    assert "order.lost       missing" in text


def test_a_broker_that_does_not_answer_is_named(tmp_path):
    """Within some ten seconds."""
    done = saga("topics", "list", broker="127.0.0.1:1", tmp_path=tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert "no Kafka broker answers at 127.0.0.1:1" in done.stderr
    assert "Connection refused" in done.stderr


def test_saga_broker_prints_its_address_and_ends_at_a_signal():
    """Nothing but the address on stdout, so that a script can take it from there."""
    run = [sys.executable, "-m", "saga", "broker", "--partitions", "2"]
    with subprocess.Popen(run, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert len(Cluster(address).partitions()["order.created"]) == 2
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0
