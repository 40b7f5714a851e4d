"""Money as people write it, read into integers of the currency's minor unit (ISO 4217)."""

from __future__ import annotations

import re
from decimal import Decimal

from schemas.money import decimals

_AMOUNT = re.compile(r"\d+(?:\.(\d+))?", re.ASCII)
MAX_DIGITS = 30


def to_minor(amount: str, code: str) -> int:
    """Return `29.33` of USD as 2933. Raises ValueError if it is not an amount of this currency."""
    places = decimals(code)
    match = _AMOUNT.fullmatch(amount)
    if match is None or len(amount) > MAX_DIGITS:
        raise ValueError(f"{amount[:80]!r} is not an amount: write digits with a decimal point, 0 or more, as in 29.33")
    if len(match[1] or "") > places:
        raise ValueError(f"{amount} has too many decimals: {code} has {places}")
    return int(Decimal(amount).scaleb(places))
