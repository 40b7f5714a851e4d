"""What every broker of the tests has in common: its ports, its properties, and how to tell that it is ready."""

from __future__ import annotations

import base64
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.ports import free_port

VERSION = "4.3.1"
START_SECONDS = 150
SOON_BACK = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
"""For a node that is killed: it is let in again when its old session is over, by default after 9 s. One that is not
killed keeps the default: it loses its session, and its partitions their leader, also by standing still so long."""
QUIET = logging.getLogger("tests.kafka.waiting")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class NoBroker(Exception):
    """This machine has no Kafka for the tests, and the message says why."""


class Broker(Protocol):
    """A real Kafka."""

    bootstrap_servers: str

    @property
    def host_ports(self) -> Ports | None:
        """The ports of a broker that the tests have started; None for somebody else's."""

    def start(self) -> Broker:
        """Start it and wait until it answers."""

    def stop(self) -> None:
        """Stop it for good and forget its data."""


class OwnBroker(Broker, Protocol):
    """A broker that the tests have started, on ports that stay the same over `restart`."""

    @property
    def host_ports(self) -> Ports:
        """Its ports on this host."""

    def kill(self) -> None:
        """End it without any warning (SIGKILL)."""

    def terminate(self) -> None:
        """Shut it down in good order (SIGTERM)."""

    def restart(self) -> None:
        """Start it again, same ports, same data; shut it down in good order first if it still runs."""

    def reassign(self, plan: str) -> None:
        """Ask for new replicas of partitions with kafka-reassign-partitions.sh; `plan` is the JSON that it takes.

        librdkafka has no such request. It returns when the move is accepted; raises RuntimeError when it is not.
        """

    def copy_of(self, partition: str) -> bytes:
        """Return what its disk holds of a partition (`topic-0`), as a tar file."""

    def put_back(self, partition: str, copy: bytes) -> None:
        """Let its disk hold an earlier copy of a partition again: for a broker that was killed, before `restart`."""


@dataclass(frozen=True)
class Ports:
    """The ports of one broker on this host.

    A client stays with the listener that it came in by, so there is one listener more for clients behind a proxy: it
    listens on `behind_proxy` and tells its clients `proxy`.
    """

    client: int = field(default_factory=free_port)
    behind_proxy: int = field(default_factory=free_port)
    proxy: int = field(default_factory=free_port)


class Inside(NamedTuple):
    """Where a node listens for the nodes of its cluster, each `host:port`: as controller and as broker.

    In a container it could not reach itself at the address that its clients use.
    """

    controller: str
    broker: str


def properties(
    listeners: str, advertised_host: str, ports: Ports, inside: Sequence[Inside], number: int = 1
) -> dict[str, str]:
    """Return the properties of one KRaft node that starts fast; what tests measure is left at its default.

    `inside`: one entry for each node of the cluster, and the node is the `number`th. A cluster of three keeps three
    copies of everything and takes a write when two have it.
    """
    client, proxy = f"{advertised_host}:{ports.client}", f"{advertised_host}:{ports.proxy}"
    controller, broker = inside[number - 1]
    copies, in_sync = str(min(3, len(inside))), "2" if len(inside) > 2 else "1"
    return {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": ",".join(f"{n}@{node.controller}" for n, node in enumerate(inside, 1)),
        "listeners": f"{listeners},SELF://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"CLIENT://{client},PROXY://{proxy},SELF://{broker}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,PROXY:PLAINTEXT,SELF:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "SELF",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": "false",
    }


def new_cluster_id() -> str:
    """Return an id that does not begin with a dash: Kafka's tool would take it for an option."""
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def wait_until_it_answers(
    bootstrap_servers: str, still_running: Callable[[], bool], seconds: float = START_SECONDS
) -> None:
    """Return when the broker serves metadata; raises TimeoutError, or ChildProcessError when it ended meanwhile."""
    deadline = time.monotonic() + seconds
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "reconnect.backoff.max.ms": 200}, logger=QUIET)
    while time.monotonic() < deadline:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            if not still_running():
                raise ChildProcessError("the broker ended while it was starting") from None
    raise TimeoutError(f"no broker answered at {bootstrap_servers} within {seconds:.0f} s")
