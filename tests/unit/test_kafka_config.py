"""Settings that something rests on which no single test on a broker would show."""

from __future__ import annotations

from dataclasses import replace

from eventbus.kafka_config import Connection, consumer_config, producer_config

CONNECTION = Connection("localhost:9092", "group", "1")
STRATEGY = "metadata.recovery.strategy"


def test_only_producers_forget_where_to_begin() -> None:
    """With `none` a producer's send_offsets returns, but a consumer that heard of no live broker never comes back."""
    assert producer_config(CONNECTION)[STRATEGY] == "none"
    assert STRATEGY not in consumer_config(CONNECTION)
    assert STRATEGY not in CONNECTION.common(), "the admin client's"


def test_who_does_not_poll_for_a_minute_is_put_out_of_the_group() -> None:
    """Or for a session, where that is longer: librdkafka refuses less."""
    assert consumer_config(CONNECTION)["max.poll.interval.ms"] == 60_000
    longer = replace(CONNECTION, extra={"session.timeout.ms": "300000"})
    assert consumer_config(longer)["max.poll.interval.ms"] == 300_000
    given = replace(CONNECTION, extra={"max.poll.interval.ms": "90000"})
    assert consumer_config(given)["max.poll.interval.ms"] == "90000"
