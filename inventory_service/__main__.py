"""The commands of the inventory service, and the only place that builds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import BinaryIO

import click

from eventbus import (
    Database,
    as_json,
    complete_keys,
    connect,
    database_option,
    existing,
    fail,
    parked_here,
    parked_line,
    print_json,
    print_table,
    redact,
    retry_on_conflict,
    service_cli,
    whole_key,
)
from inventory_service.domain import BelowReserved
from inventory_service.repository import RESERVATION, SCHEMA, all_stock, find_reservation, set_on_hand
from inventory_service.service import InventoryService
from inventory_service.stock_file import checked, read_counts

DATABASE = database_option(InventoryService.name)


main = service_cli(InventoryService, SCHEMA, facts=[BelowReserved], distribution="order-saga")


@main.command()
@click.argument("order_id", shell_complete=complete_keys(InventoryService.name, RESERVATION))
@DATABASE
@as_json
def show(order_id: str, database: str, as_json: bool) -> None:
    """Show the reservation of one order.

    Its id may be shortened to its beginning, or to its end of 4 characters or more.

    Example: inventory-service show 01980c4e --json
    """
    with _existing(database) as opened, opened.snapshot() as tx:
        order_id = whole_key(tx, order_id, RESERVATION)
        reservation, parked = find_reservation(tx, order_id), parked_here(tx, order_id)
    if reservation is None:
        waits = f"; it is {parked_line(parked)}" if parked else ""
        fail(f"there is no reservation of order {order_id} in {redact(database)}{waits}")
    items = [{"sku": sku, "quantity": quantity} for sku, quantity in reservation.items]
    if as_json:
        print_json({**reservation._asdict(), "items": items, "parked": parked})
        return
    click.echo(f"order   {reservation.order_id}\nstatus  {reservation.status}")
    if items:
        click.echo(f"items   {', '.join(f'{quantity} x {sku}' for sku, quantity in reservation.items)}")
    if reservation.error:
        click.echo(f"error   {reservation.error}")
    if parked:
        click.echo(parked_line(parked))


@main.group()
def stock() -> None:
    """Set or show how many of each article are on hand.

    Example: inventory-service stock show
    """


@stock.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a wrong quantity, not an option
@click.argument("sku")
@click.argument("quantity", type=int)
@DATABASE
def set_command(sku: str, quantity: int, database: str) -> None:
    """Set how many of SKU are on hand, including those reserved for orders.

    Example: inventory-service stock set CD-04 100
    """
    try:
        counts = dict([checked(sku, quantity)])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _count(database, counts)
    click.echo(f"{sku}: {quantity} on hand")


@stock.command("load")
@click.argument("file", type=click.File("rb"))
@DATABASE
def load_command(file: BinaryIO, database: str) -> None:
    """Set how many of each article in FILE (- is stdin) are on hand: all lines, or none if one is invalid.

    A line is CSV without a header, CD-04,100 or CD-04;100, or JSON, {"sku": "CD-04", "on_hand": 100}; in UTF-8.

    Example: inventory-service stock load stock.csv
    """
    try:
        counts = read_counts(file)
    except ValueError as error:
        fail(str(error))
    _count(database, counts)
    click.echo(f"{len(counts)} articles counted")


@stock.command("show")
@DATABASE
@as_json
def show_command(database: str, as_json: bool) -> None:
    """Show how many of each article are on hand, and how many of them are reserved for orders.

    Example: inventory-service stock show --json
    """
    with _existing(database) as opened, opened.snapshot() as tx:
        articles = list(all_stock(tx))
    if as_json:
        print_json([article._asdict() for article in articles])
        return
    rows = [[str(article.on_hand), str(article.reserved), article.sku] for article in articles]
    print_table(("on hand", "reserved", "sku"), rows, right=("on hand", "reserved"))


def _count(url: str, counts: Mapping[str, int]) -> None:
    with _open(url) as opened:
        retry_on_conflict(opened, lambda tx: set_on_hand(tx, counts))


def _existing(url: str) -> AbstractContextManager[Database]:
    return existing(url, service=InventoryService.name, schema=SCHEMA)


@contextmanager
def _open(url: str) -> Iterator[Database]:
    with closing(connect(url, service=InventoryService.name, schema=SCHEMA)) as opened:
        yield opened


if __name__ == "__main__":
    main(prog_name="inventory-service")
