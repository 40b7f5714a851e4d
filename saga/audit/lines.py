"""The lines of an export: a record each, chained by their hashes, and a last one with the expected counts.

A line ends in `"previous"`, the hash of the line before (64 zeros in the first one), and `"hash"`: the SHA-256, in
hexadecimal, of everything before it in the line. The body of a line is the line without these two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

from msgspec import DecodeError
from msgspec.json import decode

from eventbus.log import Headers, Record
from eventbus.serde.framing import schema_id_of
from eventbus.text.json_form import to_json
from saga.check.facts import Address
from saga.kafka.decode import Decoder
from saga.kafka.describe import describe

FORMAT = 1
"""The version of the file; another one is refused."""
GENESIS = "0" * 64
SUMMARY = "summary"
"""The only key of the last line's body."""
SEAL = re.compile(r', "previous": "([0-9a-f]{64})", "hash": "([0-9a-f]{64})"\}\Z')
LENGTH = Struct(">I")


class NotAnExport(ValueError):
    """The file is not an export, or cannot be read."""


class AuditEntry(NamedTuple):
    """A record of an export or of the log: its address, and the body of its line."""

    address: Address
    body: str


class AuditLine(NamedTuple):
    """A line of an export, verbatim."""

    number: int
    body: str
    previous: str
    hash: str
    content: dict[str, Any]
    sound: bool
    """Whether the hash matches the line."""

    @property
    def address(self) -> Address | None:
        """The record's address; None if the line has none."""
        place = tuple(self.content.get(name) for name in ("topic", "partition", "offset"))
        kinds = (str, int, int)
        return Address(*place) if all(map(isinstance, place, kinds)) else None  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Its name in a report."""
        return str(self.address or f"line {self.number}")


def entry_of(record: Record, decoder: Decoder) -> AuditEntry:
    """Return the entry of a record in an export."""
    return AuditEntry(Address(*record.partition, record.offset), _body(record, decoder))


def _body(record: Record, decoder: Decoder) -> str:
    """Return a record as `saga tail` prints it, with its schema's id and the hashes of its bytes."""
    described = describe(record, decoder)
    described["schema_id"] = schema_id_of(record.value, record.headers)
    described["sha256"] = {
        "key": _sha256(record.key),
        "value": _sha256(record.value),
        "headers": _sha256(_headers(record.headers)),
    }
    return to_json(described)


def sealed(body: str, previous: str) -> tuple[str, str]:
    """Return the line, without the newline, and its hash."""
    head = f'{body[:-1]}, "previous": "{previous}"'
    own = sha256(head.encode()).hexdigest()
    return f'{head}, "hash": "{own}"}}', own


def lines_of(path: Path) -> Iterator[AuditLine]:
    """Return the lines of a file, also those that are no longer valid lines of an export. Raises NotAnExport."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield _line(number, raw)
    except OSError as error:
        raise NotAnExport(f"{path} cannot be read: {error.strerror}") from error


def _line(number: int, raw: bytes) -> AuditLine:
    text = raw.removesuffix(b"\n").decode(errors="replace")
    seal = SEAL.search(text)
    body = text[: seal.start()] + "}" if seal else text
    try:
        content = decode(body)
    except (DecodeError, RecursionError):
        content = None
    if seal is None or not isinstance(content, dict):
        return AuditLine(number, body, "", f"line {number}", {}, sound=False)
    sound = raw.endswith(b"\n") and sealed(body, seal[1])[1] == seal[2]
    return AuditLine(number, body, seal[1], seal[2], content, sound)


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else sha256(content).hexdigest()


def _headers(headers: Headers) -> bytes:
    """Return names and contents concatenated, each after its length as 4 bytes, big-endian."""
    pieces = (piece for name, content in headers for piece in (name.encode(), content))
    return b"".join(LENGTH.pack(len(piece)) + piece for piece in pieces)
