"""The history as an object-centric event log, OCEL 2.0 in JSON, for tools of process mining.

Source: https://www.ocel-standard.org/specification/formats/json/ . Attribute values are strings, as the standard's own
JSON schema requires; their types are declared with the event's type.

Objects are derived from the names of fields: `customer_id` names an object of the type `customer`, `sku` one of the
type `sku`. The object that keys an event is related to the others that the event names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from eventbus.log import Record, to_iso
from eventbus.text.json_form import to_json
from eventbus.text.plural import plural
from saga.audit.scratch import scratch_database
from saga.flow.model import Flow
from saga.kafka.decode import Decoder, Undecodable

ID = "_id"
SKU = "sku"
TYPES = {"int": "integer", "long": "integer", "float": "float", "double": "float", "boolean": "boolean"}
OF_EVERY_EVENT = {"service": "ce_source", "caused_by": "ce_causationid"}
"""Attributes of every event, and the headers that they are read from."""
SCHEMA = """
create table object (id text primary key, type text not null) without rowid;
create table relation (object text, other text, qualifier text, primary key (object, other)) without rowid;
"""


class Named(NamedTuple):
    """An object that an event names."""

    id: str
    type: str


@dataclass
class OcelWritten:
    """How much was written."""

    events: int = 0
    objects: int = 0
    undecodable: int = 0

    @property
    def told(self) -> str:
        """Return it as text."""
        omitted = plural(self.undecodable, "record that is not an event is", "records that are not events are")
        left_out = f"; {omitted} omitted" if self.undecodable else ""
        return f"{plural(self.events, 'event')} of {plural(self.objects, 'object')}{left_out}"


def write_ocel(out: IO[str], records: Iterable[Record], decoder: Decoder, flow: Flow) -> OcelWritten:
    """Write the log. Objects are buffered on disk, so that memory does not grow with the history. Raises NoRoom."""
    written = OcelWritten()
    with scratch_database(SCHEMA) as objects:
        types = {"eventTypes": _event_types(flow), "objectTypes": _object_types(flow)}
        out.write(to_json(types)[:-1] + ', "events": [')
        _write_all(out, _events(records, decoder, flow, objects, written))
        out.write('\n], "objects": [')
        _write_all(out, _objects(objects, written))
        out.write("\n]}\n")
    return written


def _write_all(out: IO[str], documents: Iterable[Mapping[str, Any]]) -> None:
    separator = "\n"
    for document in documents:
        out.write(separator + to_json(document))
        separator = ",\n"


def _event_types(flow: Flow) -> list[dict[str, Any]]:
    return [
        {
            "name": topic,
            "attributes": [
                *({"name": field["name"], "type": _type(field)} for field in _plain_fields(flow, topic)),
                *({"name": name, "type": "string"} for name in OF_EVERY_EVENT),
            ],
        }
        for topic in flow.events
    ]


def _object_types(flow: Flow) -> list[dict[str, Any]]:
    fields = [field for event in flow.events.values() for field in event.schema["fields"]]
    inner = [field for each in fields for field in _item_fields(each)]
    names = (_object_type(field["name"]) for field in (*fields, *inner))
    return [{"name": name, "attributes": []} for name in sorted(filter(None, set(names)))]


def _plain_fields(flow: Flow, topic: str) -> list[Mapping[str, Any]]:
    """Return the fields of an event that name no object."""
    return [field for field in flow.events[topic].schema["fields"] if not _object_type(field["name"])]


def _type(field: Mapping[str, Any]) -> str:
    return TYPES.get(field["type"], "string") if isinstance(field["type"], str) else "string"


def _item_fields(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = field["type"].get("items") if isinstance(field["type"], dict) else None
    return list(items["fields"]) if isinstance(items, dict) and items.get("type") == "record" else []


def _object_type(field: str) -> str:
    """Return the type of the objects that a field of this name names; empty if it names none."""
    return field if field == SKU else field.removesuffix(ID) if field.endswith(ID) else ""


def _events(
    records: Iterable[Record], decoder: Decoder, flow: Flow, objects: sqlite3.Connection, written: OcelWritten
) -> Iterator[dict[str, Any]]:
    for record in records:
        try:
            fields = decoder.decode(record.value, record.headers)
        except Undecodable:
            written.undecodable += 1
            continue
        named = _named(fields)
        _keep(objects, named, _key(flow, record.partition.topic, fields))
        written.events += 1
        yield {
            "id": record.address,
            "type": record.partition.topic,
            "time": to_iso(record.timestamp_ms),
            "attributes": _attributes(record, fields, flow),
            "relationships": [{"objectId": each.id, "qualifier": each.type} for each in named],
        }


def _attributes(record: Record, fields: Mapping[str, Any], flow: Flow) -> list[dict[str, str]]:
    plain = [field["name"] for field in _plain_fields(flow, record.partition.topic)]
    values = {name: _text(fields[name]) for name in plain if fields.get(name) is not None}
    headers = {name: content.decode(errors="replace") for name, content in reversed(record.headers)}
    values |= {name: headers[header] for name, header in OF_EVERY_EVENT.items() if header in headers}
    return [{"name": name, "value": value} for name, value in values.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)


def _named(fields: Mapping[str, Any]) -> list[Named]:
    """Return the objects that an event names, each once; an empty id names none."""
    scalars = list(fields.items())
    items = [item for value in fields.values() if isinstance(value, list) for item in value if isinstance(item, dict)]
    pairs = [*scalars, *(pair for item in items for pair in item.items())]
    named = ((_object_type(name), value) for name, value in pairs if isinstance(value, str) and value)
    found = (Named(f"{kind}:{value}", kind) for kind, value in named if kind)
    return list(dict.fromkeys(found))


def _key(flow: Flow, topic: str, fields: Mapping[str, Any]) -> str:
    """Return the object that keys an event."""
    name = flow.events[topic].key
    return f"{_object_type(name)}:{fields.get(name)}"


def _keep(objects: sqlite3.Connection, named: list[Named], key: str) -> None:
    objects.executemany("insert or ignore into object values (?, ?)", named)
    related = [(key, other.id, other.type) for other in named if other.id != key]
    objects.executemany("insert or ignore into relation values (?, ?, ?)", related)


def _objects(objects: sqlite3.Connection, written: OcelWritten) -> Iterator[dict[str, Any]]:
    for each in objects.execute("select id, type from object order by id"):
        written.objects += 1
        others = objects.execute("select other, qualifier from relation where object = ? order by other", each[:1])
        related = [{"objectId": other, "qualifier": qualifier} for other, qualifier in others]
        yield {"id": each[0], "type": each[1], "attributes": [], "relationships": related}
