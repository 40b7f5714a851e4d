"""What the class of an event may be is decided at import; what its values may be, wherever an event is read or written."""

from __future__ import annotations

import json

import pytest
from msgspec import defstruct

from eventbus import Event, event
from eventbus.avro_schema import SchemaMismatch


def bind(folder, kinds, bases=(Event,), key="name"):
    """Return an event bound to a schema of fields (name, Avro type, hint), its first one `name`."""
    kinds = [("name", "string", str), *kinds]
    fields = [{"name": field, "type": of} for field, of, _ in kinds]
    avsc = folder / "made.avsc"
    avsc.write_text(json.dumps({"type": "record", "name": "Made", "fields": fields}))
    (folder / "ids.json").write_text('{"1": "made.avsc"}')
    made = defstruct("Made", [(field, hint) for field, _, hint in kinds], bases=bases, frozen=True)
    return event(avsc, key=key)(made)


@pytest.mark.parametrize(
    "name",
    ["key", "topic", "schema", "schema_text", "ids", "key_field", "limits", "summary", "check", "to_avro", "from_avro"],
)
def test_a_field_cannot_be_named_like_an_attribute_of_every_event(tmp_path, name):
    """It would take its place: a field `key` had `event.key` call itself until the process died."""
    with pytest.raises(SchemaMismatch, match=f"the field {name!r} has the name of an attribute of every event"):
        bind(tmp_path, [(name, "string", str)])
    with pytest.raises(SchemaMismatch, match=name):
        bind(tmp_path, [(name, "string", str)], key=name)
