"""The stages of an event's life, and the functions that are them: what `make profile` measures."""

from __future__ import annotations

from typing import NamedTuple


class Stage(NamedTuple):
    """A row of the table. What a stage calls of another one counts there."""

    step: str
    what: str
    functions: tuple[str, ...]
    """`module:name`, as the caller looks it up; all of them are called in the thread of the engine."""


TURN = Stage("rest of the turn", "what else the engine's loop does", ("eventbus.engine.engine:Engine.run_once",))
ONCE = Stage(
    "recovery, idle check",
    "once a start and once in a while, not an event's: not in the sum",
    ("eventbus.engine.recoverer:Recoverer.recover_due", "eventbus.engine.engine:Engine._look_around"),
)
REPOSITORIES = (
    "order_service.repository:OrderRepository",
    "payment_service.repository:PaymentRepository",
    "inventory_service.repository:InventoryRepository",
)
STAGES = (
    Stage("poll", "records, made of Kafka's messages", ("eventbus.kafka.log:KafkaLog.poll",)),
    Stage("decode", "Avro into events, with its guards", ("eventbus.engine.intake:Intake._decoded",)),
    Stage("remote calls", "the provider, or handing calls to others", ("eventbus.engine.remote:RemoteStage.call",)),
    Stage(
        "decide", "handlers, domain, the answers' ids, headers and Avro", ("eventbus.engine.handlers:Handlers.decide",)
    ),
    Stage("load", "the rows of the batch's keys", tuple(f"{each}.load" for each in REPOSITORIES)),
    Stage("save", "those that have changed", tuple(f"{each}.save" for each in REPOSITORIES)),
    Stage("outbox", "pack the outputs, insert them", ("eventbus.store.progress:add",)),
    Stage("rest of the transaction", "compare, advance, commit", ("eventbus.engine.decision:Decision.commit",)),
    Stage(
        "publish",
        "hand the outputs to Kafka's client, commit",
        ("eventbus.engine.publisher:Publisher.publish", "eventbus.kafka.log:KafkaLog.publish"),
    ),
    TURN,
    ONCE,
)
WORK = ("eventbus.engine.handlers:Handlers.decide", "eventbus.kafka.log:KafkaLog.publish")
"""A turn of the loop counts if one of these was called in it: else it waited for the group or for new records."""
