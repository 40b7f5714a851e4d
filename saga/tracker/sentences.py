"""Events as sentences: with the summary that an event declares, otherwise with its name and its fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eventbus.event import Event
from eventbus.manifest import DeclaredEvent
from eventbus.text.json_form import to_json
from schemas.money import to_text

MONEY = ("total", "amount")
"""Fields in minor units of the field `currency` beside them."""


class Sentences:
    """Formats events as sentences."""

    def __init__(self, events: Iterable[type[Event]], declared: Mapping[str, DeclaredEvent] | None = None) -> None:
        declared = declared or {}
        self._templates = {event.topic: event.summary for event in events}
        self._templates |= {topic: event.summary for topic, event in declared.items()}
        self._keys = {event.topic: event.key_field for event in events}
        self._keys |= {topic: event.key for topic, event in declared.items()}

    def tell(self, topic: str, fields: Mapping[str, Any]) -> str:
        """Return the event as one clause, without a full stop, safe for a terminal."""
        words = {name: _shown(name, fields) for name in fields}
        template = self._templates.get(topic, "")
        if template:
            try:
                return printable(template.format_map(words))
            except (KeyError, IndexError, ValueError):
                pass  # a field that an older version of the event did not have
        said = ", ".join(f"{name} {word}" for name, word in words.items() if name != self._keys.get(topic))
        return printable(f"{topic}: {said}" if said else topic)


def printable(text: str) -> str:
    """Return the text without control characters: the log's content is not trusted."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def money(amount: object, currency: object) -> str:
    """Return an amount of minor units as text; both unchanged if the amount is not a number."""
    try:
        return to_text(int(str(amount)), str(currency))
    except ValueError:
        return f"{amount} {currency}"


def _shown(name: str, fields: Mapping[str, Any]) -> str:
    value = fields[name]
    if name in MONEY and "currency" in fields:
        return money(value, fields["currency"])
    if isinstance(value, list):
        return ", ".join(map(_item, value))
    return str(value)


def _item(item: Any) -> str:
    if isinstance(item, dict) and {"quantity", "sku"} <= set(item):
        return f"{item['quantity']} x {item['sku']}"
    return item if isinstance(item, str) else to_json(item)
