"""Apache Kafka's own image under testcontainers."""

from __future__ import annotations

import atexit
import os

# Without these, testcontainers wants an image more (its reaper), and waits in steps of a second.
for name, value in {
    "TESTCONTAINERS_RYUK_DISABLED": "true",
    "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
    "TESTCONTAINERS_HOST_OVERRIDE": "localhost",
    "TC_POOLING_INTERVAL": "0.1",
}.items():
    os.environ.setdefault(name, value)

from testcontainers.core.container import DockerContainer  # noqa: E402 - it reads the environment when imported

__all__ = ["IMAGE", "ApacheKafkaContainer", "DockerContainer"]

from tests.support.kafka_node import VERSION, Ports, new_cluster_id, properties, wait_until_it_answers  # noqa: E402

IMAGE = f"apache/kafka:{VERSION}"
CLIENT_PORT, PROXY_PORT, INSIDE = 9092, 9094, (9093, 9095)


class ApacheKafkaContainer(DockerContainer):
    """One KRaft node. Its host ports are fixed before it starts, so that it can be killed and started again."""

    def __init__(self, image: str = IMAGE, **more: str) -> None:
        super().__init__(image)
        host = self.get_docker_client().host()
        # Not "localhost": clients would try ::1 as well, where nobody listens, and log a failed connection.
        host = "127.0.0.1" if host == "localhost" else host
        self.host_ports = Ports()
        self.bootstrap_servers = f"{host}:{self.host_ports.client}"
        self.with_bind_ports(CLIENT_PORT, self.host_ports.client)
        self.with_bind_ports(PROXY_PORT, self.host_ports.behind_proxy)
        listeners = f"CLIENT://:{CLIENT_PORT},PROXY://:{PROXY_PORT}"
        for key, setting in (properties(listeners, host, self.host_ports, INSIDE) | more).items():
            self.with_env(f"KAFKA_{key.upper().replace('.', '_')}", setting)
        self.with_env("CLUSTER_ID", new_cluster_id())
        self.with_env("KAFKA_HEAP_OPTS", "-Xmx512m")
        self.with_env("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")

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

    def restart(self) -> None:
        self.get_wrapped_container().restart()
        self._wait()

    def _wait(self) -> None:
        try:
            wait_until_it_answers(self.bootstrap_servers, self._runs)
        except OSError as error:
            error.add_note(self.get_wrapped_container().logs(tail=30).decode())
            raise

    def _runs(self) -> bool:
        self.reload()
        return self.status == "running"
