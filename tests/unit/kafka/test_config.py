"""Settings whose effect no single test on a broker would show."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from confluent_kafka import Consumer

from eventbus.kafka.config import BadKafkaConfig, Connection, check, client, consumer_config, producer_config
from eventbus.kafka.progress_topic import without_group

CONNECTION = Connection("localhost:9092", "group", "1")
STRATEGY = "metadata.recovery.strategy"


def test_only_producers_forget_where_to_begin() -> None:
    """With `none` a producer's send_offsets returns, but a consumer that saw no live broker never recovers."""
    assert producer_config(CONNECTION)[STRATEGY] == "none"
    assert STRATEGY not in consumer_config(CONNECTION)
    assert STRATEGY not in CONNECTION.common(), "the admin client's"


def test_who_does_not_poll_for_a_minute_is_put_out_of_the_group() -> None:
    """Or for a session, if that is longer: librdkafka rejects less."""
    assert consumer_config(CONNECTION)["max.poll.interval.ms"] == 60_000
    longer = replace(CONNECTION, extra={"session.timeout.ms": "300000"})
    assert consumer_config(longer)["max.poll.interval.ms"] == 300_000
    given = replace(CONNECTION, extra={"max.poll.interval.ms": "90000"})
    assert consumer_config(given)["max.poll.interval.ms"] == "90000"


def test_each_protocol_has_its_own_settings_and_one_assignor() -> None:
    """Only `range` spreads each topic evenly; with the newer protocol the broker's assignor of that name does."""
    classic, newer = (
        consumer_config(CONNECTION),
        consumer_config(replace(CONNECTION, extra={"group.protocol": "consumer"})),
    )
    assert classic["partition.assignment.strategy"] == newer["group.remote.assignor"] == "range"
    assert not {"partition.assignment.strategy", "group.instance.id", "session.timeout.ms"} & set(newer)
    assert classic["topic.metadata.refresh.interval.ms"] == newer["topic.metadata.refresh.interval.ms"] == 5_000


@pytest.mark.parametrize("key", ["partition.assignment.strategy", "group.remote.assignor"])
def test_no_other_assignor_can_be_chosen(key: str) -> None:
    """The message names the setting, its value, and what to do."""
    with pytest.raises(BadKafkaConfig, match=rf"--kafka-config {key}=cooperative-sticky: .* 'range'.*leave it out"):
        check({key: "cooperative-sticky"})


def test_a_short_poll_interval_is_for_those_who_join() -> None:
    """The reader of the progress topic has no session, so librdkafka would compare it with its default of 45 s."""
    quick = replace(CONNECTION, extra={"session.timeout.ms": "6000", "max.poll.interval.ms": "6000"})
    client(Consumer, without_group(quick), logging.getLogger()).close()
