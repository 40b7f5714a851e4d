"""Makes the plan of an event from its schema, the schema of a writer, and what its fields allow."""

from __future__ import annotations

import hashlib
import os
import typing
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec.structs import astuple

from eventbus.event import Event
from eventbus.event.limits import INT_RANGES, UNBOUNDED, Allowed, Limits
from eventbus.serde import plan
from eventbus.serde.framing import VALUE_HEADER
from eventbus.serde.plan import Node, Plan

COMPILED, INTERPRETED = "compiled", "interpreted"
SWITCH = "EVENTBUS_CODEC"
"""The environment variable that is set to INTERPRETED if the compiled codec is not to be used."""


class BadCodec(ValueError):
    """SWITCH asks for a codec that there is not."""


class NotPlanned(ValueError):
    """The schema has something that only fastavro reads."""


def _compiled() -> Any:
    """Return the compiled form of plan.py; None if there is none, or it is of another version of the file."""
    try:
        module = import_module("eventbus.serde.plan_compiled")
    except ImportError:
        return None
    source = hashlib.sha256(Path(plan.__file__).read_bytes()).hexdigest()
    return module if source == module.SOURCE else None


COMPILED_NODES = _compiled()


class Planner:
    """Makes plans, of the compiled nodes if there are any."""

    def __init__(self, kind: str | None = None) -> None:
        """Take COMPILED or INTERPRETED; without it, what SWITCH says, or whatever is here. Raises BadCodec."""
        if kind is None:
            kind = _switch() or (COMPILED if COMPILED_NODES else INTERPRETED)
        if kind == COMPILED and not COMPILED_NODES:
            raise BadCodec(f"{SWITCH} is {COMPILED}, and the codec is not compiled here: unset it, or install again")
        self.kind = kind
        self._nodes: Any = COMPILED_NODES if kind == COMPILED else plan

    def plan(self, event: type[Event], frame: bytes) -> Plan | None:
        """Return the plan of an event, whose own values begin with this frame; None if only fastavro reads its schema.

        Supported are string, int, long, enum, and records and arrays of them.
        """
        own = self.version(event, event.schema, event.schema)
        made = own and self._nodes.Plan(own, frame, event.key_field, VALUE_HEADER)
        return typing.cast("Plan | None", made)

    def version(self, event: type[Event], writer: Mapping[str, Any], reader: Mapping[str, Any]) -> Node | None:
        """Return what reads another version of an event's schema; None if only fastavro can.

        `reader` is the event's schema with the names that the writer uses as aliases. Fields may be missing, be new,
        have new symbols, or have become long.
        """
        try:
            return self._record(event, event.limits, writer, reader)
        except ValueError:
            return None

    def _record(self, cls: type, limits: Limits, writer: Mapping[str, Any], reader: Mapping[str, Any]) -> Node:
        if not writer["fields"]:  # it takes no bytes: a few bytes could claim any number of them
            raise NotPlanned
        hints = typing.get_type_hints(cls)
        ours = reader["fields"]
        places = {name: place for place, field in enumerate(ours) for name in _names(field)}
        fields: list[tuple[int, Node]] = []
        for field in writer["fields"]:
            place = places.get(field["name"], -1)
            if place < 0:
                fields.append((-1, self._skipped(field["type"])))
            else:
                name, of = ours[place]["name"], ours[place]["type"]
                fields.append((place, self._node(limits.fields[name], field["type"], of, hints[name])))
        read = [place for place, _ in fields if place >= 0]
        if len(set(read)) < len(read):  # two fields of the writer are one of ours
            raise NotPlanned
        if read == list(range(len(ours))) and len(fields) == len(ours):
            return typing.cast("Node", self._nodes.RecordNode(cls, [node for _, node in fields], astuple))
        defaults = [None if place in read else _default(limits, field) for place, field in enumerate(ours)]
        return typing.cast("Node", self._nodes.VersionNode(cls, fields, defaults))

    def _node(self, allowed: Allowed, writer: Any, reader: Any, cls: Any) -> Node:
        """Return the node that reads what `writer` wrote as `reader`, which has the type `cls` in the event."""
        kinds = _kind(writer), _kind(reader)
        if not allowed.is_simple or kinds not in READABLE:
            raise NotPlanned
        made: Any
        if allowed.element:
            element = self._node(allowed.element, writer["items"], reader["items"], typing.get_args(cls)[0])
            made = self._nodes.Array(allowed.low, allowed.high, element)
        elif kinds[0] == "string":
            made = self._nodes.Text(allowed.low, allowed.high, [rule.holds for rule in allowed.rules])
        elif kinds[0] in INT_RANGES:
            low, high = INT_RANGES[kinds[0]]
            made = self._nodes.Number(max(low, allowed.low), min(high, allowed.high))
        elif writer["name"] != reader["name"]:
            raise NotPlanned
        elif allowed.record:
            made = self._record(cls, allowed.record, writer, reader)
        else:
            other = reader.get("default")
            made = self._nodes.Enum([symbol if symbol in reader["symbols"] else other for symbol in writer["symbols"]])
        return typing.cast("Node", made)

    def _skipped(self, schema: Any) -> Node:
        """Return the node of a field that the event does not have."""
        kind = _kind(schema)
        made: Any
        if kind == "string":
            made = self._nodes.Text(0, UNBOUNDED, [])
        elif kind in INT_RANGES:
            made = self._nodes.Number(*INT_RANGES[kind])
        elif kind == "enum":
            made = self._nodes.Enum(schema["symbols"])
        elif kind == "array":
            made = self._nodes.Array(0, UNBOUNDED, self._skipped(schema["items"]))
        elif kind == "record" and schema["fields"]:
            made = self._nodes.VersionNode(
                _nothing, [(-1, self._skipped(field["type"])) for field in schema["fields"]], []
            )
        else:
            raise NotPlanned
        return typing.cast("Node", made)


def _switch() -> str:
    value = os.environ.get(SWITCH, "")
    if value not in ("", COMPILED, INTERPRETED):
        raise BadCodec(f"{SWITCH} is {value[:80]!r}: set it to {INTERPRETED} or {COMPILED}, or not at all")
    return value


READABLE = {(kind, kind) for kind in ("string", "int", "long", "enum", "array", "record")} | {("int", "long")}
"""The types that a plan knows: as they were written, and as they are read."""


def _kind(schema: Any) -> str:
    """Return the name of a type; for a union, and for a type that is named again, one that no plan knows."""
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _names(field: Mapping[str, Any]) -> list[str]:
    return [field["name"], *field.get("aliases", ())]


def _default(limits: Limits, field: Mapping[str, Any]) -> str | int:
    default = field.get("default")
    if not isinstance(default, (str, int)):
        raise NotPlanned
    limits.fields[field["name"]].check(default, field["name"])
    return default


def _nothing() -> None:
    """Stand for the class of a record that is skipped."""
