"""The commands of the order service, and the only place that builds it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import Progress
from uuid_utils import uuid7

from eventbus import (
    Codec,
    ConcurrentUpdate,
    Database,
    ReadOnlyOrFull,
    Unavailable,
    WrongClock,
    as_json,
    check_clock,
    complete_keys,
    connect,
    database_option,
    existing,
    fail,
    handed_in,
    not_empty,
    parked_here,
    parked_line,
    print_json,
    print_table,
    redact,
    registry,
    schema_registry_url,
    service_cli,
    whole_key,
)
from order_service import report
from order_service.currency import to_minor
from order_service.domain import (
    STATUSES,
    AlreadyConfirmed,
    Items,
    NoSuchOrder,
    Order,
    OrderRequest,
    Status,
    is_refunded,
)
from order_service.door import admit, cancellation_reason
from order_service.duration import to_ms
from order_service.intake import ImportReport, import_orders
from order_service.repository import (
    ORDERS,
    SCHEMA,
    all_orders,
    count_by_status,
    count_refunded,
    find_order,
    newest_orders,
)
from order_service.service import OrderService
from schemas.events import MAX_QUANTITY
from schemas.money import decimals

LOOK_AGAIN_SECONDS = 0.05
NUMBER = re.compile(r"-?[0-9]+")
MOST_DIGITS = 9
OPTIONS = {
    "customer_id": "--customer",
    "request_id": "--request-id",
    "sku": "--item",
    "items": "--item",
    "total": "--total",
}
"""The option of `place` by the word that a message about its value begins with."""
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
DATABASE = database_option(OrderService.name)


def _currency(_context: click.Context, _parameter: click.Parameter, code: str) -> str:
    try:
        decimals(code)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return code


def _duration(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int:
    try:
        return to_ms(text) if text is not None else 0
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    if text is None or SECONDS.fullmatch(text):
        return None if text is None else float(text)
    try:
        return to_ms(text) / 1000
    except ValueError:
        raise click.BadParameter(f"{text[:80]!r} is not a duration: write 10 or 10s, 2m or 1m30s") from None


NEW_ORDERS = click.option(
    "--order-deadline",
    "deadline_ms",
    metavar="DURATION",
    envvar="ORDER_DEADLINE",
    show_envvar=True,
    default="15m",
    callback=_duration,
    help="An order still pending after this time is cancelled. As in 15m, 1h30m or PT15M; 0: it waits indefinitely.",
)
OLD_ORDERS = click.option(
    "--order-deadline",
    "deadline_ms",
    metavar="DURATION",
    callback=_duration,
    help="Pending orders without a deadline are cancelled if they are still pending this long after the start of the"
    " worker. As in 15m, 1h30m or PT15M; 0 or not given: they wait indefinitely.",
)


def worker(deadline_ms: int = 0) -> OrderService:
    """Start a worker: it confirms and cancels orders, and publishes new ones.

    Example: order-service run --bootstrap-servers localhost:9092
    """
    return OrderService(now=_now_ms, new_id=lambda: str(uuid7()), deadline_ms=deadline_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _accepting(deadline_ms: int) -> OrderService:
    """Return the service for new orders, unless the clock is certainly wrong."""
    if deadline_ms:
        try:
            check_clock(_now_ms())
        except WrongClock as wrong:
            fail(f"{wrong}; or give --order-deadline 0")
    return worker(deadline_ms)


main = service_cli(OrderService, SCHEMA, build=worker, options=[OLD_ORDERS], distribution="order-saga")


def _items(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Items:
    items = []
    for value in values:
        sku, _, quantity = value.rpartition("=")
        if not sku or not NUMBER.fullmatch(quantity):
            raise click.BadParameter(f"{value[:80]!r} is not SKU=QUANTITY, as in CD-04=2")
        if len(quantity) > MOST_DIGITS or not 1 <= int(quantity) <= MAX_QUANTITY:
            raise click.BadParameter(f"{value[:80]!r}: the quantity must be 1 to {MAX_QUANTITY}")
        items.append((sku, int(quantity)))
    return tuple(items)


@main.command()
@click.option("--customer", required=True, metavar="ID", help="The customer's id, 1 to 200 characters.")
@click.option("--total", required=True, help="The order's total, as in 29.33; may be 0.")
@click.option("--currency", default="USD", callback=_currency, help="ISO 4217 code of the total's currency.")
@click.option(
    "--item", "items", multiple=True, required=True, callback=_items, metavar="SKU=QTY", help="May be repeated."
)
@click.option("--request-id", metavar="ID", help="Your own idempotency key: the same id returns the same order.")
@click.option(
    "--wait",
    callback=_seconds,
    metavar="DURATION",
    help="Wait this long, as in 10 (seconds) or 2m, until the order is final; exit 1 if not.",
)
@click.option(
    "--traceparent", envvar="TRACEPARENT", show_envvar=True, help="W3C trace context that the order's events carry."
)
@NEW_ORDERS
@DATABASE
@schema_registry_url
@as_json
def place(
    *,
    customer: str,
    total: str,
    currency: str,
    items: Items,
    request_id: str | None,
    wait: float | None,
    traceparent: str | None,
    deadline_ms: int,
    database: str,
    schema_registry_url: str | None,
    as_json: bool,
) -> None:
    """Place an order.

    Example: order-service place --customer 42 --total 29.33 --item CD-04=2 --wait 10
    """
    try:
        minor = to_minor(total, currency)
    except ValueError as error:
        raise click.UsageError(f"--total: {error}") from None
    try:
        request = admit(OrderRequest(customer, minor, currency, items, request_id))
    except ValueError as error:
        option = OPTIONS.get(re.split(r"\W", str(error))[0])
        raise click.UsageError(f"{option}: {error}" if option else str(error)) from None
    trace = traceparent.encode() if traceparent and TRACEPARENT.fullmatch(traceparent) else None
    if traceparent and trace is None:
        click.echo(f"{traceparent[:80]!r} is not a W3C traceparent: the order is placed without it", err=True)
    with _open(database) as orders:
        try:
            order, repeated = _accepting(deadline_ms).create_order(request, orders, _codec(schema_registry_url), trace)
        except ValueError as refusal:
            fail(str(refusal))
        if repeated:
            click.echo("this request id was used before: its order is shown", err=True)
        if wait is not None:
            order = _awaited(orders, order, wait, lambda order: order.is_final)
    if as_json:
        print_json({**report.as_dict(order), "repeated": repeated})
    else:
        click.echo(report.as_text(order, _now_ms()))
    if wait is not None and not order.is_final:
        fail(
            f"order {order.order_id} is still pending after {wait:g} s, in {redact(database)}: is that the database of"
            " the order service's workers? `saga why` tells what it waits for, `saga workers` who runs"
        )


@main.command("cancel")
@click.argument("order_id", shell_complete=complete_keys(OrderService.name, ORDERS))
@click.option("--reason", metavar="TEXT", help="The reason, in words; at most 500 printable characters.")
@click.option("--by", metavar="NAME", help="Who cancels it; at most 200 printable characters.")
@click.option(
    "--wait",
    callback=_seconds,
    metavar="DURATION",
    help="Wait this long, as in 10 (seconds) or 2m, until its charge is refunded; exit 1 if not.",
)
@DATABASE
@schema_registry_url
@as_json
def cancel_command(
    *,
    order_id: str,
    reason: str | None,
    by: str | None,
    wait: float | None,
    database: str,
    schema_registry_url: str | None,
    as_json: bool,
) -> None:
    """Cancel an order that is still pending: what was charged is refunded, what was reserved is released.

    Its id may be shortened to its beginning, or to its end of 4 characters or more. One that is cancelled already is
    shown, and nothing is done. A confirmed one is not cancelled; exit 1.

    Example: order-service cancel 01980c4e --by ann --reason 'ordered twice' --wait 10
    """
    try:
        why = cancellation_reason(reason, by)
    except ValueError as error:
        raise click.UsageError(f"--{error}") from None
    with _existing(database) as orders:
        with orders.snapshot() as tx:
            order_id = whole_key(tx, order_id, ORDERS)
        try:
            order, repeated = worker().cancel_order(order_id, why, orders, _codec(schema_registry_url))
        except NoSuchOrder as unknown:
            fail(f"{unknown} in {redact(database)}")
        except AlreadyConfirmed as refusal:
            fail(str(refusal))
        if repeated:
            click.echo("the order was cancelled before: nothing was done", err=True)
        if wait is not None:
            order = _awaited(orders, order, wait, is_refunded)
    if as_json:
        print_json({**report.as_dict(order), "repeated": repeated})
    else:
        click.echo(report.as_text(order, _now_ms()))
    if wait is not None and not is_refunded(order):
        fail(
            f"order {order.order_id} is cancelled, but after {wait:g} s no refund is stored: nothing was charged, or it"
            f" is not refunded yet (payment-service show {order.order_id})"
        )


@main.command("import")
@click.argument("file", type=click.File("rb"))
@NEW_ORDERS
@DATABASE
@schema_registry_url
@as_json
def import_command(
    file: BinaryIO, deadline_ms: int, database: str, schema_registry_url: str | None, as_json: bool
) -> None:
    """Place one order per line of FILE (- is stdin), 500 per transaction; exit 1 if a line was rejected.

    A line is JSON: {"request_id": "a-1", "customer_id": "42", "total": 2933, "currency": "USD", "items": [{"sku":
    "CD-04", "quantity": 2}]}, the total in minor units. An order whose request id is known is not placed again, so an
    interrupted import can be run again.

    Example: order-service import orders.jsonl
    """
    result = ImportReport()
    with _open(database) as orders, _progress(file) as seen:
        try:
            service, codec = _accepting(deadline_ms), _codec(schema_registry_url)
            for result in import_orders(service, file, orders, codec, seen):  # noqa: B007
                pass
        except (Unavailable, ReadOnlyOrFull, ConcurrentUpdate, KeyboardInterrupt) as error:
            done = f"{result.placed} placed and {result.repeated} repeated so far"
            fail(f"{str(error) or 'interrupted'} ({done}; run it again: nothing is placed twice)")
        except handed_in.NotUtf8 as error:
            fail(str(error))
    if as_json:
        print_json(
            {"placed": result.placed, "repeated": result.repeated, "rejected": [r._asdict() for r in result.rejected]}
        )
    else:
        for line, why in result.rejected:
            click.echo(f"line {line}: {why}", err=True)
        click.echo(f"{result.placed} placed, {result.repeated} repeated, {len(result.rejected)} rejected")
    if result.rejected:
        sys.exit(1)


@main.command()
@click.argument("order_id", shell_complete=complete_keys(OrderService.name, ORDERS))
@DATABASE
@as_json
def show(order_id: str, database: str, as_json: bool) -> None:
    """Show one order.

    Its id may be shortened to its beginning, or to its end of 4 characters or more.

    Example: order-service show 01980c4e --json
    """
    with _existing(database) as orders, orders.snapshot() as tx:
        order_id = whole_key(tx, order_id, ORDERS)
        order, parked = find_order(tx, order_id), parked_here(tx, order_id)
    if order is None:
        fail(f"there is no order {order_id} in {redact(database)}")
    if as_json:
        print_json({**report.as_dict(order), "parked": parked})
    else:
        click.echo(report.as_text(order, _now_ms()))
        if parked:
            click.echo(parked_line(parked))


@main.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only orders with this status.")
@click.option("--customer", metavar="ID", callback=not_empty, help="Only orders of this customer.")
@click.option("--limit", type=click.IntRange(1), help="Only the newest ones, at most this many.")
@click.option("--summary", is_flag=True, help="Only how many there are in each status, and how many were refunded.")
@DATABASE
@as_json
def list_command(
    *, status: Status | None, customer: str | None, limit: int | None, summary: bool, database: str, as_json: bool
) -> None:
    """List orders, oldest first, or count them.

    Example: order-service list --status cancelled --limit 20
    """
    if summary and (status or customer or limit):
        raise click.UsageError("--summary counts all orders: give it without --status, --customer and --limit")
    with _existing(database) as orders, orders.snapshot() as tx:
        if summary:
            _print_summary(count_by_status(tx), count_refunded(tx), as_json)
            return
        found = newest_orders(tx, limit, status, customer) if limit else all_orders(tx, status, customer)
        if as_json:
            print_json([report.as_dict(order) for order in found])
        else:
            print_table(report.COLUMNS, map(report.as_row, found), right=("refunded", "total"))


def _print_summary(counts: dict[Status, int], refunded: int, as_json: bool) -> None:
    total = sum(counts.values())
    if as_json:
        print_json({"total": total, **counts, "refunded": refunded})
    else:
        by_status = ", ".join(f"{count} {status}" for status, count in counts.items())
        click.echo(f"{total} {'order' if total == 1 else 'orders'}: {by_status} ({refunded} refunded)")


def _awaited(orders: Database, order: Order, seconds: float, there: Callable[[Order], bool]) -> Order:
    """Return the order as soon as it is `there`, or as it is after so many seconds."""
    until = time.monotonic() + seconds
    while not there(order) and time.monotonic() < until:
        time.sleep(LOOK_AGAIN_SECONDS)
        with orders.snapshot() as tx:
            order = find_order(tx, order.order_id) or order
    return order


def _codec(registry_url: str | None) -> Codec:
    events = OrderService.root_events()
    return Codec(registry(registry_url, events), events)


def _existing(url: str) -> AbstractContextManager[Database]:
    return existing(url, service=OrderService.name, schema=SCHEMA)


@contextmanager
def _open(url: str) -> Iterator[Database]:
    opened = connect(url, service=OrderService.name, schema=SCHEMA)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _progress(file: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; the total is unknown for a pipe."""
    console = Console(stderr=True)
    size = None
    if file.seekable():
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("placing orders", total=size)
        yield lambda count: progress.advance(task, count)


if __name__ == "__main__":
    main(prog_name="order-service")
