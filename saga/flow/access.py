"""Access rights on the brokers: the least that each service needs, derived from the flow; for this tool, read access.

Read and Write imply Describe, so Describe is listed only where it is the only one. An idempotent producer needs no
right of its own since Kafka 2.8 (KIP-679): Write on a topic, or on the transactional id, is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from shlex import quote
from typing import NamedTuple

import yaml

from eventbus.manifest import Declaration
from eventbus.worker.announcement import TOPIC
from saga.flow.model import Flow

TOPIC_KIND, GROUP_KIND, TRANSACTIONS_KIND = "topic", "group", "transactional-id"
STRIMZI_KINDS = {TOPIC_KIND: "topic", GROUP_KIND: "group", TRANSACTIONS_KIND: "transactionalId"}

READERS = "saga-"
"""The prefix of the group ids of this tool's consumers: librdkafka looks up their coordinator, but none is joined."""


class Right(NamedTuple):
    """Operations on one resource; `prefixed`: on all whose names have this prefix. `kind` as in kafka-acls."""

    kind: str
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False


def rights(flow: Flow, tool: str) -> Mapping[str, list[Right]]:
    """Return the rights of each principal: the services by their names, and the one that this tool runs as."""
    services = {service.service: _of_service(service) for service in flow.services}
    letters = [topic for service in flow.services for topic in (service.dead_letters, service.resolutions)]
    topics = [*flow.events, *letters, TOPIC]
    reading = [Right(TOPIC_KIND, topic, ("Read", "DescribeConfigs")) for topic in topics]
    looking = [Right(TOPIC_KIND, service.progress, ("Describe", "DescribeConfigs")) for service in flow.services]
    return {**services, tool: [*reading, *looking, Right(GROUP_KIND, READERS, ("Describe",), prefixed=True)]}


def _of_service(service: Declaration) -> list[Right]:
    """A worker reads its inputs in its group, writes its answers in transactions, and describes both at its start."""
    heard, said = list(dict.fromkeys(service.consumes)), list(service.publishes)
    both = [event for event in heard if event in said]
    return [
        *(Right(TOPIC_KIND, event, ("Read", "DescribeConfigs")) for event in heard if event not in both),
        *(Right(TOPIC_KIND, event, ("Read", "Write", "DescribeConfigs")) for event in both),
        *(Right(TOPIC_KIND, event, ("Write", "DescribeConfigs")) for event in said if event not in both),
        Right(TOPIC_KIND, service.dead_letters, ("Write", "DescribeConfigs")),
        Right(TOPIC_KIND, service.resolutions, ("Read", "Write", "DescribeConfigs")),
        Right(TOPIC_KIND, service.progress, ("Read", "Write")),
        Right(TOPIC_KIND, TOPIC, ("Write",)),
        Right(GROUP_KIND, service.service, ("Read",)),
        Right(TRANSACTIONS_KIND, f"{service.service}.", ("Write",), prefixed=True),
    ]


def as_kafka_acls(who: Mapping[str, Iterable[Right]], bootstrap_servers: str) -> str:
    """Return commands for Kafka's kafka-acls.sh, one for each distinct set of operations."""
    return "".join(
        f"{line}\n" for principal, given in who.items() for line in _commands(principal, given, bootstrap_servers)
    )


def _commands(principal: str, given: Iterable[Right], bootstrap_servers: str) -> Iterator[str]:
    for (kind, operations, prefixed), alike in groupby(given, key=lambda r: (r.kind, r.operations, r.prefixed)):
        pattern = " --resource-pattern-type prefixed" if prefixed else ""
        options = "".join(f" --operation {operation}" for operation in operations)
        names = "".join(f" --{kind} {right.name}" for right in alike)
        command = f"kafka-acls.sh --bootstrap-server {quote(bootstrap_servers)} --add"
        yield f"{command} --allow-principal {quote(f'User:{principal}')}{options}{pattern}{names}"


def as_strimzi(who: Mapping[str, Iterable[Right]], cluster: str) -> str:
    """Return a KafkaUser for each principal, for Strimzi's user operator; authentication must be added."""
    return yaml.safe_dump_all([_user(*entry, cluster) for entry in who.items()], sort_keys=False)


def _user(principal: str, given: Iterable[Right], cluster: str) -> dict[str, object]:
    acls = [
        {
            "resource": {
                "type": STRIMZI_KINDS[right.kind],
                "name": right.name,
                "patternType": "prefix" if right.prefixed else "literal",
            },
            "operations": list(right.operations),
        }
        for right in given
    ]
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": principal, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {"authorization": {"type": "simple", "acls": acls}},
    }
