"""The broker of `saga dev`: the one that was given, else Kafka in Docker, else the embedded one."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from saga.demo.place import EAGER, embedded
from saga.demo.workers import end_with_the_demo
from saga.kafka.cluster import Unreachable
from saga.kafka.target import KafkaTarget

IMAGE = "apache/kafka:4.3.1"
START_SECONDS = 300.0
"""The image may have to be pulled."""
STOP_SECONDS = 20.0
ALONE = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "NETWORK",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "HOST:PLAINTEXT,NETWORK:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_LISTENERS": "HOST://:9092,NETWORK://localhost:19092,CONTROLLER://localhost:9093",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
}


class NoDevBroker(RuntimeError):
    """The broker that was started does not answer."""


@dataclass(frozen=True, slots=True)
class DevBroker(KafkaTarget):
    """The broker that is used; `said`: which it is, for people. `own`: it was started here, and ends here."""

    said: str
    own: bool
    delivery: str = "exactly-once"
    creates_topics: bool = True
    """Whether topics can be created on it: the embedded one has all of them."""


@contextmanager
def the_broker(given: str | None, kafka_config: Mapping[str, str]) -> Iterator[DevBroker]:
    """Run a broker, unless one is given, until the end. Raises NoDevBroker."""
    if given:
        yield DevBroker(given, kafka_config, f"the Kafka at {given}", own=False)
    elif docker_runs():
        with _in_docker() as servers:
            yield DevBroker(servers, kafka_config, f"{IMAGE} in Docker, at {servers}", own=True)
    else:
        with embedded() as place:
            said = f"the embedded one, at {place.bootstrap_servers}: there is no Docker here. It has no transactions"
            yield DevBroker(place.bootstrap_servers, EAGER, said, True, place.delivery, creates_topics=False)


def docker_runs() -> bool:
    """Return whether there is a Docker engine that answers."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=10)  # noqa: S607
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


@contextmanager
def _in_docker() -> Iterator[str]:
    """Run Kafka in a container, which is removed at the end; `docker run` passes signals on to it."""
    port = _free_port()
    servers = f"127.0.0.1:{port}"
    advertised = f"HOST://{servers},NETWORK://localhost:19092"
    settings = {**ALONE, "KAFKA_ADVERTISED_LISTENERS": advertised}
    env = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    run = ["docker", "run", "--rm", "--name", f"saga-dev-{port}", "--publish", f"127.0.0.1:{port}:9092", *env, IMAGE]
    process = subprocess.Popen(  # noqa: S603 - a fixed image
        run,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=end_with_the_demo,  # noqa: PLW1509 - no thread of ours holds a lock that it needs
    )
    try:
        _wait_until_it_answers(servers, process)
        yield servers
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(servers: str, process: subprocess.Popen[str]) -> None:
    cluster = KafkaTarget(servers, {}).cluster(3.0)
    until = time.monotonic() + START_SECONDS
    while process.poll() is None:
        try:
            cluster.id()
        except Unreachable as error:
            if time.monotonic() > until:
                raise NoDevBroker(f"Kafka in Docker did not start within {START_SECONDS:.0f} s: {error}") from error
        else:
            return
    why = process.stderr.read().strip() if process.stderr else ""
    raise NoDevBroker(f"Kafka in Docker ended with code {process.returncode}: {why}")


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
