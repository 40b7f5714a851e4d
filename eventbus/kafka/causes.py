"""Errors of the Kafka client: its own text and the setting to check, which is chosen by the error code."""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from confluent_kafka import KafkaError

RIGHTS = "`saga acls` prints the ACLs that each service needs"
LOGIN = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - that is how the client spells it
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
"""The broker rejected the credentials, or the way in which they were sent."""
TLS = KafkaError._SSL  # noqa: SLF001
DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: f"this user is not authorized to access the topic: {RIGHTS}",
    KafkaError.GROUP_AUTHORIZATION_FAILED: f"this user is not authorized to use the consumer group: {RIGHTS}",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        f"this user is not authorized to use the transactional id: {RIGHTS}"
    ),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: f"this user is not authorized to do this on the cluster: {RIGHTS}",
}
"""An ACL is missing: once it is added, work resumes without a restart."""
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
"""librdkafka reports that the broker rejected a mechanism in its text only: one code covers all authentication."""


class Endpoint(NamedTuple):
    """A broker as librdkafka names it; `advertised`: the address comes from the cluster, not from the user."""

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
    """Return librdkafka's error text without its timings, and the setting to check."""
    text = _TIMING.sub("", error.str() or error.name())
    hint = "look at sasl.mechanism" if _MECHANISM in text else _HINTS.get(error.code())
    if error.code() in LOGIN and not refuses(error):
        hint = "look at the properties sasl.oauthbearer..., and at the token endpoint"
    return f"{text} ({hint})" if hint else text


def unanswered(error: KafkaError) -> str:
    """Return the cause if the client reported no other: its error names what it waited for, as a rule metadata."""
    return f"requests are not answered ({explained(error)})"


def refuses(error: KafkaError) -> bool:
    """Return whether a broker rejected the connection. A token that cannot be obtained is not a broker's answer."""
    return error.code() in LOGIN | {TLS} and place_of(error) is not None


def place_of(error: KafkaError) -> Endpoint | None:
    """Return the broker that an error is about: librdkafka names it only in the text."""
    match = _PLACE.match(error.str() or "")
    return Endpoint(match["host"].strip("[]"), int(match["port"]), match["node"]) if match else None


def first_of(servers: str) -> Endpoint | None:
    """Return the first of the brokers that the user named."""
    match = _SERVER.match(servers.strip())
    return Endpoint(match["host"].strip("[]"), int(match["port"] or 9092), "bootstrap") if match else None


KEPT = 50
"""How many errors are kept: a broker that is down for hours causes one every second."""


class Complaints:
    """An `error_cb` that keeps the errors of a client. Poll the client to have it called."""

    def __init__(self) -> None:
        self.errors: deque[KafkaError] = deque(maxlen=KEPT)

    def __call__(self, error: KafkaError) -> None:
        """Called by librdkafka."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - it follows the causes, and names none
            self.errors.append(error)

    @property
    def refused(self) -> bool:
        """Whether a broker has answered and rejected the connection: waiting longer does not help."""
        return any(refuses(error) for error in self.errors)
