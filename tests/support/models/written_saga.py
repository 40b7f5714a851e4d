"""Writes what a model of the saga knows where it is kept: in three databases, a provider's ledger, and the topics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import Producer

from eventbus import Codec, Event, publishing
from eventbus.database import Transaction, connect
from eventbus.log import Output
from eventbus.serde.registry import registry_at
from eventbus.service import finished
from inventory_service import repository as inventory_repository
from inventory_service.domain import Reservation, Stock
from order_service import repository as order_repository
from order_service.domain import Order
from payment_service import repository as payment_repository
from payment_service.domain import Payment
from payment_service.gateway import open_gateway
from saga.check.facts import Address, EventFact
from saga.services import SERVICES
from schemas import EVENTS, Item
from tests.support.models.saga_model import World
from tests.support.saga.processes import PATIENCE

BY_TOPIC = {event.topic: event for event in EVENTS}
REPOSITORIES = {
    "order-service": order_repository,
    "payment-service": payment_repository,
    "inventory-service": inventory_repository,
}
SOURCE = {event.topic: service.name.encode() for service in SERVICES for event in service.publishes()}


def new_codec() -> Codec:
    return Codec(registry_at(None, EVENTS), EVENTS)


@dataclass(frozen=True)
class Places:
    """Where a saga is written, named as its commands are told."""

    folder: Path
    bootstrap_servers: str
    postgresql: str | None = None
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        urls = {f"{name.upper()}_DATABASE": self.database(name) for name in ("order_service", "payment_service")}
        urls["INVENTORY_SERVICE_DATABASE"] = self.database("inventory_service")
        urls |= {"PAYMENT_GATEWAY": self.gateway, "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers}
        object.__setattr__(self, "environment", urls)

    def database(self, name: str) -> str:
        return self.postgresql or f"sqlite:///{self.folder}/{name}.db"

    @property
    def gateway(self) -> str:
        return f"simulated:///{self.folder}/provider.db?decline-above=10000"

    @contextmanager
    def transaction(self, service: str) -> Iterator[Transaction]:
        """Write to the database of a service."""
        url = self.database(service.replace("-", "_"))
        opened = closing(connect(url, service=service, schema=REPOSITORIES[service].SCHEMA))
        with opened as database, database.transaction() as tx:
            yield tx

    def change(self, service: str, sql: str, *parameters: Any) -> None:
        """Do to one row what the service would not do."""
        with self.transaction(service) as tx:
            assert tx.execute(sql, *parameters) == 1


def write_stores(world: World, places: Places) -> None:
    """Write everything but the log."""
    with places.transaction("order-service") as tx:
        order_repository.insert_orders(
            tx,
            [
                Order(
                    *(o.order_id, None, o.customer_id, o.total, o.currency, o.items),
                    *(o.status, None, o.refunded, o.placed_ms, 0),
                )
                for o in world.orders.values()
            ],
        )
    with places.transaction("payment-service") as tx:
        payments = [Payment(p.order_id, p.payment_id, p.amount, "USD", p.status, None) for p in world.payments.values()]
        tx.insert(payment_repository.PAYMENT, payments)
    with places.transaction("inventory-service") as tx:
        rows = [
            inventory_repository._row(Reservation(r.order_id, r.status, r.items)) for r in world.reservations.values()
        ]
        tx.insert(inventory_repository.RESERVATION, rows)
        tx.insert(inventory_repository.STOCK, [Stock(s.sku, s.on_hand, s.reserved) for s in world.stock.values()])
    with closing(open_gateway(places.gateway)) as provider:
        for order_id, entries in world.ledger.items():
            for entry in entries:
                key = (order_id,) if entry.kind == "charge" else (f"refund/{order_id}", order_id)
                finished(getattr(provider, entry.kind)(*key, entry.amount, entry.currency))


class Publisher:
    """Publishes in transactions of one record each; where a record came to lie is known before the next is made."""

    def __init__(self, bootstrap_servers: str) -> None:
        config = {"bootstrap.servers": bootstrap_servers, "transactional.id": "a-test", "retry.backoff.ms": 5}
        self._producer = Producer({**config, "linger.ms": 0}, logger=None)
        self._producer.init_transactions(PATIENCE)
        self._codec = new_codec()

    def history(self, world: World) -> dict[Address, Address]:
        """Publish all events of the world, and return where each one of the model lies now."""
        lies: dict[Address, Address] = {}
        events = (event for tp in world.log.values() for event in tp)
        for fact in sorted(events, key=lambda event: event.timestamp_ms):
            lies[fact.address] = self.publish(self.output(fact, lies), fact.partition)
        return lies

    def output(self, fact: EventFact, lies: dict[Address, Address]) -> Output:
        event = _event(fact)
        if fact.cause is None:
            return publishing.root_event(self._codec, SOURCE[fact.topic], event)
        return publishing.caused(self._codec, SOURCE[fact.topic], event, str(lies[fact.cause]))

    def publish(self, output: Output, partition: int, commit: bool = True) -> Address:
        """Publish one record in a transaction of its own, which is aborted unless `commit`."""
        self._producer.begin_transaction()
        address = self.produce(output, partition)
        (self._producer.commit_transaction if commit else self._producer.abort_transaction)(PATIENCE)
        return address

    def begin(self, output: Output, partition: int) -> None:
        """Publish a record in a transaction that stays open."""
        self._producer.begin_transaction()
        self.produce(output, partition)

    def abort(self) -> None:
        self._producer.abort_transaction(PATIENCE)

    def produce(self, output: Output, partition: int) -> Address:
        reports: list[Any] = []
        self._producer.produce(
            output.topic,
            key=output.key,
            value=output.value,
            headers=output.headers,
            partition=partition,
            on_delivery=lambda error, message: reports.append((error, message)),
        )
        self._producer.flush(PATIENCE)
        [(error, message)] = reports
        assert error is None
        return Address(output.topic, partition, message.offset())


class WrittenLog:
    """A finished saga of twelve orders on the topics, record by record; `lies` says where each of the model lies."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.publisher, self.world = Publisher(bootstrap_servers), World(Random(3), 12)
        self.world.finish()
        self.lies = self.publisher.history(self.world)
        self.facts = [fact for tp in self.world.log.values() for fact in tp]

    def copy(self, fact: EventFact) -> Output:
        """Return an event as it was published."""
        return self.publisher.output(fact, self.lies)


def _event(fact: EventFact) -> Event:
    kind, body = BY_TOPIC[fact.topic], fact.body
    if fact.topic == "order.created":
        return kind(fact.order_id, body.customer_id, body.total, body.currency, tuple(Item(*i) for i in body.items))
    if body is not None:
        return kind(fact.order_id, *body)
    more = {"payment.failed": ["declined"], "inventory.reservation.failed": ["short"], "order.cancelled": ["why"]}
    return kind(fact.order_id, *more.get(fact.topic, []))
