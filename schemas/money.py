"""Money for people: events, tables and JSON carry integers of the currency's minor unit (ISO 4217)."""

from __future__ import annotations

from decimal import Decimal

from iso4217 import Currency


def decimals(code: str) -> int:
    """Return how many decimals amounts of this currency have. Raises ValueError if nothing can be paid in it."""
    try:
        exponent: int | None = Currency(code).exponent
    except ValueError:
        raise ValueError(f"the currency {code[:80]!r} is not in ISO 4217; write its three capital letters") from None
    if exponent is None:
        raise ValueError(f"nothing can be paid in {code}: ISO 4217 gives it no minor unit")
    return exponent


def to_text(amount: int, code: str) -> str:
    """Return 2933 of USD as `29.33 USD`; a currency that ISO 4217 does not list, as `2933 minor units of HRK`.

    Never raises: an order was accepted when its currency was listed, and is shown as long as it is kept.
    """
    try:
        places = decimals(code)
    except ValueError:
        return f"{amount} minor units of {code}"
    return f"{Decimal(amount).scaleb(-places):f} {code}"
