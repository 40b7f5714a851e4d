"""The cursors of a whole group are asked for without the request in which librdkafka's admin client crashes."""

from __future__ import annotations

import subprocess
import sys

from tests.support.saga.processes import PATIENCE

ASK = """
import ctypes
from confluent_kafka import Consumer, KafkaError, TopicPartition
from eventbus.kafka.embedded import EmbeddedBroker
from eventbus.kafka.log import KafkaLog
from eventbus.kafka.config import Connection
from eventbus.log import LogUnavailable, Partition

OFFSET_FETCH = 9
with EmbeddedBroker({"ping": 3}) as broker:
    config = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "a-service"}
    Consumer(config).commit(offsets=[TopicPartition("ping", 1, 7, "2")], asynchronous=False)
    moved = (ctypes.c_int * 2)(KafkaError.NOT_COORDINATOR, KafkaError.NOT_COORDINATOR)
    push = broker._library.rd_kafka_mock_push_request_errors_array
    push.argtypes = [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p]
    push(broker._cluster, OFFSET_FETCH, len(moved), moved)
    log = KafkaLog(Connection(broker.bootstrap_servers, "a-service", "one", exactly_once=False), warn=print)
    cursors = {}
    while not cursors:
        try:
            cursors = log.group_offsets(["ping"], [Partition("a topic that is gone", 0)])
        except LogUnavailable as why:
            print("coordinator" in str(why).lower())
    print(cursors[Partition("ping", 1)][:2], len(cursors))
    log.close()
"""


def test_a_coordinator_that_has_moved_ends_nobody() -> None:
    """Whoever asks the old one asks the new one then (confluentinc/librdkafka#5040: the admin client crashed there)."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n(7, 2) 1\n"), done
