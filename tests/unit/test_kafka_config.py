"""Settings that something rests on which no single test on a broker would show."""

from __future__ import annotations

from eventbus.kafka_config import Connection, consumer_config, producer_config

CONNECTION = Connection("localhost:9092", "group", "1")
STRATEGY = "metadata.recovery.strategy"


def test_only_producers_forget_where_to_begin() -> None:
    """With `none` a producer's send_offsets returns, but a consumer that heard of no live broker never comes back."""
    assert producer_config(CONNECTION)[STRATEGY] == "none"
    assert STRATEGY not in consumer_config(CONNECTION)
    assert STRATEGY not in CONNECTION.common(), "the admin client's"
