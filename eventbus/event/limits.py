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
from msgspec.json import Decoder

from eventbus.avro_schema import SchemaMismatch
from eventbus.text.quoted import quoted

INT_RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
UNBOUNDED = 2**63 - 1
"""Of a text or an array without a declared length."""
UNCHANGED = (bytes, UUID, Decimal, datetime, date, time)
"""Types that msgspec would make texts of; so that a field of another type does not take them for texts."""
SHOWN = 80
LONGEST_SHOWN = 256
"""In bits, of a number: it has fewer than 80 digits. Python refuses to write one of 5,000."""
TEXTS = {"string": "characters", "enum": "characters", "bytes": "bytes"}
"""What the length of a text counts, by its type in Avro."""
RULED = ("string", "enum")
"""The types in Avro that can have a Rule."""
Keeps = Callable[[Any], bool]


def shown(value: Any) -> str:
    """Return a value as a message shows it: at most 80 characters of it."""
    if isinstance(value, int) and value.bit_length() > LONGEST_SHOWN:
        return f"(a number of {value.bit_length()} bits)"
    if isinstance(value, bytes):
        return quoted(value, SHOWN)
    return repr(value[:SHOWN]) if isinstance(value, str) else repr(value)[:SHOWN]


def _never(_text: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on a text beyond its length, as metadata of a field's type: `Annotated[str, Rule(str.isascii)]`.

    `holds` is asked about every text of every event: use a method of str. If it says no, `or_else` decides. What they
    return counts as true or false, so a match of a regular expression will do.
    """

    holds: Callable[[str], object]
    or_else: Callable[[str], object] = _never

    def keeps(self, text: str) -> bool:
        """Return whether a text is valid."""
        return bool(self.holds(text) or self.or_else(text))

    def __str__(self) -> str:
        return f"a text that its Rule allows ({getattr(self.holds, '__qualname__', self.holds)})"


class Allowed:
    """The values that one field, or each element of an array, may have."""

    def __init__(self, hint: Any, avro: Any, where: str) -> None:
        _resolve(hint, where)
        hint, metadata = _taken_apart(hint)
        metas = [each for each in metadata if isinstance(each, Meta)]
        self.rules = [each for each in metadata if isinstance(each, Rule)]
        of = next(branch for branch in avro if branch != "null") if isinstance(avro, list) else avro
        self.kind = str(of["type"] if isinstance(of, dict) else of)
        self.symbols = of["symbols"] if self.kind == "enum" else None
        if self.rules and self.kind not in RULED:
            raise SchemaMismatch(f"{where}: a Rule is for a text, not for Avro {self.kind}: check it in __post_init__")
        int_range = INT_RANGES.get(self.kind)
        least, most = int_range or (0, UNBOUNDED)
        self.low = max([least, *_bounds(metas, "ge", "gt", 1), *_bounds(metas, "min_length")])
        self.high = min([most, *_bounds(metas, "le", "lt", -1), *_bounds(metas, "max_length")])
        is_limited = bool(self.rules) or (self.low, self.high) != (least, most)
        self.is_simple = not any(meta.pattern is not None or meta.multiple_of is not None for meta in metas) and not (
            self.kind == "enum" and is_limited
        )
        """Whether a plan can check it all: it knows no pattern, for example, and nothing of an enum but its symbols."""
        self.element, self.record = _parts(hint, of, where)
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
        elif isinstance(value, (str, bytes)) and self.kind in TEXTS:
            if wrong := self._wrong_with(value):
                raise ValueError(f"{where} {shown(value)} must be {wrong}")
        elif isinstance(value, int) and self.kind in INT_RANGES and not self.low <= value <= self.high:
            raise ValueError(f"{where} {shown(value)} must be {self._phrase('')}")

    def _wrong_with(self, text: Any) -> str | None:
        """Return what a text must be and is not."""
        if self.symbols and text not in self.symbols:
            return f"one of {', '.join(self.symbols)}"
        if not self.low <= len(text) <= self.high:
            return self._phrase(TEXTS[self.kind])
        broken = next((rule for rule in self.rules if not rule.keeps(text)), None)
        return (self._says or str(broken)) if broken else None

    def _phrase(self, unit: str) -> str:
        least = f"at least {self.low}" if unit and self.high == UNBOUNDED else f"{self.low} to {self.high}"
        return self._says or f"{least} {unit}".rstrip()

    def _follows_rules(self, value: Any) -> bool:
        return all(rule.keeps(value) for rule in self.rules)

    def _unknown_to_msgspec(self, *, is_open: bool) -> Keeps | None:
        if self.record:
            return self.record.keeps if self.record.ruled else None
        if self.element:
            inner = self.element.keeps
            return None if inner is None else lambda values: all(map(inner, values))
        if self.symbols:  # a field may be a str
            return lambda text: not self._wrong_with(text)
        if self.rules:
            return self._follows_rules if len(self.rules) > 1 else self.rules[0].keeps
        return (lambda value: self.low <= value <= self.high) if is_open else None


def _or_none(keeps: Keeps) -> Keeps:
    return lambda value: value is None or keeps(value)


class Limits:
    """The values that the fields of a record may have."""

    def __init__(self, cls: type, raw: dict[str, Any], where: str) -> None:
        hints = typing.get_type_hints(cls, include_extras=True)
        types_of = {f["name"]: f["type"] for f in raw["fields"]}
        self.fields = {n: Allowed(hints[n], of, f"{where}: {cls.__name__}.{n}") for n, of in types_of.items()}
        self.ruled = [(name, field.keeps) for name, field in self.fields.items() if field.keeps]
        """The fields of which msgspec does not check everything."""

    def check(self, values: dict[str, Any], where: str = "") -> None:
        """Raise ValueError for the first value of the right type that is not allowed, or is missing."""
        for name, field in self.fields.items():
            if name not in values:
                raise ValueError(f"{where}{name} must have a value: it is UNSET")
            field.check(values[name], where + name)

    def check_rules(self, values: dict[str, Any]) -> None:
        """Do the same for values of which msgspec has checked what it knows."""
        for name, keeps in self.ruled:
            if not keeps(values[name]):
                self.check(values)
                raise ValueError(f"{name} {shown(values[name])} is not allowed by its Rule")

    def keeps(self, values: dict[str, Any]) -> bool:
        """Return whether everything is allowed that msgspec does not check."""
        for name, keeps in self.ruled:  # noqa: SIM110 - on a hot path
            if not keeps(values[name]):
                return False
        return True


def _resolve(hint: Any, where: str) -> None:
    """Have msgspec look at a type now, not when the first value of it is decoded."""
    try:
        Decoder(hint)
    except Exception as error:
        raise SchemaMismatch(f"{where}: msgspec cannot check {hint}: {error}") from error


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


def _parts(hint: Any, avro: Any, where: str) -> tuple[Allowed | None, Limits | None]:
    """Return what the elements of an array may be, and what the fields of a record may be."""
    kind = avro["type"] if isinstance(avro, dict) else None
    element = Allowed(typing.get_args(hint)[0], avro["items"], where) if kind == "array" else None
    return element, Limits(hint, avro, where) if kind == "record" else None
