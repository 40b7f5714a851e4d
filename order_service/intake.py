"""From the lines of a file to requests. Their values are validated in door.py, unless the order exists already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from eventbus import Codec, Database, handed_in
from order_service.domain import OrderRequest
from order_service.door import check_request_id
from order_service.service import OrderService, Placed

ORDERS_A_TRANSACTION = 500
MAX_DIGITS = 100
FIELDS = {
    "request_id": (str, "a text"),
    "customer_id": (str, "a text"),
    "total": (int, "a whole number of minor units"),
    "currency": (str, "a text"),
    "items": (list, "a list"),
}
ITEM_FIELDS = {"sku": (str, "a text"), "quantity": (int, "a whole number")}


class Rejection(NamedTuple):
    """A line that was rejected, and why."""

    line: int
    error: str


@dataclass(slots=True)
class ImportReport:
    """The result of an import."""

    placed: int = 0
    repeated: int = 0
    rejected: list[Rejection] = field(default_factory=list)


def read_request(text: str) -> OrderRequest:
    """Return the request on one line of JSON; raises ValueError if it is not a request.

    The request id is required: without it an import that is run again would place the order twice.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    values = _typed(found, FIELDS, "the order")
    items = [_typed(item, ITEM_FIELDS, "an item") for item in values["items"]]
    pairs = tuple((item["sku"], item["quantity"]) for item in items)
    check_request_id(values["request_id"])
    return OrderRequest(values["customer_id"], values["total"], values["currency"], pairs, values["request_id"])


def import_orders(
    service: OrderService, file: Iterable[bytes], database: Database, codec: Codec, seen: Callable[[int], None]
) -> Iterator[ImportReport]:
    """Place one order per line, some hundreds per transaction; an order that was placed before is not placed again.

    Yields the same report after every transaction, so that an interrupted caller knows how far the import got; `seen`
    is called with about how many bytes were processed. Raises NotUtf8.
    """
    report = ImportReport()
    numbered = handed_in.lines(file)
    while chunk := list(islice(numbered, ORDERS_A_TRANSACTION)):
        requests = dict(_requests(chunk, report))
        answers = service.create_orders(list(requests.values()), database, codec)
        for number, answer in zip(requests, answers, strict=True):
            if not isinstance(answer, Placed):
                report.rejected.append(Rejection(number, str(answer)))
            elif answer.repeated:
                report.repeated += 1
            else:
                report.placed += 1
        report.rejected.sort()
        seen(sum(len(line.content) + 1 for line in chunk))
        yield report


def _requests(chunk: Iterable[handed_in.FileLine], report: ImportReport) -> Iterator[tuple[int, OrderRequest]]:
    for line in chunk:
        try:
            if text := line.text():
                yield line.number, read_request(text)
        except ValueError as error:
            report.rejected.append(Rejection(line.number, str(error)))


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is too large for an amount or a quantity")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a field appears twice")
    return values


def _typed(found: Any, fields: dict[str, tuple[type, str]], what: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{what} is {_short(found)}, but must be a JSON object")  # noqa: TRY004 - the line is wrong
    for name, (kind, described) in fields.items():
        if name not in found:
            raise ValueError(f"{what} has no {name}")
        if type(found[name]) is not kind:
            raise ValueError(f"{name} is {_short(found[name])}, but must be {described}")
    unknown = sorted(found.keys() - fields.keys())
    if unknown:
        raise ValueError(f"{what} has an unknown field {_short(unknown[0])}")
    return found


def _short(value: Any) -> str:
    return repr(value)[:80]
