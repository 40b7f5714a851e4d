"""Events: frozen dataclasses, each bound to the Avro schema that is its contract."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from eventbus.avro_schema import SchemaMismatch, parse, plain

INT_RANGES: Mapping[str, tuple[int, int]] = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
PRIMITIVES: Mapping[str, type] = {"string": str, "int": int, "long": int, "boolean": bool, "bytes": bytes}

E = TypeVar("E", bound="Event")
BOUND = "`@event` provides it"


class Event:
    """What happened: past tense, immutable, published once. Subclasses are bound with `@event`.

    A subclass may check its values in `__post_init__` and raise ValueError: a consumed record is poison then, and in a
    handler it is a bug.
    """

    __slots__ = ()

    topic: ClassVar[str]
    """The Kafka topic, named after the event."""
    schema: ClassVar[dict[str, Any]]
    """The parsed Avro schema (fastavro's form), without logical types."""
    schema_text: ClassVar[str]
    """The text of the .avsc file."""
    ids: ClassVar[Path]
    """`ids.json` beside the .avsc: the ids of its released versions, for use without a registry."""
    key_field: ClassVar[str]
    """The field whose UTF-8 bytes are the record's key."""

    summary: ClassVar[str] = ""
    """What happened, as a sentence for users with fields in braces, as in `{amount} was charged`."""

    @property
    def key(self) -> str:
        """The key of the record; events of one key stay in order."""
        raise NotImplementedError(BOUND)

    def to_avro(self) -> dict[str, Any]:
        """Return the plain dict that Avro encodes."""
        raise NotImplementedError(BOUND)

    @classmethod
    def from_avro(cls, values: dict[str, Any]) -> typing.Self:
        """Build the event from a decoded Avro record; ValueError for values outside their ranges."""
        raise NotImplementedError(BOUND)


def event(avsc: Path, *, key: str) -> Callable[[type[E]], type[E]]:
    """Bind a frozen dataclass to its .avsc; the topic is the file's name.

    Raises SchemaMismatch when fields, types or defaults differ, when `key` is not a string field, or when the schema is
    recursive or has an array whose elements may take no bytes (a few bytes could then ask for millions of items).
    """

    def bind(cls: type[E]) -> type[E]:
        cls.topic = avsc.name.removesuffix(".avsc")
        cls.schema_text = avsc.read_text(encoding="utf-8")
        cls.schema = parse(json.loads(cls.schema_text))
        raw = plain(json.loads(cls.schema_text))
        cls.ids, cls.key_field = avsc.parent / "ids.json", key
        _check_record(raw, cls, avsc.name)
        if {f["name"]: f["type"] for f in raw["fields"]}.get(key) != "string":
            raise SchemaMismatch(f"{avsc.name}: the key field {key!r} must be a string field of the schema")
        # Bound once, not looked up by class at every call: these are called several times per event.
        bound = {
            "key": property(attrgetter(key)),
            "to_avro": _make_writer(cls, raw),
            "from_avro": staticmethod(_make_builder(cls, raw)),
        }
        for name, made in bound.items():
            setattr(cls, name, made)
        return cls

    return bind


def _check_record(raw: dict[str, Any], cls: type, where: str) -> None:
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    in_schema = [f["name"] for f in raw["fields"]]
    if in_schema != list(fields):
        raise SchemaMismatch(f"{where} has the fields {in_schema}, {cls.__name__} has {list(fields)}")
    for f in raw["fields"]:
        _check_type(f["type"], hints[f["name"]], f"{where}: {cls.__name__}.{f['name']}")
        default = fields[f["name"]].default
        if ("default" in f) != (default is not dataclasses.MISSING) or ("default" in f and f["default"] != default):
            raise SchemaMismatch(f"{where}: {cls.__name__}.{f['name']}: the defaults differ")


def _check_type(avro: Any, hint: Any, where: str) -> None:
    if isinstance(avro, list):
        _check_union(avro, hint, where)
    elif isinstance(avro, dict) and avro["type"] == "array":
        args = typing.get_args(hint)
        if typing.get_origin(hint) is not tuple or len(args) != 2 or args[1] is not Ellipsis:  # noqa: PLR2004
            raise SchemaMismatch(f"{where}: an Avro array needs tuple[X, ...], not {hint}")
        _check_type(avro["items"], args[0], where)
    elif isinstance(avro, dict) and avro["type"] == "record":
        _check_record(avro, hint, where)
    elif isinstance(avro, dict) and avro["type"] == "enum":
        if hint is not str and set(typing.get_args(hint)) != set(avro["symbols"]):
            raise SchemaMismatch(f"{where}: the enum needs str or a Literal of its symbols, not {hint}")
    elif PRIMITIVES.get(avro if isinstance(avro, str) else avro["type"]) is not hint:
        raise SchemaMismatch(f"{where}: Avro {avro} does not match {hint}")


def _check_union(avro: list[Any], hint: Any, where: str) -> None:
    args = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else ()
    others = [branch for branch in avro if branch != "null"]
    if len(others) != 1 or len(avro) != 2 or type(None) not in args:  # noqa: PLR2004
        raise SchemaMismatch(f"{where}: only a union of null and one type is supported, as X | None; not {hint}")
    _check_type(others[0], next(a for a in args if a is not type(None)), where)


def _make_writer(cls: type, raw: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Return a function that turns an instance into the plain dict that Avro encodes."""
    hints = typing.get_type_hints(cls)
    names = [f["name"] for f in raw["fields"]]
    nested = [
        (f["name"], _make_writer(typing.get_args(hints[f["name"]])[0], f["type"]["items"]))
        for f in raw["fields"]
        if isinstance(f["type"], dict) and f["type"]["type"] == "array" and isinstance(f["type"]["items"], dict)
    ]
    values = attrgetter(*names) if len(names) > 1 else lambda instance: (getattr(instance, names[0]),)

    def write(instance: Any) -> dict[str, Any]:
        plain = dict(zip(names, values(instance)))  # noqa: B905 - equal lengths, on a hot path
        for name, write_item in nested:
            plain[name] = [write_item(item) for item in plain[name]]
        return plain

    return write


def _make_builder(cls: type, raw: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """Return a function that turns a decoded record into `cls`: checks int ranges, turns arrays into tuples."""
    hints = typing.get_type_hints(cls)
    names = [f["name"] for f in raw["fields"]]
    ints = [(f["name"], *INT_RANGES[f["type"]]) for f in raw["fields"] if f["type"] in ("int", "long")]
    arrays = []
    for f in raw["fields"]:
        if isinstance(f["type"], dict) and f["type"]["type"] == "array":
            items, item_hint = f["type"]["items"], typing.get_args(hints[f["name"]])[0]
            nested = _make_builder(item_hint, items) if isinstance(items, dict) else None
            arrays.append((f["name"], nested))
    in_order = itemgetter(*names) if len(names) > 1 else lambda values: (values[names[0]],)

    def build(values: dict[str, Any]) -> Any:
        for name, low, high in ints:
            if not low <= values[name] <= high:
                raise ValueError(f"{name} is {values[name]}, outside {low}..{high}")
        for name, nested in arrays:
            values[name] = tuple(map(nested, values[name])) if nested else tuple(values[name])
        return cls(*in_order(values))

    return build
