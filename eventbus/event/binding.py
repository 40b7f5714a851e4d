"""Compares an event's class with its Avro schema, at import: the .avsc decides."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from eventbus.avro_schema import SchemaMismatch

PRIMITIVES: Mapping[str, type] = {"string": str, "int": int, "long": int, "boolean": bool, "bytes": bytes}


def check_record(raw: dict[str, Any], cls: type, where: str) -> None:
    """Raise SchemaMismatch unless a class is a struct with the fields, types and defaults of an Avro record."""
    _check_struct(cls, where)
    hints = typing.get_type_hints(cls)
    declared = {f.encode_name: f for f in fields(cls)}
    in_schema = [f["name"] for f in raw["fields"]]
    if in_schema != list(declared):
        raise SchemaMismatch(f"{where} has the fields {in_schema}, {cls.__name__} has {list(declared)}")
    for f in raw["fields"]:
        _check_type(f["type"], hints[f["name"]], f"{where}: {cls.__name__}.{f['name']}")
        default = declared[f["name"]].default
        if ("default" in f) != (default is not NODEFAULT) or ("default" in f and f["default"] != default):
            raise SchemaMismatch(f"{where}: {cls.__name__}.{f['name']}: the defaults differ")


def _check_struct(cls: type, where: str) -> None:
    if not issubclass(cls, Struct) or not cls.__struct_config__.frozen:
        raise SchemaMismatch(f"{where}: {cls.__name__} must derive from Event, a part from msgspec.Struct; frozen")
    config = cls.__struct_config__
    if config.tag is not None or config.array_like or config.omit_defaults:
        raise SchemaMismatch(f"{where}: {cls.__name__} cannot have a tag, or be array_like, or omit_defaults")


def _check_type(avro: Any, hint: Any, where: str) -> None:
    if isinstance(avro, list):
        _check_union(avro, hint, where)
    elif isinstance(avro, dict) and avro["type"] == "array":
        args = typing.get_args(hint)
        if typing.get_origin(hint) is not tuple or len(args) != 2 or args[1] is not Ellipsis:  # noqa: PLR2004
            raise SchemaMismatch(f"{where}: an Avro array needs tuple[X, ...], not {hint}")
        _check_type(avro["items"], args[0], where)
    elif isinstance(avro, dict) and avro["type"] == "record":
        check_record(avro, hint, where)
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
