"""FastStream on aiokafka, batches: at least once, no transactions."""

from __future__ import annotations

import asyncio

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from job import BATCH, arguments

given, job = arguments()
broker = KafkaBroker(given.bootstrap_servers, compression_type="lz4", enable_idempotence=True, logger=None)
app = FastStream(broker, logger=None)


@broker.subscriber(
    "order.created",
    group_id=given.group,
    batch=True,
    max_records=BATCH,
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def charge(values: list[bytes]) -> None:
    answers = job.handle(values)
    sent = [await broker.publish(value, given.sink, key=key, no_confirm=True) for key, value in answers]
    await asyncio.gather(*sent)
    if job.published(len(answers)):
        app.exit()


asyncio.run(app.run())
