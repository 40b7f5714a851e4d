"""The records of the model of the saga as they lie on a log, and an export of them."""

from __future__ import annotations

from io import StringIO
from random import Random

from eventbus import Codec
from eventbus.log import Partition, Record
from eventbus.serde.registry import registry_at
from saga.audit.export import write_lines
from saga.audit.history import AuditSelection
from saga.audit.lines import entry_of
from saga.audit.summary import Summary
from saga.kafka.decode import Decoder
from saga.tracker.installed import MODEL
from schemas import EVENTS
from tests.support.models.saga_model import PARTITIONS, World
from tests.support.models.written_saga import _event

REGISTRY = registry_at(None, EVENTS)
DECODER = Decoder(REGISTRY)
LANES = [(event.topic, number) for event in EVENTS for number in range(PARTITIONS)]


def history(orders: int, seed: int = 3) -> list[Record]:
    """Return all records of so many finished orders, sorted by address, with gaps where a log has markers."""
    world, codec = World(Random(seed), orders), Codec(REGISTRY, EVENTS)
    world.finish()
    records = []
    for tp in sorted(world.log):
        for fact in world.log[tp]:
            cause = (
                []
                if fact.cause is None
                else [("ce_causationid", str(fact.cause._replace(offset=2 * fact.cause.offset)).encode())]
            )
            headers = [("ce_source", MODEL.publisher[fact.topic].encode()), *cause]
            value = codec.encode(_event(fact))
            key = fact.order_id.encode()
            records.append(Record(Partition(*tp), 2 * fact.offset, key, value, fact.timestamp_ms, headers))
    return records


def exported(records: list[Record]) -> tuple[list[str], str]:
    """Return the lines of an export of these, each with its end, and the digest."""
    ends = {tp: 1 + max((r.offset for r in records if r.partition == tp), default=-1) for tp in LANES}
    file = StringIO()
    summary = Summary("a-cluster", "2026-01-31T12:00:00Z", AuditSelection(), dict.fromkeys(LANES, 0), ends)
    _, digest = write_lines(file, (entry_of(record, DECODER) for record in records), summary)
    return file.getvalue().splitlines(keepends=True), digest
