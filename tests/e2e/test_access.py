"""On a broker that lets nobody do anything: what `saga acls` prints is enough for everything, and for no more."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from eventbus.worker.announcement import TOPIC
from saga.services import installed_services
from tests.conftest import proxy_to
from tests.support.brokers.kafka_node import OwnBroker
from tests.support.saga import SERVICES, Saga

USERS = [*(service.replace("_", "-") for service in SERVICES), "saga", "somebody"]
KINDS = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
STRICT = {
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,PROXY:SASL_PLAINTEXT,SELF:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.proxy.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        + " ".join(f'user_{user}="{user}-password"' for user in USERS)
        + ";"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
"""Who comes in by the clients' listener may do everything; who comes in behind the proxy has to say who they are."""

QUIET = {"log_level": 0}


def config(user: str) -> dict[str, str]:
    """Return how a client says who it is."""
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": f"{user}-password",
    }


def options(user: str) -> list[str]:
    """Return how a command is told that."""
    return [word for pair in config(user).items() for word in ("--kafka-config", "=".join(pair))]


def bindings(printed: str) -> Iterator[AclBinding]:
    """Return what kafka-acls.sh makes of these commands."""
    for line in printed.splitlines():
        program, *words = shlex.split(line)
        assert program == "kafka-acls.sh"
        words.remove("--add")
        pairs = list(zip(words[::2], words[1::2], strict=True))
        prefixed = ("--resource-pattern-type", "prefixed") in pairs
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        principal = dict(pairs)["--allow-principal"]
        names = [(KINDS[option], name) for option, name in pairs if option in KINDS]
        operations = [OPERATIONS[name] for option, name in pairs if option == "--operation"]
        for (kind, name), operation in product(names, operations):
            yield AclBinding(kind, name, pattern, principal, "*", operation, AclPermissionType.ALLOW)


@pytest.fixture
def strict(make_broker: Callable[..., OwnBroker], tmp_path: Path) -> Iterator[Saga]:
    """A saga on such a broker, with topics and the printed rights; its commands say nothing yet about who they are."""
    broker = make_broker(**STRICT)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    free = Saga(tmp_path, broker.bootstrap_servers)
    free.make_topics(2)
    printed = free.run("saga", "acls").stdout
    for made in admin.create_acls(list(bindings(printed))).values():
        made.result(90)
    with proxy_to(broker.host_ports) as proxy:
        saga = Saga(tmp_path, proxy.bootstrap_servers)
        saga.admin = free.admin
        yield saga
        saga.close()


def refused(saga: Saga, user: str, topic: str) -> str | None:
    """Return why a user may not write a topic; None if they may."""
    errors: list[str] = []
    producer = Producer(
        {"bootstrap.servers": saga.bootstrap_servers, "message.timeout.ms": 60_000, **QUIET, **config(user)}
    )
    producer.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error.name()) if error else None)
    assert producer.flush(90) == 0
    return errors[0] if errors else None


def test_with_its_rights_each_service_does_its_work_and_nothing_else(strict: Saga) -> None:
    """An order is confirmed, another is refunded, `saga` looks on; writing somebody else's event is refused."""
    workers = [strict.start(module, *options(module.replace("_", "-"))) for module in SERVICES]
    for worker in workers:
        worker.wait_ready()
    strict.stock(cd_1=1)
    assert strict.place("cd-1=1")["status"] == "confirmed"
    assert strict.place("cd-1=1")["status"] == "cancelled"
    strict.until(lambda: len(strict.admin.read(TOPIC)) == len(SERVICES), "not everybody had announced")
    for command in (["check"], ["flow", "--announced"], ["verify", "--announced"], ["topics", "list"]):
        done = strict.run("saga", *command, *options("saga"))
        assert done.code == 0, done
    tailed = strict.run("saga", "tail", "order.cancelled", "--no-follow", *options("saga"))
    assert (tailed.code, len(tailed.stdout.splitlines())) == (0, 1)
    for worker in workers:
        assert not worker.events("declaration.not_announced")
        assert "authorization" not in worker.log.lower()
    own = {service.name: {event.topic for event in service.publishes()} for service in installed_services()}
    foreign = {user: next(topic for other, topics in own.items() for topic in topics if other != user) for user in own}
    for user, topic in (*foreign.items(), ("saga", "order.created"), ("somebody", "order.created")):
        assert refused(strict, user, topic) == "TOPIC_AUTHORIZATION_FAILED", (user, topic)
    stranger = strict.run("saga", "tail", "order.created", "--no-follow", *options("somebody"))
    assert stranger.code == 1
    producer = Producer(
        {
            "bootstrap.servers": strict.bootstrap_servers,
            "transactional.id": "order-service.a",
            **QUIET,
            **config("saga"),
        }
    )
    with pytest.raises(KafkaException) as caught:
        producer.init_transactions(90)
    assert caught.value.args[0].name() == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
