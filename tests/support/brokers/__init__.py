"""Finds the best Kafka there is: the one that is named, else a container, else the jars."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.support.brokers import kafka_container, kafka_jars
from tests.support.brokers.admin import Admin
from tests.support.brokers.docker_engine import NoImage, pull_unless_here
from tests.support.brokers.kafka_cluster import KafkaCluster
from tests.support.brokers.kafka_container import IMAGE, ApacheKafkaContainer
from tests.support.brokers.kafka_jars import JAVA, KafkaFromJars, jars
from tests.support.brokers.kafka_node import Broker, NoBroker, OwnBroker, wait_until_it_answers
from tests.support.brokers.maven import Missing, java


class NamedBroker:
    """The Kafka that KAFKA_BOOTSTRAP_SERVERS names. Somebody else's: nothing that was there is touched."""

    host_ports = None

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._before: frozenset[str] = frozenset()

    def start(self) -> NamedBroker:
        try:
            wait_until_it_answers(self.bootstrap_servers, lambda: True, seconds=10)
        except TimeoutError as error:
            raise NoBroker(f"KAFKA_BOOTSTRAP_SERVERS={self.bootstrap_servers} does not answer") from error
        self._before = Admin(self.bootstrap_servers).everything()
        return self

    def stop(self) -> None:
        Admin(self.bootstrap_servers).remove(Admin(self.bootstrap_servers).everything() - self._before)


def named() -> str | None:
    """Return the brokers that the environment names."""
    return os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or None


def any_broker() -> Broker:
    """Return a broker, not yet started. Raises NoBroker."""
    servers = named()
    return NamedBroker(servers) if servers else own_kind()()


def own_kind() -> Callable[..., OwnBroker]:
    """Return the class of broker that can be started here; it takes Kafka's properties. Raises NoBroker."""
    try:
        pull_unless_here(IMAGE)
    except NoImage as no_image:
        try:
            java(JAVA)
            jars()
        except Missing as no_jars:
            raise NoBroker(f"{no_image}, {no_jars}, and KAFKA_BOOTSTRAP_SERVERS is not set") from no_jars
        return KafkaFromJars
    return ApacheKafkaContainer


def own_cluster(count: int, **properties: str) -> KafkaCluster:
    """Return a cluster of so many nodes, not yet started. Raises NoBroker."""
    make = kafka_jars.cluster if own_kind() is KafkaFromJars else kafka_container.cluster
    return make(count, **properties)
