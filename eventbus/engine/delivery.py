"""One record on its way through the engine, from the poll to the publish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from eventbus.deadletters.resolutions import original_record
from eventbus.event import Event
from eventbus.event.overdue import Overdue
from eventbus.log import RESOLUTIONS, Limit, Output, Oversized, Partition, Record, TooLarge
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Reaction
from eventbus.store.deadlines import DUE

UNPUBLISHED = -1
"""The partition number of a parked output: it is not published yet, so it has no partition."""
Address = tuple[Partition, int]
"""Partition and offset of a record."""


class Unpublished(NamedTuple):
    """An output that was too large for its topic: it is published as it is, without calling a handler."""

    output: Output
    limit: Limit | None = None
    """The limit of its topic; None if it is not known."""

    def unless_too_large(self) -> Output:
        """Return the output. Raises TooLarge if it still exceeds the limit of its topic."""
        if self.limit is not None and not self.limit.takes(self.output):
            raise TooLarge([Oversized(self.output, self.limit)])
        return self.output


class Delivery(Struct, eq=False):
    """A record and what became of it so far: each stage of the engine fills in its part.

    It has an event and the reaction to it, or an output that is not published yet, or it is bad: poison.
    """

    record: Record
    source: Record
    """The record that the event was read from first: the original of a redrive, otherwise the record itself."""
    event: Event | None = None
    reaction: Reaction | None = None
    unpublished: Unpublished | None = None
    poison: PoisonRecord | None = None
    """Why it can never be handled: found when it was decoded, by its remote call, or by its handler."""
    called: bool = False
    """Whether its remote call was made, or known not to be needed..."""
    outcome: Any = None
    """...and the result: what the handler receives, or an exception."""
    lapsed: bool = False
    """A deadline that is no longer over: its row has changed since it was found."""
    skipped: bool = False
    """Not handled in this transaction: its key is blocked."""
    failure: str = ""
    """The error message, if its handler raised in this transaction."""
    output: Output | None = None
    """What is published because of it."""

    @property
    def key(self) -> str | None:
        """The key whose events stay in order; None for poison, which waits for nothing."""
        if self.event is not None:
            return self.event.key
        return self.unpublished.output.key_text if self.unpublished is not None else None

    @property
    def is_due(self) -> bool:
        """Whether it is a deadline that is over, not a record of the log."""
        return self.record.partition.number == DUE

    @property
    def address(self) -> Address:
        """Partition and offset of the record."""
        return self.record.partition, self.record.offset

    def decide_again(self) -> None:
        """Forget what an attempt of a transaction decided."""
        self.lapsed, self.skipped, self.failure, self.output = False, False, "", None
        if self.event is not None:
            self.poison = None

    def back_to_buffer(self) -> None:
        """Forget everything after the decoding: a later batch takes it."""
        self.decide_again()
        self.called, self.outcome = False, None


def decode(codec: Codec, record: Record, reactions: Mapping[str, Reaction]) -> Delivery | None:
    """Decode one record; poison is a result, not an exception. Raises RegistryUnavailable.

    `reactions` are the service's, by topic, and those to deadlines, by name. A redrive is decoded as its original
    record, whose topic must be one of them; a resolution without an original gives None. Poison is copied: the
    traceback of the raised exception would keep every record decoded so far alive.
    """
    topic, source = record.partition.topic, record
    if record.partition.number == UNPUBLISHED:
        return Delivery(
            record, record, unpublished=Unpublished(Output(topic, record.key, record.value, record.headers))
        )
    if record.partition.number == DUE:
        over = Overdue((record.key or b"").decode(), record.offset)
        return Delivery(record, record, over, reactions[topic]) if topic in reactions else Delivery(record, record)
    try:
        if topic.endswith(RESOLUTIONS):
            original = original_record(record, reactions)
            if original is None:
                return None
            topic, source = original.partition.topic, original
        event = codec.decode(topic, source.key, source.value, source.headers)
    except PoisonRecord as poison:
        return Delivery(record, source, poison=PoisonRecord(poison.reason, str(poison)))
    return Delivery(record, source, event, reactions[topic])
