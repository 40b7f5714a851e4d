"""What a person reads of a worker's log is what docs/operating.md shows."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from eventbus.engine.observer import Handled, Parking
from eventbus.kafka.topics import ReachedCluster
from eventbus.log import Partition, Record
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.serde.registry import registry_at
from eventbus.store.blocked_keys import BlockedKey
from eventbus.worker.console import for_people
from eventbus.worker.telemetry import StructlogHandler, Telemetry
from schemas import EVENTS

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
ORDER = "01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21"
MINE = [
    *(Partition(topic, n) for topic in ("order.created", "order.cancelled") for n in range(12)),
    Partition("payment-service.dead-letters.resolutions", 0),
]


def a_good_start(telemetry: Telemetry) -> None:
    """Report what a payment worker reports when all is well."""
    telemetry.connected("localhost:9092", ReachedCluster("4L6g3nShT-eMCtK--X86sw", 1, {}))
    topics = ["order.created", "order.cancelled"]
    telemetry.log.info("worker.started", topics=topics, delivery="exactly-once", codec="compiled")
    telemetry.assigned(MINE)
    for partition in MINE:
        telemetry.recovered(partition, entries=0, next_offset=0)
    telemetry._not_ready_since = telemetry._last_iteration
    telemetry.alive = lambda: None
    telemetry.turned(ready=len(MINE) - 1, owned=len(MINE), pending=0)
    telemetry.turned(ready=len(MINE), owned=len(MINE), pending=0)
    telemetry.turned(ready=len(MINE), owned=len(MINE), pending=0)
    answers = {"payment.charged": 48, "payment.failed": 2}
    telemetry.batch_handled(Handled({"order.created": 50}, answers, [], None, 0.061, Parking(), ORDER))


def read_by_people(said: list) -> list[str]:
    events = [for_people(None, "", {"level": line.pop("log_level"), "timestamp": "", **line}) for line in said]
    return [f"[{event['level']}] {event['event']}" for event in events if event["level"] != "debug"]


def shown() -> list[str]:
    [_, section] = PAGE.read_text(encoding="utf-8").split("### What a worker prints when all is well\n")
    [block] = re.findall(r"^```text\n(.*?)^```$", section.partition("\n#")[0], re.MULTILINE | re.DOTALL)
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in block.splitlines()]


def without_versions(lines: list[str]) -> list[str]:
    return [re.sub(r"librdkafka [\d.]+|after [\d.]+ s", "…", line) for line in lines]


def test_the_page_shows_what_a_worker_prints_when_all_is_well():
    """Line by line; each partition is a line only at debug level."""
    with capture_logs() as said:
        a_good_start(Telemetry("payment-service", "host-1"))
    assert without_versions(read_by_people(said)) == without_versions(shown())


def test_it_is_ready_again_after_each_assignment_and_says_so_once():
    with capture_logs() as said:
        telemetry = Telemetry("payment-service", "host-1")
        for _ in range(2):
            telemetry.assigned(MINE)
            for _ in range(3):
                telemetry.turned(ready=len(MINE), owned=len(MINE), pending=0)
    assert [line["event"] for line in said] == ["partitions.assigned", "worker.ready"] * 2


def test_entries_that_another_worker_left_are_news():
    """Events that were decided and not published: not normal, and no debug line."""
    with capture_logs() as said:
        Telemetry("payment-service", "host-1").recovered(MINE[0], entries=3, next_offset=7)
    assert [(line["log_level"], line["entries"]) for line in said] == [("info", 3)]


def test_a_dead_letter_is_said_once_and_shown_as_the_text_that_it_is():
    """It is on a topic, too, but is no event to publish; and no notation of Python's."""
    record = Record(Partition("payment.charged", 3), 17, b"o", b'{"order_id": 1}', 0, [])
    with pytest.raises(PoisonRecord) as refused:
        Codec(registry_at(None, EVENTS), EVENTS).decode("payment.charged", b"o", record.value)
    published = {"inventory-service.dead-letters": 1}
    with capture_logs() as said:
        telemetry = Telemetry("inventory-service", "host-1")
        for outputs in (published, {"inventory.reserved": 1, **published}):
            telemetry.batch_handled(
                Handled({"payment.charged": 1}, outputs, [(record, refused.value)], None, 0.003, Parking(), "o")
            )
    letter, handled, _, mixed = read_by_people(said)
    assert letter.startswith(
        "[warning] dead letter of payment.charged/3/17: not_framed: not Confluent-framed Avro, but"
    )
    assert """it starts with '{"ord', and""" in letter
    assert handled == "[info] handled 1 payment.charged, 1 dead letter; e.g. o; 3 ms, lag 0"
    assert (
        mixed
        == "[info] handled 1 payment.charged, to publish: 1 inventory.reserved, 1 dead letter; e.g. o; 3 ms, lag 0"
    )


def test_a_blocked_key_is_told_in_sentences_and_what_is_parked_is_not_called_handled():
    why = "the remote call of charge raised on order.created/3/17 (key 'o'): the provider answers 500"
    since = round(time.time() * 1000) - 12_300
    block = BlockedKey("o", "order.created", 3, 1, 1, 1, since, since + 20_000, why)
    with capture_logs() as said:
        telemetry = Telemetry("payment-service", "host-1")
        blocked = Parking(blocked=[block], parked=1)
        telemetry.batch_handled(Handled({"order.created": 1}, {}, [], None, 0.003, blocked, "o"))
        telemetry.batch_handled(Handled({"order.created": 3}, {}, [], None, 0.003, blocked, "o"))
        telemetry.batch_handled(Handled({}, {}, [], None, 0.003, Parking(retried=[block]), ""))
        telemetry.batch_handled(Handled({}, {}, [], None, 0.003, Parking(unblocked=[block], unparked=1), ""))
    assert [re.sub(r"[\d.]+ s$", "… s", line) for line in read_by_people(said)] == [
        f"[error] o is blocked, 1 record parked until a retry succeeds: {why}",
        "[info] parked 1 order.created; e.g. o; 3 ms, lag 0",
        f"[error] o is blocked, 1 record parked until a retry succeeds: {why}",
        "[info] handled 3 order.created, of which 1 parked; e.g. o; 3 ms, lag 0",
        f"[warning] o is still blocked after 1 attempt, 1 record parked: {why}; the next one follows in … s",
        "[info] o is unblocked after … s",
    ]


def test_what_is_not_usual_keeps_its_fields_and_cannot_change_the_terminal():
    line = {"event": "rdkafka", "level": "error", "timestamp": "", "line": "\x1b[2J", "service": "s"}
    assert for_people(None, "", line) == {"event": "rdkafka", "level": "error", "timestamp": "", "line": "\ufffd[2J"}


def test_what_the_client_warns_of_when_all_is_well_is_no_warning():
    """A coordinator that is still loading; a leader that is named before its address is known."""
    with capture_logs() as said:
        handler = StructlogHandler(Telemetry("payment-service", "host-1"))
        for line in (
            "METADATAUPDATE [vm-2#producer-7] [thrd:main]: Topic a [0]: new leader-1 not found in cache",
            "GETPID [vm-2#producer-7] [thrd:main]: Failed to acquire transactional PID",
            "MAXPOLL [vm-2#consumer-8] [thrd:main]: exceeded",
        ):
            handler.emit(logging.LogRecord("rdkafka", logging.WARNING, "", 0, line, None, None))
    warned = [line["line"].partition(" ")[0] for line in said if line["log_level"] == "warning"]
    assert warned == ["MAXPOLL"], "whatever the level is that another test has configured"
