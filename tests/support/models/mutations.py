"""What may become of a record's bytes on its way: kinds of damage, each at a place and with bytes that are drawn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

COUNT = int(os.environ.get("MUTATED_PAYLOADS", "10000"))
"""How many mutated payloads a test tries; MUTATED_PAYLOADS=1000000 with `--timeout 0` for a long run."""

Damage = tuple[str, int, bytes]
"""A kind of MUTATIONS, where, and with what."""


def _flip(value: bytes, at: int, with_: bytes) -> bytes:
    bit = 1 << (with_[0] & 7 if with_ else 0)
    return value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :] if at < len(value) else value


MUTATIONS: dict[str, Callable[[bytes, int, bytes], bytes]] = {
    "flip a bit": _flip,
    "overwrite": lambda value, at, with_: value[:at] + with_ + value[at + len(with_) :],
    "insert": lambda value, at, with_: value[:at] + with_ + value[at:],
    "cut out": lambda value, at, with_: value[:at] + value[at + len(with_) + 1 :],
    "truncate": lambda value, at, _with: value[:at],
    "repeat": lambda value, at, with_: value[:at] + value[at : at + 8] * (len(with_) + 1) + value[at:],
    "make a long number": lambda value, at, with_: value[:at] + b"\xff" * 10 + with_ + value[at:],
}


def damaged(value: bytes, damages: Iterable[Damage]) -> bytes:
    """Return the value after all of it, one after another; places count from the start, around the end."""
    for kind, at, with_ in damages:
        value = MUTATIONS[kind](value, at % (len(value) + 1), with_)
    return value
