"""The commands of the payment service, and the only place that builds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from eventbus import (
    Transaction,
    as_json,
    complete_keys,
    database_option,
    existing,
    fail,
    not_empty,
    parked_here,
    parked_line,
    parked_with,
    print_json,
    print_table,
    redact,
    secret,
    service_cli,
    whole_key,
)
from payment_service.domain import Payment
from payment_service.gateway import BadGateway, check_ledger, open_gateway, set_outage
from payment_service.ledger import NO_REFUNDS
from payment_service.repository import PAYMENT, SCHEMA, all_payments, find_payment, totals
from payment_service.service import PaymentService
from schemas import OrderCancelled, OrderCreated
from schemas.money import to_text

REFUNDS = (OrderCancelled.topic, OrderCreated.topic)
"""The topics whose records refund; order.created where the order was cancelled before."""
DATABASE = database_option(PaymentService.name)
GATEWAY = click.option(
    "--gateway",
    envvar="PAYMENT_GATEWAY",
    show_envvar=True,
    default="simulated:///provider.db",
    callback=secret,
    help="The payment provider: simulated:///FILE?decline-above=CENTS&latency-ms=N&failure-rate=P&lose-reply-rate=P"
    "&seed=N&timeout-ms=N&key-lifetime-s=N; all parameters optional, P from 0 to 1."
    " Without a file (simulated://) it is in this process's memory.",
)


@contextmanager
def charging(gateway: str) -> Iterator[PaymentService]:
    """Start a worker: it charges new orders and refunds cancelled ones.

    Example: payment-service run --gateway 'simulated:///provider.db?decline-above=20000'
    """
    with closing(open_gateway(gateway)) as provider:
        yield PaymentService(provider)


main = service_cli(
    PaymentService, SCHEMA, build=charging, options=[GATEWAY], facts=[BadGateway], distribution="order-saga"
)


@main.command()
@click.argument("order_id", shell_complete=complete_keys(PaymentService.name, PAYMENT))
@DATABASE
@as_json
def show(order_id: str, database: str, as_json: bool) -> None:
    """Show the payment of one order.

    Its id may be shortened to its beginning, or to its end of 4 characters or more.

    Example: payment-service show 01980c4e --json
    """
    with _snapshot(database) as tx:
        order_id = whole_key(tx, order_id, PAYMENT)
        payment, parked = find_payment(tx, order_id), parked_here(tx, order_id)
    if payment is None:
        waits = f"; it is {parked_line(parked)}" if parked else ""
        fail(f"there is no payment of order {order_id} in {redact(database)}{waits}")
    if as_json:
        print_json({**payment._asdict(), "parked": parked})
    else:
        shown = {**payment._asdict(), "amount": to_text(payment.amount, payment.currency) if payment.currency else None}
        del shown["currency"]
        lines = [f"{name:<10} {value}" for name, value in shown.items() if value not in (None, "")]
        click.echo("\n".join(lines + ([parked_line(parked)] if parked else [])))


@main.command("list")
@click.option("--refund-pending", is_flag=True, help="Only those of cancelled orders whose refund is still requested.")
@DATABASE
@as_json
def list_command(*, refund_pending: bool, database: str, as_json: bool) -> None:
    """List payments by order id; with --refund-pending those whose refund has failed so far: it is requested again.

    Example: payment-service list --refund-pending
    """
    with _snapshot(database) as tx:
        payments = _refund_pending(tx) if refund_pending else ((payment, None) for payment in all_payments(tx))
        if as_json:
            print_json([payment._asdict() | ({"parked": parked} if parked else {}) for payment, parked in payments])
            return
        print_table(("order", "status", "amount", "parked"), map(_row, payments), right=("amount",))


def _row(listed: tuple[Payment, dict[str, Any] | None]) -> tuple[str, ...]:
    payment, parked = listed
    amount = to_text(payment.amount, payment.currency) if payment.currency else ""
    return payment.order_id, payment.status, amount, parked_line(parked) if parked else ""


def _refund_pending(tx: Transaction) -> list[tuple[Payment, dict[str, Any] | None]]:
    """Return the payments whose order.cancelled is parked, or whose late order.created, until a refund is made."""
    parked = {report["key"]: report for topic in REFUNDS for report in parked_with(tx, topic)}
    known = [(find_payment(tx, key), report) for key, report in sorted(parked.items())]
    return [(payment, report) for payment, report in known if payment and payment.status in ("charged", "cancelled")]


@main.command()
@DATABASE
@GATEWAY
@as_json
def ledger(database: str, gateway: str, as_json: bool) -> None:
    """Show what was charged and refunded, by currency, by our books and by the provider's.

    Example: payment-service ledger
    """
    # Ours first: what is in our books is in the provider's already.
    with _snapshot(database) as tx:
        ours = totals(tx)
    check_ledger(gateway)
    with closing(open_gateway(gateway)) as provider:
        theirs = provider.totals()
    books = {"service": _by_currency(ours), "provider": _by_currency(theirs)}
    if as_json:
        print_json(books)
        return
    rows = [
        (whose, *(to_text(amount, currency) for amount in sums.values()))
        for whose, currencies in books.items()
        for currency, sums in currencies.items()
    ]
    print_table(("books", "charged", "refunded", "net"), rows, right=("charged", "refunded", "net"))


@main.command()
@click.argument("answer", type=click.Choice(["500", "429", "nothing", NO_REFUNDS, "over"]))
@click.option(
    "--order",
    "order_id",
    metavar="ORDER_ID",
    callback=not_empty,
    help="Only requests about this order: its whole id; it need not exist yet.",
)
@GATEWAY
def outage(answer: str, order_id: str | None, gateway: str) -> None:
    """Make the simulated provider answer every request with an HTTP status, or with nothing, until it is `over`.

    With `no-refunds` it charges as usual, and refuses to refund what it has charged.

    An outage can begin and end while workers run, to see how they react. `over` without --order ends every outage.

    Example: payment-service outage 500 --order 01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21
    """
    set_outage(gateway, None if answer == "over" else answer, order_id)
    request = "request" if answer != NO_REFUNDS else "refund"
    about = f"every {request}" if order_id is None else f"every {request} about order {order_id}"
    click.echo(f"{about} {_answered(answer)}")


def _answered(answer: str) -> str:
    if answer == NO_REFUNDS:
        return "is refused"
    return "is answered again" if answer == "over" else f"is answered with {answer}"


def _by_currency(sums: dict[str, tuple[int, int]]) -> dict[str, dict[str, int]]:
    return {
        currency: {"charged": charged, "refunded": refunded, "net": charged - refunded}
        for currency, (charged, refunded) in sums.items()
    }


@contextmanager
def _snapshot(url: str) -> Iterator[Transaction]:
    with existing(url, service=PaymentService.name, schema=SCHEMA) as opened, opened.snapshot() as tx:
        yield tx


if __name__ == "__main__":
    main(prog_name="payment-service")
