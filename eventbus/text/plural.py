"""Numbers with their nouns."""

from __future__ import annotations


def plural(count: int, what: str, several: str = "") -> str:
    """Return `1 order`, `2 orders`, `1,000 orders`; `several` is the noun's plural if an s does not make it."""
    return f"{count:,} {what if count == 1 else several or f'{what}s'}"
