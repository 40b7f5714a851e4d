"""Money as people write it, and as the saga stores it: integers of the currency's minor unit (ISO 4217)."""

from __future__ import annotations

import re
from decimal import Decimal

from iso4217 import Currency

_AMOUNT = re.compile(r"\d+(?:\.(\d+))?", re.ASCII)
MAX_DIGITS = 30


def decimals(code: str) -> int:
    """Return how many decimals amounts of this currency have. Raises ValueError if nothing can be paid in it."""
    try:
        exponent: int | None = Currency(code).exponent
    except ValueError:
        raise ValueError(f"the currency {code[:80]!r} is not in ISO 4217; write its three capital letters") from None
    if exponent is None:
        raise ValueError(f"nothing can be paid in {code}: ISO 4217 gives it no minor unit")
    return exponent


def to_minor(amount: str, code: str) -> int:
    """Return `29.33` of USD as 2933. Raises ValueError if it is not an amount of this currency."""
    places = decimals(code)
    match = _AMOUNT.fullmatch(amount)
    if match is None or len(amount) > MAX_DIGITS:
        raise ValueError(f"{amount[:80]!r} is not an amount: write digits with a decimal point, 0 or more, as in 29.33")
    if len(match[1] or "") > places:
        raise ValueError(f"{amount} has too many decimals: {code} has {places}")
    return int(Decimal(amount).scaleb(places))


def to_text(amount: int, code: str) -> str:
    """Return 2933 of USD as `29.33 USD`; a currency that ISO 4217 does not list, as `2933 minor units of HRK`.

    Never raises: an order was accepted when its currency was listed, and is shown as long as it is kept.
    """
    try:
        places = decimals(code)
    except ValueError:
        return f"{amount} minor units of {code}"
    return f"{Decimal(amount).scaleb(-places):f} {code}"
