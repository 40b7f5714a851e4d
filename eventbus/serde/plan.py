"""Reads and writes Avro by a plan: a tree of nodes, one for each type in an event's schema.

Compiled by mypyc (hatch_build.py) to `plan_compiled`, this is five times as fast as fastavro and a dict; interpreted it
is hardly slower than they are. A plan accepts only what is plain: anything else (a number too long, a truncated text, a
value that its field does not allow) it declines, and fastavro and the strict walk decide and say why. So it never
decides that a record is bad, and it accepts only what fastavro accepts: a test compares them on generated and damaged
bodies. Why: docs/decisions/0028-a-codec-that-walks-a-plan.md. Source: Avro 1.12, Binary Encoding.

Only the standard library is imported here: the file is compiled before anything else is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

MAX_BYTES: Final = 10_000
"""Of a body that a plan reads. Each value takes a byte, so it has no more values than the strict walk allows."""
CONTINUES: Final = 128
"""The bit of a number's byte that says that another byte follows."""
LONGEST_SHIFT: Final = 56
"""Of a number's ninth byte. A tenth would be the 64th bit, which fastavro reads."""
LARGEST: Final = 2**62 - 1
"""The largest number in nine bytes."""
BYTES: Final = [bytes([byte]) for byte in range(256)]


class Unusual(ValueError):
    """Left to fastavro. Callers of the codec never see it."""


class Body:
    """The bytes of a value, and where its reading has come to."""

    def __init__(self, value: bytes, at: i64) -> None:
        self.value = value
        self.at: i64 = at
        self.end: i64 = len(value)

    def number(self) -> i64:
        """Read a number: 7 bits a byte, the lowest first; zigzag-encoded, so small negative ones are short too."""
        at = self.at
        if at >= self.end:
            raise Unusual
        byte: i64 = self.value[at]
        at += 1
        number = byte & 127
        shift: i64 = 7
        while byte >= CONTINUES:
            if at >= self.end or shift > LONGEST_SHIFT:
                raise Unusual
            byte = self.value[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
        self.at = at
        return (number >> 1) ^ -(number & 1)

    def count(self) -> i64:
        """Read the number of the elements that follow, each of which takes at least a byte."""
        count = self.number()
        if count < 0 or count > self.end - self.at:
            raise Unusual
        return count


def _put_number(out: list[bytes], number: i64) -> None:
    left: i64 = (number << 1) ^ (number >> 63)
    while left >= CONTINUES:
        out.append(BYTES[(left & 127) | CONTINUES])
        left >>= 7
    out.append(BYTES[left])


class Node:
    """One type of a schema, with what the field of an event allows."""

    def read(self, body: Body) -> object:
        """Return the next value. Raises an exception for anything unusual."""
        raise NotImplementedError

    def write(self, out: list[bytes], value: object) -> None:
        """Append the bytes of a value. Raises an exception for anything unusual."""
        raise NotImplementedError


class Text(Node):
    """A string, of which the length in characters is limited."""

    def __init__(self, low: int, high: int, rules: Sequence[Callable[[str], object]]) -> None:
        self.low: i64 = low
        self.high: i64 = high
        self.rules = list(rules)

    def read(self, body: Body) -> object:
        """See Node."""
        length = body.number()
        end = body.at + length
        if length < 0 or end > body.end:
            raise Unusual
        text = body.value[body.at : end].decode()
        body.at = end
        self.check(text)
        return text

    def write(self, out: list[bytes], value: object) -> None:
        """See Node."""
        if type(value) is not str:  # a class derived from it may encode itself differently
            raise Unusual
        self.check(value)
        written = value.encode()
        _put_number(out, len(written))
        out.append(written)

    def check(self, text: str) -> None:
        """Raise an exception unless a text is allowed."""
        length: i64 = len(text)
        if length < self.low or length > self.high:
            raise Unusual
        for rule in self.rules:
            if not rule(text):
                raise Unusual


class Number(Node):
    """An int or a long."""

    def __init__(self, low: int, high: int) -> None:
        self.low: i64 = max(low, -LARGEST)
        self.high: i64 = min(high, LARGEST)

    def read(self, body: Body) -> object:
        """See Node."""
        number = body.number()
        if number < self.low or number > self.high:
            raise Unusual
        return number

    def write(self, out: list[bytes], value: object) -> None:
        """See Node."""
        if type(value) is not int or value < self.low or value > self.high:
            raise Unusual
        _put_number(out, value)


class Enum(Node):
    """A symbol, by its number in the writer's schema; None stands for one that is left to fastavro."""

    def __init__(self, symbols: Sequence[str | None]) -> None:
        self.symbols = list(symbols)

    def read(self, body: Body) -> object:
        """See Node."""
        index = body.number()
        if index < 0 or index >= len(self.symbols):
            raise Unusual
        symbol = self.symbols[index]
        if symbol is None:
            raise Unusual
        return symbol

    def write(self, out: list[bytes], value: object) -> None:
        """See Node."""
        if type(value) is not str:
            raise Unusual
        _put_number(out, self.symbols.index(value))


class Array(Node):
    """An array, which becomes a tuple."""

    def __init__(self, low: int, high: int, element: Node) -> None:
        self.low: i64 = low
        self.high: i64 = high
        self.element = element

    def read(self, body: Body) -> object:
        """See Node."""
        elements: list[object] = []
        count = body.count()
        while count > 0:
            elements += [self.element.read(body) for _ in range(count)]
            count = body.count()
        self.check(len(elements))
        return tuple(elements)

    def write(self, out: list[bytes], value: object) -> None:
        """See Node."""
        if type(value) is not tuple:
            raise Unusual
        self.check(len(value))
        if value:
            _put_number(out, len(value))
            for element in value:
                self.element.write(out, element)
        _put_number(out, 0)

    def check(self, count: i64) -> None:
        """Raise an exception unless so many elements are allowed."""
        if count < self.low or count > self.high:
            raise Unusual


class RecordNode(Node):
    """A record with the fields of a class, in the same order."""

    def __init__(
        self, cls: Callable[..., object], nodes: Sequence[Node], values: Callable[[object], tuple[object, ...]]
    ) -> None:
        """Take the class, a node for each of its fields, and what returns the values of an instance."""
        self.cls = cls
        self.nodes = list(nodes)
        self.values = values

    def read(self, body: Body) -> object:
        """See Node."""
        return self.cls(*[node.read(body) for node in self.nodes])

    def write(self, out: list[bytes], value: object) -> None:
        """See Node."""
        if type(value) is not self.cls:
            raise Unusual
        values = self.values(value)
        for index, node in enumerate(self.nodes):
            node.write(out, values[index])


class VersionNode(Node):
    """A record of another version of its schema; it is only read."""

    def __init__(
        self, cls: Callable[..., object], fields: Sequence[tuple[int, Node]], defaults: Sequence[object]
    ) -> None:
        """Take the writer's fields, each with its place among those of the class, or -1; defaults for the others."""
        self.cls = cls
        self.fields = list(fields)
        self.defaults = list(defaults)

    def read(self, body: Body) -> object:
        """See Node."""
        values = self.defaults.copy()
        for place, node in self.fields:
            value = node.read(body)
            if place >= 0:
                values[place] = value
        return self.cls(*values)


class Plan:
    """Reads the values of a topic, whichever of the known schemas they were written with, and writes its event."""

    def __init__(self, own: Node, frame: bytes, key_field: str, header: str) -> None:
        self.own = own
        self.frame = frame
        self.key_field = key_field
        self.header = header
        self.others: dict[bytes, Node] = {}

    def add(self, frame: bytes, record: Node) -> None:
        """Know another version of the schema, by the frame of the values that it wrote."""
        self.others[frame] = record

    def read(self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, object]]) -> Any:
        """Return the event of a record; None if it is left to fastavro."""
        if value is None or key is None or len(value) > MAX_BYTES:
            return None
        size = len(self.frame)
        record = self.own if value.startswith(self.frame) else self.others.get(value[:size])
        if record is None:
            return None
        try:
            for name, _ in headers:
                if name == self.header:
                    return None
            body = Body(value, size)
            event = record.read(body)
            text = getattr(event, self.key_field)
            if body.at != body.end or not isinstance(text, str) or text.encode() != key:
                return None
        except Exception:  # noqa: BLE001 - the strict path decides, and says why
            return None
        return event

    def write(self, event: object) -> bytes | None:
        """Return the framed value of an event; None if it is left to fastavro."""
        out = [self.frame]
        try:
            self.own.write(out, event)
        except Exception:  # noqa: BLE001 - fastavro decides, and raises
            return None
        return b"".join(out)
