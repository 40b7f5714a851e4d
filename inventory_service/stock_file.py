"""Counts of stock as they come in: from the command line, or one article a line of a file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping

from schemas import Item

MAX_ON_HAND = 10**12
QUANTITY = re.compile(r"\s*[0-9]{1,18}\s*")


def checked(sku: str, on_hand: int) -> tuple[str, int]:
    """Return the pair if it can be a count of stock; ValueError names what is wrong."""
    Item(sku, quantity=1)
    if not 0 <= on_hand <= MAX_ON_HAND:
        raise ValueError(f"{on_hand} of {sku} on hand must be 0 to {MAX_ON_HAND}")
    return sku, on_hand


def read_counts(lines: Iterable[bytes]) -> dict[str, int]:
    """Return how many there are on hand of each SKU: lines of CSV (`CD-04,100`) or JSON (`{"sku":…,"on_hand":…}`).

    ValueError names the first line that is neither, or that counts an article a second time.
    """
    counts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            count = _read_count(line.decode("utf-8").strip(), counts)
        except (ValueError, csv.Error, RecursionError) as error:
            raise ValueError(f"line {number}: {error}; nothing was changed") from None
        counts.update(count)
    return counts


def _read_count(text: str, before: Mapping[str, int]) -> dict[str, int]:
    if not text:
        return {}
    sku, on_hand = checked(*(_from_json(text) if text.startswith("{") else _from_csv(text)))
    if sku in before:
        raise ValueError(f"{sku} stands there twice")
    return {sku: on_hand}


def _from_csv(text: str) -> tuple[str, int]:
    [fields] = csv.reader([text], strict=True)
    if len(fields) != 2 or not QUANTITY.fullmatch(fields[1]):  # noqa: PLR2004
        raise ValueError(f"{text[:80]!r} is not SKU,QUANTITY")
    return fields[0].strip(), int(fields[1])


def _from_json(text: str) -> tuple[str, int]:
    found = json.loads(text)
    if found.keys() != {"sku", "on_hand"} or type(found["sku"]) is not str or type(found["on_hand"]) is not int:
        raise ValueError(f'{text[:80]!r} is not {{"sku": "CD-04", "on_hand": 100}}')
    return found["sku"], found["on_hand"]
