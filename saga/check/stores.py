"""Reads the three databases and the provider's ledger; the services' own read functions do the SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from sys import intern
from typing import Any

from eventbus.database import Transaction, check_file, existing
from eventbus.database.schema_version import Schema
from eventbus.service import Service
from eventbus.store import interventions
from inventory_service import repository as inventory_repository
from inventory_service.service import InventoryService
from order_service import repository as order_repository
from order_service.domain import Order
from order_service.service import OrderService
from payment_service import repository as payment_repository
from payment_service.domain import Payment
from payment_service.gateway import Provider, check_ledger, open_gateway
from payment_service.service import PaymentService
from saga.check.facts import (
    LedgerFact,
    OrderFact,
    ParkedFact,
    PaymentFact,
    ReservationFact,
    StockFact,
    shared,
)


@dataclass(frozen=True, slots=True)
class Stores:
    """The URLs of the databases and of the payment provider, in the services' form."""

    orders: str
    payments: str
    inventory: str
    gateway: str

    def check(self) -> None:
        """Raise NotThere for the first file that does not exist."""
        for what, url in (("orders", self.orders), ("payments", self.payments), ("inventory", self.inventory)):
            check_file(f"the database of {what}", url)
        check_ledger(self.gateway)

    def read_orders(self) -> dict[str, OrderFact]:
        """Return the orders by id."""
        with _snapshot(self.orders, OrderService, order_repository.SCHEMA) as tx:
            return orders_in(tx)

    def read_inventory(self) -> tuple[dict[str, ReservationFact], list[StockFact]]:
        """Return the reservations by order id, and the stock, in one snapshot."""
        with _snapshot(self.inventory, InventoryService, inventory_repository.SCHEMA) as tx:
            return inventory_in(tx)

    def read_payments(self) -> dict[str, PaymentFact]:
        """Return the payments by order id."""
        with _snapshot(self.payments, PaymentService, payment_repository.SCHEMA) as tx:
            return payments_in(tx)

    def read_parked(self) -> dict[str, tuple[ParkedFact, ...]]:
        """Return what the services have parked, by order id."""
        found: dict[str, tuple[ParkedFact, ...]] = {}
        for url, service, schema in (
            (self.orders, OrderService, order_repository.SCHEMA),
            (self.payments, PaymentService, payment_repository.SCHEMA),
            (self.inventory, InventoryService, inventory_repository.SCHEMA),
        ):
            with _snapshot(url, service, schema) as tx:
                for fact in parked_in(tx, service.name):
                    found[fact.order_id] = (*found.get(fact.order_id, ()), fact)
        return found

    def read_ledger(self) -> dict[str, tuple[LedgerFact, ...]]:
        """Return the provider's charges and refunds by order id."""
        with closing(open_gateway(self.gateway)) as provider:
            return movements_of(provider)


def parked_in(tx: Transaction, service: str) -> list[ParkedFact]:
    """Return which orders a service has parked."""
    return [ParkedFact(each.key, service, each.records, each.error) for each in interventions.blocked(tx)]


def orders_in(tx: Transaction) -> dict[str, OrderFact]:
    """Return the order service's orders by id."""
    return {intern(order.order_id): _order(order) for order in order_repository.all_orders(tx)}


def inventory_in(tx: Transaction) -> tuple[dict[str, ReservationFact], list[StockFact]]:
    """Return inventory's reservations by order id, and its stock."""
    reservations = {
        intern(r.order_id): ReservationFact(intern(r.order_id), shared(r.status), shared(r.items))
        for r in inventory_repository.all_reservations(tx)
    }
    stock = [StockFact(s.sku, s.on_hand, s.reserved) for s in inventory_repository.all_stock(tx)]
    return reservations, stock


def payments_in(tx: Transaction) -> dict[str, PaymentFact]:
    """Return the payment service's payments by order id."""
    return {intern(payment.order_id): _payment(payment) for payment in payment_repository.all_payments(tx)}


def movements_of(provider: Provider) -> dict[str, tuple[LedgerFact, ...]]:
    """Return a payment provider's charges and refunds by order id."""
    movements: dict[str, tuple[LedgerFact, ...]] = {}
    for entry in provider.entries():
        order_id = intern(entry.order_id)
        fact = LedgerFact(order_id, shared(entry.kind), entry.amount, shared(entry.currency))
        movements[order_id] = (*movements.get(order_id, ()), fact)
    return movements


def _order(order: Order) -> OrderFact:
    return OrderFact(
        intern(order.order_id),
        shared(order.customer_id),
        order.total,
        shared(order.currency),
        shared(order.items),
        shared(order.status),
        order.refunded,
        order.created_at,
        order.deadline_at or 0,
    )


def _payment(payment: Payment) -> PaymentFact:
    currency, status = shared(payment.currency), shared(payment.status)
    return PaymentFact(intern(payment.order_id), payment.payment_id, payment.amount, currency, status)


@contextmanager
def _snapshot(url: str, service: type[Service[Any]], schema: Schema) -> Iterator[Transaction]:
    with existing(url, service=service.name, schema=schema) as database, database.snapshot() as tx:
        yield tx
