"""A worker's log for people: a sentence for each usual event. Machines get the same events as JSON, with all fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from eventbus.log import DEAD_LETTERS
from eventbus.text.plural import plural
from eventbus.text.terminal import visible

Fields = Mapping[str, Any]
IDENTITY = ("service", "instance")
"""Fields of every line, which the first lines tell: one terminal shows one worker."""


def _connected(event: Fields) -> str:
    brokers = plural(event["brokers"], "broker")
    return f"connected to Kafka at {event['servers']}: {brokers}, cluster {event['cluster']}, by {event['client']}"


def _started(event: Fields) -> str:
    topics = ", ".join(event["topics"])
    return f"{event['service']} has started as {event['instance']}, {event['delivery']}; it consumes {topics}"


def _partitions(event: Fields) -> str:
    topics = {partition.rpartition("/")[0] for partition in event["partitions"]}
    return f"{plural(len(event['partitions']), 'partition')} of {plural(len(topics), 'topic')}"


def _ready(event: Fields) -> str:
    places = f"{plural(event['partitions'], 'partition')} of {plural(event['topics'], 'topic')}"
    return f"ready after {event['seconds']:.1f} s: {places}"


def _batch(event: Fields) -> str:
    events = {topic: count for topic, count in event["published"].items() if not topic.endswith(DEAD_LETTERS)}
    consumed, published = _by_topic(event["consumed"]), _by_topic(events)
    parked, handled = event["parked"], sum(event["consumed"].values()) - event["parked"]
    said = [f"handled {consumed}" if handled > 0 else f"parked {consumed}"] if consumed else []
    said += [f"of which {parked} parked"] if parked and handled > 0 else []
    said += [f"to publish: {published}"] if published else []
    said = said or ["retried what is parked"]
    said += [plural(event["dead_letters"], "dead letter")] if event["dead_letters"] else []
    example = [f"e.g. {event['example']}"] if event["example"] else []
    return "; ".join([", ".join(said), *example, f"{event['milliseconds']:.0f} ms, lag {event['lag']}"])


def _by_topic(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {topic}" for topic, count in counts.items())


def _blocked(event: Fields) -> str:
    return f"{event['key']} is blocked, {_parked(event)} until a retry succeeds: {event['error']}"


def _retry_failed(event: Fields) -> str:
    attempts = f"after {plural(event['attempts'], 'attempt')}, {_parked(event)}"
    return (
        f"{event['key']} is still blocked {attempts}: {event['error']}; the next one follows in {event['retry_in']} s"
    )


def _left(event: Fields) -> str:
    return f"what an earlier worker decided, {plural(event['entries'], 'batch', 'batches')}, is"


def _parked(event: Fields) -> str:
    return f"{plural(event['records'], 'record')} parked"


Sentences = Mapping[str, Callable[[Fields], str]]
SENTENCES: Sentences = {
    "kafka.connected": _connected,
    "worker.started": _started,
    "partitions.assigned": lambda event: f"assigned: {_partitions(event)}",
    "partitions.revoked": lambda event: f"revoked: {_partitions(event)}",
    "partitions.lost": lambda event: f"lost, another worker may have them: {_partitions(event)}",
    "worker.ready": _ready,
    "batch.handled": _batch,
    "record.dead_lettered": lambda event: f"dead letter of {event['record']}: {event['reason']}: {event['detail']}",
    "key.blocked": _blocked,
    "key.retry_failed": _retry_failed,
    "key.unblocked": lambda event: f"{event['key']} is unblocked after {event['seconds']:.1f} s",
    "partition.paused": lambda event: f"{event['partition']} is paused: {event['why']}",
    "partition.resumed": lambda event: f"{event['partition']} is resumed",
    "partition.recovered": lambda event: f"{event['partition']} is recovered: {_left(event)} published first",
    "topic.limit": lambda event: event["why"],
    "metrics.served": lambda event: f"metrics and health: port {event['port']}",
    "waiting": lambda event: f"waiting: {event['why']}",
    "kafka.reached": lambda event: f"a Kafka broker answers again, after {event['seconds']:.0f} s",
    "worker.stopped": lambda _event: "stopped",
    "worker.failed": lambda event: f"failed: {event['error']}",  # the last line of the command says why
}
"""What a person reads of an event; every other event is shown with its fields."""


def for_people(
    _logger: Any, _name: str, event: MutableMapping[str, Any], sentences: Sentences = SENTENCES
) -> MutableMapping[str, Any]:
    """Replace the fields of a usual event by its sentence; escape what could change the terminal's state."""
    sentence = sentences.get(event["event"])
    rest = {name: value for name, value in event.items() if name not in IDENTITY}
    if sentence is not None:
        rest = {"event": sentence(event), "level": event["level"], "timestamp": event["timestamp"]}
    return {name: visible(value) if isinstance(value, str) else value for name, value in rest.items()}
