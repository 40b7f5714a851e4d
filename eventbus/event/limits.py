"""What the types of an event's fields say about their values: `Annotated[int, Meta(ge=0)]`, and a Rule for texts.

One declaration, three readers: msgspec checks types, ranges and lengths when it makes an event of a decoded record; the
checks here are those that msgspec does not know, and the words for whatever is wrong; the codec's plans check the same.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from msgspec import Meta

INT_RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
UNBOUNDED = 2**63 - 1
"""Of a text or an array without a declared length."""
UNCHANGED = (bytes, UUID, Decimal, datetime, date, time)
"""Types that msgspec would make texts of; so that a field of another type does not take them for texts."""
SHOWN = 80
Keeps = Callable[[Any], bool]


def _never(_text: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on a text beyond its length, as metadata of a field's type: `Annotated[str, Rule(str.isascii)]`.

    `holds` is asked about every text of every event: use a method of str. If it says no, `or_else` decides.
    """

    holds: Callable[[str], bool]
    or_else: Callable[[str], bool] = _never

    def keeps(self, text: str) -> bool:
        """Return whether a text is valid."""
        return self.holds(text) or self.or_else(text)


class Allowed:
    """The values that one field, or each element of an array, may have."""

    def __init__(self, hint: Any, avro: Any) -> None:
        hint, metadata = _taken_apart(hint)
        metas = [each for each in metadata if isinstance(each, Meta)]
        self.rules = [each for each in metadata if isinstance(each, Rule)]
        self.is_simple = all(meta.pattern is None and meta.multiple_of is None for meta in metas)
        """Whether this is all there is to check; msgspec knows more conditions."""
        of = next(branch for branch in avro if branch != "null") if isinstance(avro, list) else avro
        int_range = INT_RANGES.get(of) if isinstance(of, str) else None
        least, most = int_range or (0, UNBOUNDED)
        self.low = max([least, *_bounds(metas, "ge", "gt", 1), *_bounds(metas, "min_length")])
        self.high = min([most, *_bounds(metas, "le", "lt", -1), *_bounds(metas, "max_length")])
        self.element, self.record = _parts(hint, of)
        self._says = next((meta.description for meta in metas if meta.description), None)
        keeps = self._unknown_to_msgspec(is_open=int_range is not None and (self.low == least or self.high == most))
        self.keeps = _or_none(keeps) if keeps and of is not avro else keeps
        """Says whether a value that msgspec accepts is allowed; None if every one is."""

    def check(self, value: Any, where: str) -> None:
        """Raise ValueError, naming the value, if it is of the right type and not allowed."""
        if isinstance(value, (list, tuple)):
            if not self.low <= len(value) <= self.high:
                raise ValueError(f"{where} must be {self._phrase('elements')}, not {len(value)}")
            for index, each in enumerate(value if self.element else ()):
                typing.cast("Allowed", self.element).check(each, f"{where}[{index}]")
        elif isinstance(value, dict) and self.record:
            self.record.check(value, f"{where}.")
        elif isinstance(value, (str, bytes)):
            if not self.low <= len(value) <= self.high or not self._follows_rules(value):
                raise ValueError(f"{where} {value[:SHOWN]!r} must be {self._phrase('characters')}")
        elif isinstance(value, int) and not self.low <= value <= self.high:
            raise ValueError(f"{where} {value} must be {self._phrase('')}")

    def _phrase(self, unit: str) -> str:
        return self._says or f"{self.low} to {self.high} {unit}".rstrip()

    def _follows_rules(self, value: Any) -> bool:
        return all(rule.keeps(value) for rule in self.rules)

    def _unknown_to_msgspec(self, *, is_open: bool) -> Keeps | None:
        if self.record:
            return self.record.keeps if self.record.ruled else None
        if self.element:
            inner = self.element.keeps
            return None if inner is None else lambda values: all(map(inner, values))
        if self.rules:
            return self._follows_rules if len(self.rules) > 1 else self.rules[0].keeps
        return (lambda value: self.low <= value <= self.high) if is_open else None


def _or_none(keeps: Keeps) -> Keeps:
    return lambda value: value is None or keeps(value)


class Limits:
    """The values that the fields of a record may have."""

    def __init__(self, cls: type, raw: dict[str, Any]) -> None:
        hints = typing.get_type_hints(cls, include_extras=True)
        self.fields = {f["name"]: Allowed(hints[f["name"]], f["type"]) for f in raw["fields"]}
        self.ruled = [(name, field.keeps) for name, field in self.fields.items() if field.keeps]
        """The fields of which msgspec does not check everything."""

    def check(self, values: dict[str, Any], where: str = "") -> None:
        """Raise ValueError for the first value of the right type that is not allowed."""
        for name, field in self.fields.items():
            field.check(values[name], where + name)

    def check_rules(self, values: dict[str, Any]) -> None:
        """Do the same for values of which msgspec has checked what it knows."""
        if not self.keeps(values):
            self.check(values)

    def keeps(self, values: dict[str, Any]) -> bool:
        """Return whether everything is allowed that msgspec does not check."""
        for name, keeps in self.ruled:  # noqa: SIM110 - on a hot path
            if not keeps(values[name]):
                return False
        return True


def _taken_apart(hint: Any) -> tuple[Any, list[Any]]:
    """Return a type without its metadata, and without None, and the metadata."""
    metadata: list[Any] = []
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint, *more = typing.get_args(hint)
            metadata += more
        elif typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        else:
            return hint, metadata


def _bounds(metas: Iterable[Meta], inclusive: str, exclusive: str = "", step: int = 0) -> Iterator[int]:
    for meta in metas:
        if (bound := getattr(meta, inclusive)) is not None:
            yield bound
        if exclusive and (bound := getattr(meta, exclusive)) is not None:
            yield bound + step


def _parts(hint: Any, avro: Any) -> tuple[Allowed | None, Limits | None]:
    """Return what the elements of an array may be, and what the fields of a record may be."""
    kind = avro["type"] if isinstance(avro, dict) else None
    element = Allowed(typing.get_args(hint)[0], avro["items"]) if kind == "array" else None
    return element, Limits(hint, avro) if kind == "record" else None
