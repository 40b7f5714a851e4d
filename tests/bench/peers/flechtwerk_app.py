"""Flechtwerk, exactly once on the log: answers, offsets and its state's changelog in one transaction a task and batch.

Its state is its own RocksDB, as in Kafka Streams. It reads JSON; another format enters by its hook for what it cannot
decode, which may return the decoded value, and leaves as bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import uvloop
from aiokafka.admin import AIOKafkaAdminClient
from flechtwerk import Event, Flechtwerk, IncomingMessage, InvalidMessageError, Message, State, transformer
from flechtwerk.attribute import INT, STR, Attribute
from job import BATCH, Clock, given, read, write

ORDER_ID, PAYMENT_ID = Attribute("order_id", STR), Attribute("payment_id", STR)
TOTAL, AMOUNT = Attribute("total", INT), Attribute("amount", INT)
CURRENCY, STATUS = Attribute("currency", STR), Attribute("status", STR)
LOOK_SECONDS = 0.02

where = given()
clock = Clock(where.events)
books: dict[str, str] = {}
all_seen = asyncio.Event()


def avro(error: InvalidMessageError) -> Event:
    if error.part != "value" or not isinstance(error.value, bytes):
        raise error
    clock.handling(len(books))
    return Event.wrap(read(error.value))


@transformer(input_topics=["order.created"], on_invalid_message=avro)
async def charge(message: IncomingMessage, state: State) -> AsyncIterator[Message | State]:
    order = message.value
    assert order is not None
    key, amount, currency = order[ORDER_ID], order[TOTAL], order[CURRENCY]
    payment = state.get(PAYMENT_ID) or books.setdefault(key, f"p-{len(books)}")
    charged = {"order_id": key, "payment_id": payment, "amount": amount, "currency": currency}
    yield Message(key=key, topic=where.sink, value=write(charged))
    yield State({PAYMENT_ID: payment, AMOUNT: amount, CURRENCY: currency, STATUS: "charged"})
    if len(books) == where.events:
        all_seen.set()


async def committed(admin: AIOKafkaAdminClient) -> int:
    offsets = await admin.list_consumer_group_offsets(where.group)
    return sum(each.offset for each in offsets.values() if each.offset > 0)


async def main() -> None:
    application = Flechtwerk.of(
        application_id=where.group,
        bootstrap_servers=where.bootstrap_servers,
        client_id=where.group,
        stage=charge,
        compression_type="lz4",
        max_poll_records=BATCH,
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=where.bootstrap_servers)
    await admin.start()
    running = asyncio.create_task(application.run())
    waiting = asyncio.create_task(all_seen.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    while not running.done() and await committed(admin) < where.events:  # noqa: ASYNC110 - the broker sends no event
        await asyncio.sleep(LOOK_SECONDS)
    if running.done():
        running.result()
    clock.published(where.events)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await admin.close()


uvloop.run(main())
