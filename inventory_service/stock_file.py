"""Counts of stock as they are read: from the command line, or from a file, one article a line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable

from eventbus import handed_in
from schemas.events import check_id

MAX_ON_HAND = 10**12
BLANK = handed_in.SEPARATORS + " "
"""The only characters in a spreadsheet's empty rows."""
QUANTITY = re.compile(r"[0-9]{1,18}")


def checked(sku: str, on_hand: int) -> tuple[str, int]:
    """Return the pair if it is a valid count of stock; otherwise raise ValueError, naming what is wrong."""
    check_id("sku", sku)
    if not 0 <= on_hand <= MAX_ON_HAND:
        raise ValueError(f"{on_hand} of {sku} on hand must be 0 to {MAX_ON_HAND}")
    return sku, on_hand


def read_counts(file: Iterable[bytes]) -> dict[str, int]:
    """Return how many there are on hand of each SKU: lines of CSV (`CD-04,100`) or JSON (`{"sku":…,"on_hand":…}`).

    The first line of CSV determines the separator of all of them. Raises ValueError, naming the first line that is
    neither, or that counts an article a second time.
    """
    counts: dict[str, int] = {}
    separated_by = ""
    for line in handed_in.lines(file):
        try:
            text = line.text()
            if not text.strip(BLANK):
                continue
            if text.startswith("{"):
                sku, on_hand = checked(*_from_json(text))
            else:
                separated_by = separated_by or handed_in.separator(text)
                sku, on_hand = checked(*_from_csv(text, separated_by))
            if sku in counts:
                raise ValueError(f"{sku} is listed twice")  # noqa: TRY301 - reported with the line's number
        except (ValueError, csv.Error, RecursionError) as error:
            raise ValueError(f"line {line.number}: {error}; nothing was changed") from None
        counts[sku] = on_hand
    return counts


def _from_csv(text: str, separated_by: str) -> tuple[str, int]:
    found = handed_in.fields(text, separated_by)
    if len(found) != 2 or not QUANTITY.fullmatch(found[1]):  # noqa: PLR2004
        raise ValueError(f"{text[:80]!r} is not SKU{separated_by}QUANTITY")
    return found[0], int(found[1])


def _from_json(text: str) -> tuple[str, int]:
    found = json.loads(text)
    if found.keys() != {"sku", "on_hand"} or type(found["sku"]) is not str or type(found["on_hand"]) is not int:
        raise ValueError(f'{text[:80]!r} is not {{"sku": "CD-04", "on_hand": 100}}')
    return found["sku"], found["on_hand"]
