"""A cluster with TLS, logins and rights, and everything that can be wrong with how one comes to it.

Each cause is named with the setting to look at, by workers and by tools. A setting of ours that is wrong ends a worker
that starts (code 1); what others have to mend is waited for, and so is everything once a worker has worked.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.conftest import do_without
from tests.support import brokers
from tests.support.brokers.admin import Admin
from tests.support.brokers.certificates import Authority, Certificate
from tests.support.brokers.forwarder import Forwarder
from tests.support.brokers.kafka_node import NoBroker, OwnBroker
from tests.support.saga import Saga
from tests.support.saga.processes import Done, Worker

SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
USER, PASSWORD = "shop", "S3cretPass"


def one_line(pem: str) -> str:
    """Return PEM as Kafka's properties take it."""
    return pem.strip().replace("\n", "\\n")


def secured(certificate: Certificate) -> dict[str, str]:
    """Return the properties of a broker whose listener behind the proxy wants TLS and a login; rights are needed."""
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    tls = "listener.name.proxy.ssl.keystore"
    return {
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,PROXY:SASL_SSL,SELF:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "listener.name.proxy.scram-sha-256.sasl.jaas.config": f"{SCRAM} required;",
        "listener.name.proxy.plain.sasl.jaas.config": f'{login} user_{USER}="{PASSWORD}";',
        f"{tls}.type": "PEM",
        f"{tls}.key": one_line(certificate.key),
        f"{tls}.certificate.chain": one_line(certificate.certificate),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


class Secured(NamedTuple):
    """Such a broker with the saga's topics, how one comes to it rightly, and its administrator."""

    broker: OwnBroker
    port: Forwarder
    authority: Authority
    admin: AdminClient
    folder: Path

    def properties(self, **changed: str) -> str:
        """Write a file of properties with which one comes in, but for what is changed; "" leaves one out."""
        settings = {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority.file),
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        } | {name.replace("_", "."): value for name, value in changed.items()}
        file = self.folder / f"{len(list(self.folder.iterdir()))}.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items() if value))
        return str(file)

    def set_password(self, password: str) -> None:
        """Let our user log in with this one by SCRAM; connections that stand are not asked again."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(USER, info, password.encode())
        for future in self.admin.alter_user_scram_credentials([change]).values():
            future.result(30)

    def allow(self, *bindings: AclBinding) -> None:
        """Give these rights, and take all others away."""
        everything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        for future in self.admin.delete_acls([everything]).values():
            future.result(30)
        for future in self.admin.create_acls(list(bindings)).values() if bindings else ():
            future.result(30)


def right(kind: ResourceType, name: str = "*", operation: AclOperation = AclOperation.ALL) -> AclBinding:
    """Return the right of our user to do this with it."""
    allowed = AclPermissionType.ALLOW
    return AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, allowed)


TOPICS, GROUPS, IDS = (
    right(ResourceType.TOPIC),
    right(ResourceType.GROUP),
    right(ResourceType.TRANSACTIONAL_ID),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker with TLS, logins and rights; behind a port of its own, which can be cut."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder)
    try:
        broker = brokers.own_kind()(**secured(authority.sign("127.0.0.1")))
    except NoBroker as why:
        do_without("Kafka with listeners of its own", why)
    broker.start()
    (folder / "free").mkdir()
    free = Saga(folder / "free", broker.bootstrap_servers)
    free.make_topics(2)
    with Forwarder(broker.host_ports.proxy, broker.host_ports.behind_proxy) as port:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        yield Secured(broker, port, authority, admin, folder)
    free.close()
    broker.stop()


@pytest.fixture
def open_to_us(cluster: Secured) -> Secured:
    """The same; our user may do everything."""
    cluster.allow(TOPICS, GROUPS, IDS, right(ResourceType.BROKER, "kafka-cluster"))
    return cluster


@pytest.fixture(scope="module")
def our_side(cluster: Secured) -> Saga:
    """Databases of our own: the cluster remembers how far they were."""
    (cluster.folder / "ours").mkdir()
    return Saga(cluster.folder / "ours", cluster.port.bootstrap_servers)


@pytest.fixture
def saga(our_side: Saga) -> Iterator[Saga]:
    """The same, without a worker."""
    yield our_side
    our_side.workers.kill_all()


@pytest.fixture
def expired(cluster: Secured) -> Iterator[str]:
    """An address whose certificate has expired; nothing else is there."""
    made = cluster.authority.sign("127.0.0.1", days=-1)
    file = cluster.folder / "expired.pem"
    file.write_text(made.certificate + made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_greet, args=(listener, context), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def _greet(listener: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with suppress(OSError), closing(connection):
                context.wrap_socket(connection, server_side=True).close()


def tool(saga: Saga, file: str, servers: str = "") -> Done:
    """Look at the topics: fails within seconds, in one sentence, without the secret."""
    done = saga.run(
        "saga",
        "topics",
        "list",
        "--kafka-config-file",
        file,
        "--bootstrap-servers",
        servers or saga.bootstrap_servers,
    )
    assert (done.code, len(done.stderr.splitlines())) == (1, 1), done
    assert PASSWORD not in done.stdout + done.stderr
    return done


def started(saga: Saga, file: str, servers: str = "") -> Worker:
    """Start an order worker."""
    return saga.start(
        "order_service", "--kafka-config-file", file, "--bootstrap-servers", servers or saga.bootstrap_servers
    )


def assert_ends(worker: Worker, *words: str) -> None:
    """It ends with code 1 and says why in its last line, which is no traceback."""
    assert worker.wait() == 1
    assert "Traceback" not in worker.log
    assert PASSWORD not in worker.log
    last = worker.log.splitlines()[-1]
    assert last.startswith("error: ")
    assert all(word in last for word in words), last


def assert_waits(worker: Worker, *words: str) -> None:
    """It says what it waits for, and goes on waiting until it is told to stop."""
    for word in words:
        worker.wait_for(word)
    assert worker.running
    assert worker.terminate() == 0
    assert PASSWORD not in worker.log


WRONG = {
    "password": ({"sasl_password": "other"}, ["authentication failed", "sasl.username and sasl.password"]),
    "user": ({"sasl_username": "nobody"}, ["authentication failed", "sasl.username and sasl.password"]),
    "mechanism": ({"sasl_mechanism": "SCRAM-SHA-512"}, ["authentication failed", "look at sasl.mechanism"]),
    "authority": ({"ssl_ca_location": ""}, ["TLS to 127.0.0.1", "by a CA that is not trusted", "ssl.ca.location"]),
    "no TLS": ({"security_protocol": "SASL_PLAINTEXT"}, ["requires TLS", "set security.protocol to SSL or SASL_SSL"]),
    "no login": (
        {"security_protocol": "SSL", "sasl_mechanism": ""},
        ["requires a login", "set security.protocol to SASL_SSL"],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_named_and_ends_a_worker_that_starts(open_to_us: Secured, saga: Saga, wrong: str) -> None:
    """Password, user, mechanism, authority, protocol."""
    changed, words = WRONG[wrong]
    file = open_to_us.properties(**changed)
    worker = started(saga, file)
    said = tool(saga, file).stderr
    assert all(word in said for word in words), said
    assert_ends(worker, *words)


def test_another_host_name_is_told_from_another_authority(open_to_us: Secured, saga: Saga) -> None:
    """librdkafka has the same text for both."""
    servers = f"localhost:{open_to_us.broker.host_ports.behind_proxy}"
    words = ["TLS to localhost", "for another host name", "advertised.listeners"]
    worker = started(saga, open_to_us.properties(), servers)
    said = tool(saga, open_to_us.properties(), servers).stderr
    assert all(word in said for word in words), said
    assert_ends(worker, *words)


def test_a_certificate_that_has_expired_is_waited_for(open_to_us: Secured, saga: Saga, expired: str) -> None:
    """Whoever runs the brokers renews it, and the worker goes on."""
    worker = started(saga, open_to_us.properties(), expired)
    assert "certificate has expired" in tool(saga, open_to_us.properties(), expired).stderr
    assert_waits(worker, "certificate has expired")


def test_tls_to_a_port_without_is_named(open_to_us: Secured, saga: Saga) -> None:
    """The other way round."""
    servers, words = open_to_us.broker.bootstrap_servers, ["answers without TLS", "set security.protocol to"]
    worker = started(saga, open_to_us.properties(), servers)
    said = tool(saga, open_to_us.properties(), servers).stderr
    assert all(word in said for word in words), said
    assert_ends(worker, *words)


def test_an_address_that_the_cluster_advertises_and_nobody_reaches_is_named(
    saga: Saga, make_broker: Callable[..., OwnBroker]
) -> None:
    """The first contact works, and what follows does not: a proxy that is not there."""
    broker = make_broker()
    Saga(saga.folder, broker.bootstrap_servers).make_topics(2)
    servers, advertised = f"127.0.0.1:{broker.host_ports.behind_proxy}", f"127.0.0.1:{broker.host_ports.proxy}"
    worker = saga.start("order_service", "--bootstrap-servers", servers)
    for command in (["tail", "order.created", "--no-follow"], ["topics", "list"]):
        done = saga.run("saga", *command, "--bootstrap-servers", servers)
        assert (done.code, len(done.stderr.splitlines())) == (1, 1), done
        for word in (f" at {advertised}, which cannot be reached", "advertised.listeners"):
            assert word in done.stderr
    assert_waits(worker, f" at {advertised}, which cannot be reached", "advertised.listeners")


READING = [right(ResourceType.TOPIC, operation=each) for each in (AclOperation.READ, AclOperation.DESCRIBE)]
MISSING = {
    "topics": ([GROUPS, IDS], ["order.created", "this user is not authorized to access the topic", "saga acls"]),
    "group": ([TOPICS, IDS], ["not authorized to use the consumer group", "saga acls"]),
    "transactional id": ([TOPICS, GROUPS], ["not authorized to use the transactional id", "saga acls"]),
}


@pytest.mark.parametrize("missing", MISSING)
def test_a_right_that_is_missing_is_named_and_waited_for(cluster: Secured, saga: Saga, missing: str) -> None:
    """An ACL mends it, and the worker goes on without being started again."""
    rights, words = MISSING[missing]
    cluster.allow(*rights)
    worker = started(saga, cluster.properties())
    for word in words:
        worker.wait_for(word)
    cluster.allow(TOPICS, GROUPS, IDS)
    worker.wait_ready()
    assert PASSWORD not in worker.log


def test_a_tool_says_which_topic_it_may_not_see(cluster: Secured, saga: Saga) -> None:
    """Without the right to see it, a topic is not in the list; that is not the same as not being there."""
    cluster.allow(GROUPS)
    done = saga.run("saga", "tail", "order.created", "--no-follow", "--kafka-config-file", cluster.properties())
    assert done.code == 1
    assert "order.created: this user is not authorized" in done.stderr


def test_who_has_worked_waits_when_its_password_is_no_longer_right(open_to_us: Secured, saga: Saga) -> None:
    """It says so, does not end, and goes on when the password is right again."""
    open_to_us.set_password(PASSWORD)
    worker = started(saga, open_to_us.properties(sasl_mechanism="SCRAM-SHA-256"))
    worker.wait_ready()
    open_to_us.set_password("changed")
    open_to_us.port.cut()
    worker.wait_for("look at sasl.username and sasl.password")
    placed = saga.place("cd-1=1", wait=0)["order_id"]
    open_to_us.set_password(PASSWORD)
    log = Admin(open_to_us.broker.bootstrap_servers)
    saga.until(lambda: placed in [str(each.key(), "ascii") for each in log.read("order.created")], "it did not go on")
    assert worker.terminate() == 0
