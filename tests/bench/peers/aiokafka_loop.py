"""aiokafka, exactly once on the log: outputs and offsets in one transaction a batch."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from job import BATCH, arguments


async def main() -> None:
    given, job = arguments()
    consumer = AIOKafkaConsumer(
        "order.created",
        bootstrap_servers=given.bootstrap_servers,
        group_id=given.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=given.bootstrap_servers, transactional_id=given.group, compression_type="lz4"
    )
    async with consumer, producer:
        done = False
        while not done:
            batch = await consumer.getmany(timeout_ms=200, max_records=BATCH)
            if batch:
                answers = job.handle([message.value for messages in batch.values() for message in messages])
                async with producer.transaction():
                    sent = [await producer.send(given.sink, value, key) for key, value in answers]
                    await asyncio.gather(*sent)
                    ends = {partition: messages[-1].offset + 1 for partition, messages in batch.items()}
                    await producer.send_offsets_to_transaction(ends, given.group)
                done = job.published(len(answers))


asyncio.run(main())
