"""What everything reads the log with that follows it from outside, on a real broker."""

from __future__ import annotations

import time
from threading import Timer

import pytest

from eventbus.log import Partition
from saga.kafka.cluster import TopicRecreated
from saga.kafka.reader import Reader
from tests.support.brokers.admin import Admin
from tests.support.saga.processes import PATIENCE


@pytest.mark.parametrize("from_beginning", [True, False])
def test_partitions_that_are_added_while_it_reads_are_read_from_their_beginning(broker, make_topics, from_beginning):
    """Also by who started at the end: all that they hold is new. It is not at the end before it has read them."""
    admin = Admin(broker.bootstrap_servers)
    (topic,) = make_topics("growing", partitions=1)
    admin.produce(topic, b"a", b"old", partition=0)
    with Reader(broker.bootstrap_servers, [topic], from_beginning=from_beginning, look_seconds=0.1) as reader:
        assert values(reader, 1 if from_beginning else 0) == ([b"old"] if from_beginning else [])
        admin.grow([topic], 3)
        for number in (1, 2):
            admin.produce(topic, b"a", b"new", partition=number)
        time.sleep(0.2)
        reader.read(0)
        assert not reader.at_end
        assert values(reader, 2) == [b"new", b"new"]
        assert reader.positions == {Partition(topic, number): 1 for number in range(3)}
        admin.produce(topic, b"a", b"next", partition=2)
        assert values(reader, 1) == [b"next"]


def test_a_topic_that_was_just_made_is_waited_for(broker, make_topics):
    """On a cluster the broker that is asked may hear of it a moment later than the one that was told to make it."""
    (topic,) = make_topics("new", partitions=1)
    admin = Admin(broker.bootstrap_servers)
    admin.remove([topic])
    Timer(0.5, lambda: admin.create([topic], 1)).start()
    with Reader(broker.bootstrap_servers, [topic]) as reader:
        admin.produce(topic, b"a", b"first", partition=0)
        assert values(reader, 1) == [b"first"]


def test_added_partitions_are_read_within_ten_seconds(broker, make_topics):
    """By everything that follows the log from outside, as it is set up."""
    admin = Admin(broker.bootstrap_servers)
    (topic,) = make_topics("soon", partitions=1)
    with Reader(broker.bootstrap_servers, [topic]) as reader:
        admin.grow([topic], 2)
        started = time.monotonic()
        admin.produce(topic, b"a", b"new", partition=1)
        assert values(reader, 1) == [b"new"]
        assert time.monotonic() - started < 10


def values(reader, count):
    """Return the values of what is read until so many records have come and the end is reached."""
    found, until = [], time.monotonic() + PATIENCE
    while (len(found) < count or not reader.at_end) and time.monotonic() < until:
        found += [record.value for record in reader.read(0.2)]
    return found


def test_a_topic_that_is_created_again_while_it_is_read_is_another_log(broker, make_topics):
    """However many records the new one has: nobody goes on at the old offset as if nothing were."""
    admin = Admin(broker.bootstrap_servers)
    (topic,) = make_topics("recreated", partitions=1)
    for number in range(3):
        admin.produce(topic, b"a", b"%d" % number, partition=0)
    with Reader(broker.bootstrap_servers, [topic]) as reader:
        assert len(values(reader, 3)) == 3
        admin.remove([topic])
        admin.create([topic], 1)
        for number in range(9):
            admin.produce(topic, b"a", b"%d" % number, partition=0)
        until = time.monotonic() + PATIENCE
        with pytest.raises(TopicRecreated, match=f"the topic {topic} was deleted and recreated"):
            while time.monotonic() < until:
                reader.read(0.2)
