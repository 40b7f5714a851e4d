"""Apache Kafka's own image under testcontainers."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence

# Without these, testcontainers wants an image more (its reaper), and waits in steps of a second.
for name, value in {
    "TESTCONTAINERS_RYUK_DISABLED": "true",
    "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
    "TESTCONTAINERS_HOST_OVERRIDE": "localhost",
    "TC_POOLING_INTERVAL": "0.1",
}.items():
    os.environ.setdefault(name, value)

from testcontainers.core.container import DockerContainer  # noqa: E402 - it reads the environment when imported
from testcontainers.core.network import Network  # noqa: E402 - the same

__all__ = ["IMAGE", "ApacheKafkaContainer", "DockerContainer", "cluster"]

from tests.support.brokers.kafka_cluster import KafkaCluster  # noqa: E402
from tests.support.brokers.kafka_node import (  # noqa: E402
    VERSION,
    Inside,
    Ports,
    new_cluster_id,
    properties,
    wait_until_it_answers,
)

IMAGE = f"apache/kafka:{VERSION}"
DATA = "/tmp/kafka-data"
CLIENT_PORT, CONTROLLER_PORT, PROXY_PORT, BROKER_PORT = 9092, 9093, 9094, 9095
STOP_SECONDS = 60
"""A broker that is shut down hands its leaderships over first; Docker kills it after 10 s by default."""
QUICK = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dsun.net.inetaddr.ttl=1"
"""A node that is started again may have another address inside: the others look its name up again after a second."""


def inside(host: str = "localhost") -> Inside:
    """Return where a node in a container listens for its cluster."""
    return Inside(f"{host}:{CONTROLLER_PORT}", f"{host}:{BROKER_PORT}")


class ApacheKafkaContainer(DockerContainer):
    """One KRaft node. Its host ports are fixed before it starts, so that it can be killed and started again."""

    def __init__(
        self, image: str = IMAGE, nodes: Sequence[Inside] = (), number: int = 1, cluster_id: str = "", **more: str
    ) -> None:
        super().__init__(image)
        host = self.get_docker_client().host()
        # Not "localhost": clients would try ::1 as well, where nobody listens, and log a failed connection.
        host = "127.0.0.1" if host == "localhost" else host
        self.host_ports = Ports()
        self.bootstrap_servers = f"{host}:{self.host_ports.client}"
        self.with_bind_ports(CLIENT_PORT, self.host_ports.client)
        self.with_bind_ports(PROXY_PORT, self.host_ports.behind_proxy)
        more = {"log.dirs": DATA} | more
        listeners = f"CLIENT://:{CLIENT_PORT},PROXY://:{PROXY_PORT}"
        nodes = nodes or [inside()]
        self._itself = nodes[number - 1].broker
        settings = properties(listeners, host, self.host_ports, nodes, number) | more
        for key, setting in settings.items():
            self.with_env(f"KAFKA_{key.upper().replace('.', '_')}", setting)
        self.with_env("CLUSTER_ID", cluster_id or new_cluster_id())
        self.with_env("KAFKA_HEAP_OPTS", "-Xmx512m")
        self.with_env("KAFKA_JVM_PERFORMANCE_OPTS", QUICK)

    def start(self) -> ApacheKafkaContainer:
        atexit.register(self.stop)
        super().start()
        self._wait()
        return self

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:
        atexit.unregister(self.stop)
        super().stop(force=force, delete_volume=delete_volume)

    def kill(self) -> None:
        self.get_wrapped_container().kill()
        self.get_wrapped_container().wait()

    def terminate(self) -> None:
        self.get_wrapped_container().stop(timeout=STOP_SECONDS)

    def restart(self) -> None:
        self.get_wrapped_container().restart(timeout=STOP_SECONDS)
        self._wait()

    def reassign(self, plan: str) -> None:
        tool = "cat > /tmp/plan.json <<'END'\n" + plan + "\nEND\n/opt/kafka/bin/kafka-reassign-partitions.sh "
        options = f"--bootstrap-server {self._itself} --reassignment-json-file /tmp/plan.json --execute"
        code, said = self.get_wrapped_container().exec_run(["sh", "-c", tool + options])
        if code:
            raise RuntimeError(f"kafka-reassign-partitions.sh ended with code {code}: {said.decode()[-1000:]}")

    def copy_of(self, partition: str) -> bytes:
        return b"".join(self.get_wrapped_container().get_archive(f"{DATA}/{partition}")[0])

    def put_back(self, partition: str, copy: bytes) -> None:
        self.get_wrapped_container().put_archive(DATA, copy)

    def _wait(self) -> None:
        try:
            wait_until_it_answers(self.bootstrap_servers, self._runs)
        except OSError as error:
            error.add_note(self.get_wrapped_container().logs(tail=30).decode())
            raise

    def _runs(self) -> bool:
        self.reload()
        return self.status == "running"


def cluster(count: int, **more: str) -> KafkaCluster:
    """Return so many nodes that form one cluster, on a network of their own; not yet started."""
    if count == 1:
        return KafkaCluster([ApacheKafkaContainer(**more)])
    network, cluster_id, names = Network(), new_cluster_id(), [f"kafka-{n}" for n in range(1, count + 1)]
    network.create()
    inner = [inside(name) for name in names]
    nodes = [ApacheKafkaContainer(IMAGE, inner, number, cluster_id, **more) for number in range(1, count + 1)]
    for name, node in zip(names, nodes, strict=True):
        node.with_network(network).with_network_aliases(name)
    return KafkaCluster(nodes, network.remove)
