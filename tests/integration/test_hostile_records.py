"""Records that no good client writes: the next good one is handled, whatever came before it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from confluent_kafka import Producer

from eventbus.kafka.headers import headers_of
from tests.support.engines import CODEC, Playground
from tests.support.engines.sample import Ping
from tests.support.saga.processes import PATIENCE


def handled_after(playground: Playground, dead: list[str], pongs: int) -> None:
    """Good events after the hostile record are answered, and it is where it belongs."""
    worker = playground.worker()
    playground.send(range(20), partition=0)
    playground.turn_until(lambda: len(playground.pongs()) == 20 + pongs)
    assert worker.watch.dead == dead
    assert len(playground.admin.read(f"{playground.group}.dead-letters")) == len(dead)


def write(playground: Playground, value: bytes, key: str, headers: list[tuple[str, bytes | None]]) -> None:
    """As a foreign producer that compresses and has no limit of its own."""
    config = {"bootstrap.servers": playground.bootstrap, "message.max.bytes": 100_000_000, "compression.type": "gzip"}
    producer = Producer(config)
    producer.produce("ping", value, key, 0, headers=headers)
    assert producer.flush(PATIENCE) == 0


def test_a_record_that_is_larger_than_any_topic_takes_is_cut_into_a_dead_letter(sqlite_playground: Playground) -> None:
    """5 MB of nothing compress to a few kB: the broker takes them, no dead-letter topic would."""
    write(sqlite_playground, b"\0" * 5_000_000, "name-0", [])
    handled_after(sqlite_playground, ["too_large"], 0)


def test_a_trace_header_of_megabytes_goes_no_further(sqlite_playground: Playground) -> None:
    """The event is good and is answered; what is carried on is bounded."""
    write(sqlite_playground, CODEC.encode(Ping("name-0", 1)), "name-0", [("traceparent", b"0" * 3_000_000)])
    handled_after(sqlite_playground, [], 1)


def test_headers_without_a_value_are_no_headers(sqlite_playground: Playground) -> None:
    """Kafka allows them."""
    write(sqlite_playground, CODEC.encode(Ping("name-0", 1)), "name-0", [("traceparent", None), ("ce_id", None)])
    handled_after(sqlite_playground, [], 1)


def test_a_header_name_that_is_no_utf_8_crashes_nobody(sqlite_playground: Playground) -> None:
    """The client library cannot say it; the record is read without its headers."""
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("no kcat")
    run = [kcat, "-P", "-b", sqlite_playground.bootstrap, "-t", "ping", "-p", "0", "-k", "name-0", "-H", b"\xff\xfe=1"]
    subprocess.run(run, input=b"hello", check=True, timeout=PATIENCE)
    handled_after(sqlite_playground, ["not_framed"], 0)
    hostile = sqlite_playground.admin.read("ping")[0]
    assert headers_of(hostile) == []
