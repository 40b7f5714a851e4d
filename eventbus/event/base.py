"""The class of all events, and the decorator that binds one to its .avsc."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from msgspec import Struct, ValidationError, convert, to_builtins

from eventbus.avro_schema import SchemaMismatch, parse, plain
from eventbus.event.binding import check_record
from eventbus.event.limits import UNCHANGED, Limits, shown
from eventbus.text.quoted import quoted

E = TypeVar("E", bound="Event")
BOUND = "`@event` provides it"


class Event(Struct, frozen=True, gc=False):
    """What happened: past tense, immutable, published once. Subclasses are bound with `@event`.

    They are declared with `frozen=True`. A field's type says which values are valid, as in
    `Annotated[int, msgspec.Meta(ge=0)]`, and a Rule says more of a text. That is checked whenever an event is encoded
    or decoded, not when it is made: an invalid event cannot be published, and a consumed one is poison. A condition on
    several fields can be checked in `__post_init__`, which raises ValueError; it is called whenever an event is made,
    and takes most of the time of that.
    """

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
    limits: ClassVar[Limits]
    """What the types of its fields say about their values."""

    summary: ClassVar[str] = ""
    """What happened, as a sentence for users with fields in braces, as in `{amount} was charged`."""

    @property
    def key(self) -> str:
        """The key of the record; events of one key stay in order."""
        raise NotImplementedError(BOUND)

    def to_avro(self) -> dict[str, Any]:
        """Return the plain dict that Avro encodes, unchecked; arrays are tuples. ValueError for no plain value."""
        try:
            return typing.cast("dict[str, Any]", to_builtins(self, builtin_types=UNCHANGED))
        except TypeError as error:
            raise ValueError(f"{_not_plain(self)}: {error}") from error

    def field_text(self, name: str) -> str:
        """Return a field as people read it; override it for a value that says more with another, as an amount does."""
        return as_text(getattr(self, name))

    def check(self) -> typing.Self:
        """Return the event. Raises ValueError for a value that its field does not allow, and names it."""
        self.to_checked_avro()
        return self

    def to_checked_avro(self) -> dict[str, Any]:
        """Do the same, and return the plain dict that Avro encodes."""
        values = self.to_avro()
        if self.from_avro(values) != self:  # a field that is UNSET got its default
            self.limits.check(values)
        return values

    @classmethod
    def from_avro(cls, values: dict[str, Any]) -> typing.Self:
        """Build the event from a decoded Avro record; ValueError for values that its fields do not allow."""
        try:
            made = convert(values, cls)
        except ValidationError:
            cls.limits.check(values)  # says it in the words of the declaration, with the value
            raise
        cls.limits.check_rules(values)
        return made


def as_text(value: object) -> str:
    """Return a value of a field as people read it: parts and lists without Python's punctuation."""
    if isinstance(value, Struct):
        return " ".join(f"{name} {as_text(getattr(value, name))}" for name in value.__struct_fields__)
    if isinstance(value, tuple):
        return ", ".join(map(as_text, value))
    if isinstance(value, bytes):
        return quoted(value)
    return str(value) or "''"


def _not_plain(event: Event) -> str:
    """Return which field of an event has a value that no plain dict can have."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        try:
            to_builtins(value, builtin_types=UNCHANGED)
        except TypeError:
            return f"{name} {shown(value)} must be a plain value"
    return f"{type(event).__name__} must have plain values"


RESERVED = {*dir(Event), *Event.__annotations__}
"""Names that no field can have."""


def event(avsc: Path, *, key: str) -> Callable[[type[E]], type[E]]:
    """Bind an event's class to its .avsc; the topic is the file's name.

    Raises SchemaMismatch when fields, types or defaults differ, when `key` is not a string field, when a field has the
    name of an attribute of Event, or when the schema is recursive or has an array whose elements may take no bytes (a
    few bytes could then ask for millions of items).
    """

    def bind(cls: type[E]) -> type[E]:
        cls.topic = avsc.name.removesuffix(".avsc")
        cls.schema_text = avsc.read_text(encoding="utf-8")
        cls.schema = parse(json.loads(cls.schema_text))
        raw = plain(json.loads(cls.schema_text))
        cls.ids, cls.key_field = avsc.parent / "ids.json", key
        for f in raw["fields"]:
            if f["name"] in RESERVED:
                raise SchemaMismatch(
                    f"{avsc.name}: the field {f['name']!r} has the name of an attribute of every event: rename it"
                )
        check_record(raw, cls, avsc.name)
        if {f["name"]: f["type"] for f in raw["fields"]}.get(key) != "string":
            raise SchemaMismatch(f"{avsc.name}: the key field {key!r} must be a string field of the schema")
        cls.limits = Limits(cls, raw, avsc.name)
        # Bound once, not looked up by class at every call: it is called several times per event.
        setattr(cls, "key", property(attrgetter(key)))  # noqa: B010 - a property of this class alone
        return cls

    return bind
