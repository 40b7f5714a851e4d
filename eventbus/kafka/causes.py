"""What Kafka's client complains of, in its own words and with the setting to look at. Its error codes decide."""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from confluent_kafka import KafkaError

RIGHTS = "`saga acls` prints the rights that each service needs"
LOGIN = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - that is how the client spells it
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
"""The brokers do not take us for whom we say we are, or not in this way."""
TLS = KafkaError._SSL  # noqa: SLF001
DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: f"this user has not the right to do that with the topic: {RIGHTS}",
    KafkaError.GROUP_AUTHORIZATION_FAILED: f"this user has not the right to use the consumer group: {RIGHTS}",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        f"this user has not the right to use the transactional id: {RIGHTS}"
    ),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: f"this user has not this right on the cluster: {RIGHTS}",
}
"""A right is missing: an ACL mends it, and nothing need be started again."""
_HINTS = {
    **dict.fromkeys(LOGIN, "look at sasl.username and sasl.password"),
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "look at sasl.mechanism",
    KafkaError.ILLEGAL_SASL_STATE: "look at security.protocol",
    TLS: "look at ssl.ca.location, the broker's certificate and security.protocol",
    **DENIED,
}
_TIMING = re.compile(r" \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")
_PLACE = re.compile(r"(?:\w+://)?(?P<host>[^/\s]+):(?P<port>\d+)/(?P<node>bootstrap|-?\d+): ")
_SERVER = re.compile(r"(?:\w+://)?(?P<host>\[[^\]]+\]|[^\s:,]+)(?::(?P<port>\d+))?")
_MECHANISM = "mechanism handshake failed"
"""librdkafka passes the broker's answer to a mechanism on as a text, with one code for everything about logins."""


class Endpoint(NamedTuple):
    """A broker as librdkafka names it; `advertised`: the cluster told where it is, not the user."""

    host: str
    port: int
    node: str

    @property
    def advertised(self) -> bool:
        """Whether the address comes from the cluster's metadata."""
        return self.node.isdecimal()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def explained(error: KafkaError) -> str:
    """Return what librdkafka says, without how long it took, and what to look at."""
    said = _TIMING.sub("", error.str() or error.name())
    hint = "look at sasl.mechanism" if _MECHANISM in said else _HINTS.get(error.code())
    if error.code() in LOGIN and not refuses(error):
        hint = "look at the properties sasl.oauthbearer..., and at who issues the tokens"
    return f"{said} ({hint})" if hint else said


def refuses(error: KafkaError) -> bool:
    """Return whether a broker does not let us in. A token that is not to be had is no broker's answer."""
    return error.code() in LOGIN | {TLS} and place_of(error) is not None


def place_of(error: KafkaError) -> Endpoint | None:
    """Return which broker it is about: librdkafka says that in its text alone."""
    match = _PLACE.match(error.str() or "")
    return Endpoint(match["host"].strip("[]"), int(match["port"]), match["node"]) if match else None


def first_of(servers: str) -> Endpoint | None:
    """Return the first of the brokers that the user named."""
    match = _SERVER.match(servers.strip())
    return Endpoint(match["host"].strip("[]"), int(match["port"] or 9092), "bootstrap") if match else None


KEPT = 50
"""A broker that is away for hours is complained of every second."""


class Complaints:
    """An `error_cb` that keeps what a client complained of. Poll the client to have it called."""

    def __init__(self) -> None:
        self.errors: deque[KafkaError] = deque(maxlen=KEPT)

    def __call__(self, error: KafkaError) -> None:
        """Called by librdkafka."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - it follows the reasons, and has none
            self.errors.append(error)

    @property
    def refused(self) -> bool:
        """Whether a broker has answered, and does not let us in: to wait for longer changes nothing."""
        return any(refuses(error) for error in self.errors)
