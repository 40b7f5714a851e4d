"""A record in readable form."""

from __future__ import annotations

import base64
from typing import Any

from eventbus.log import Headers, Record, to_iso
from saga.kafka.decode import Decoder, Undecodable


def describe(record: Record, decoder: Decoder) -> dict[str, Any]:
    """Return a record in readable form; the keys topic, partition, offset, ..., value are always present."""
    described = {
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "timestamp": to_iso(record.timestamp_ms),
        "key": None if record.key is None else _text(record.key),
        "headers": _headers(record.headers),
        "value": None,
    }
    try:
        described["value"] = decoder.decode(record.value, record.headers)
    except Undecodable as error:
        if record.value is not None:
            described["value_base64"] = base64.b64encode(record.value).decode()
        described["error"] = str(error)
    return described


def _headers(headers: Headers) -> dict[str, str | list[str]]:
    """Return the headers by name; a repeated one as a list, in order."""
    named: dict[str, list[str]] = {}
    for name, content in headers:
        named.setdefault(name, []).append(_text(content))
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in named.items()}


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(content).decode()
