"""Quix Streams, exactly once on the log; it hands out one record at a time."""

from __future__ import annotations

from job import BATCH, arguments
from quixstreams import Application

given, job = arguments()
app = Application(
    broker_address=given.bootstrap_servers,
    consumer_group=given.group,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_every=BATCH,
    loglevel="ERROR",
    auto_create_topics=False,
    use_changelog_topics=False,
)
orders = app.topic("order.created", value_deserializer="bytes", key_deserializer="bytes")
charged = app.topic(given.sink, value_serializer="bytes", key_serializer="bytes")
app.dataframe(orders).apply(lambda value: job.handle([value])[0][1]).to_topic(charged)
app.run(count=given.events)
job.published(given.events)
