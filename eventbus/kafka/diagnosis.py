"""Why no broker accepts the connection: probes it where librdkafka has one error code, or none, for several causes.

Only after a start or a command has failed. Each probe is a connection of its own, of two seconds at most.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError

from eventbus.kafka.causes import LOGIN, TLS, Endpoint, explained, first_of, place_of, refuses
from eventbus.text.certificate_faults import EXPIRED, NOT_YET_VALID, OTHER_NAME, UNKNOWN_AUTHORITY

SECONDS = 2.0
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""ApiVersions, which every listener answers even before authentication: length, key, version, id, no client id."""
HANDSHAKE = struct.pack(">ihhihh5s", 17, 17, 1, 1, -1, 5, b"PLAIN")
"""SaslHandshake. A listener without SASL answers ILLEGAL_SASL_STATE."""
HEAD = struct.Struct(">iih")
"""The start of a response: its length, the request's id, and an error code."""
AWAY = frozenset({KafkaError._TRANSPORT, KafkaError._RESOLVE})  # noqa: SLF001 - that is how the client spells it
WITHOUT_TLS = frozenset({"plaintext", "sasl_plaintext"})


class Diagnosis(NamedTuple):
    """The cause; `ours`: it is a setting of this process, so waiting does not help."""

    why: str
    ours: bool


def diagnose(config: Mapping[str, Any], complaints: Sequence[KafkaError], *, probe: bool = True) -> Diagnosis | None:
    """Return why a client with this configuration and these errors gets no answer; None if that is unknown.

    librdkafka reports no error for a broker that only closes the connection: then the first one is probed. Without
    `probe` none is: for a client that was connected before.
    """
    for error in complaints:
        if error.code() in LOGIN:
            return Diagnosis(f"authentication failed: {explained(error)}", ours=refuses(error))
    for error in complaints:
        if error.code() == TLS:
            return _tls(config, error) if probe else Diagnosis(explained(error), ours=False)
    for error in complaints:
        if error.code() in AWAY:
            return _away(config, error, probe=probe)
    first = None if complaints or not probe else first_of(str(config.get("bootstrap.servers", "")))
    return None if first is None else _other_protocol(config, first)


def _tls(config: Mapping[str, Any], error: KafkaError) -> Diagnosis:
    place = place_of(error)
    code = None if place is None else _certificate_fault(place, config)
    failed = f"TLS to {place} failed: "
    if code in UNKNOWN_AUTHORITY:
        why = "its certificate is signed by a CA that is not trusted here: set ssl.ca.location to that CA's"
        return Diagnosis(f"{failed}{why} certificate", ours=True)
    if code in OTHER_NAME:
        why = "its certificate is for another host name: use a name that is in it, in --bootstrap-servers and in the"
        return Diagnosis(f"{failed}{why} brokers' advertised.listeners", ours=True)
    if code == EXPIRED:
        return Diagnosis(
            f"{failed}its certificate has expired: the operator of the brokers has to renew it", ours=False
        )
    if code == NOT_YET_VALID:
        return Diagnosis(f"{failed}its certificate is not valid yet: check this machine's clock", ours=False)
    if place is not None and (other := _other_protocol(config, place)) is not None:
        return other
    why = "If it requires a client certificate, set ssl.certificate.location and ssl.key.location"
    return Diagnosis(f"{explained(error)}. {why}", ours=False)


def _away(config: Mapping[str, Any], error: KafkaError, *, probe: bool) -> Diagnosis:
    place, said = place_of(error), explained(error)
    if place is None:
        return Diagnosis(said, ours=False)
    if probe and (other := _other_protocol(config, place)) is not None:
        return other
    if place.advertised:
        why = f"the cluster advertises its broker {place.node} at {place}, which cannot be reached from here ({said})"
        return Diagnosis(
            f"{why}: it is down, or its advertised.listeners name an address for other clients", ours=False
        )
    return Diagnosis(said, ours=False)


def _other_protocol(config: Mapping[str, Any], place: Endpoint) -> Diagnosis | None:
    """Return the cause if the broker answers, but expects another security.protocol."""
    protocol = str(config.get("security.protocol", "plaintext")).lower()
    if protocol in WITHOUT_TLS and _answers_with_tls(place):
        why = "requires TLS: set security.protocol to SSL or SASL_SSL, and ssl.ca.location"
        return Diagnosis(f"the broker at {place} {why}", ours=True)
    if protocol not in WITHOUT_TLS and _answers_without_tls(place):
        why = "answers without TLS: set security.protocol to PLAINTEXT or SASL_PLAINTEXT, or name a TLS port"
        return Diagnosis(f"the broker at {place} {why}", ours=True)
    if not protocol.startswith("sasl") and _requires_sasl(place, tls=protocol == "ssl"):
        why = (
            "requires a login: set security.protocol to SASL_SSL or SASL_PLAINTEXT, sasl.mechanism and its credentials"
        )
        return Diagnosis(f"the broker at {place} {why}", ours=True)
    return None


def _certificate_fault(place: Endpoint, config: Mapping[str, Any]) -> int | None:
    """Return OpenSSL's error code for a broker's certificate; None if it is valid, or TLS failed otherwise."""
    try:
        context = _context(config)
        with closing(socket.create_connection(place[:2], SECONDS)) as plain:
            context.wrap_socket(plain, server_hostname=place.host).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_code
    except (OSError, ValueError):
        pass
    return None


def _context(config: Mapping[str, Any]) -> ssl.SSLContext:
    """Return a context that trusts what librdkafka trusts with these settings."""
    location = config.get("ssl.ca.location")
    if location in (None, "", "probe"):
        context = ssl.create_default_context(cadata=config.get("ssl.ca.pem"))
    elif Path(str(location)).is_dir():
        context = ssl.create_default_context(capath=location)
    else:
        context = ssl.create_default_context(cafile=location)
    context.check_hostname = config.get("ssl.endpoint.identification.algorithm", "https") != "none"
    return context


def _answers_with_tls(place: Endpoint) -> bool:
    try:
        with _connected(place, tls=True):
            return True
    except OSError:
        return False


def _answers_without_tls(place: Endpoint) -> bool:
    return _answer(place, API_VERSIONS, tls=False) is not None


def _requires_sasl(place: Endpoint, *, tls: bool) -> bool:
    return _answer(place, HANDSHAKE, tls=tls) in {0, KafkaError.UNSUPPORTED_SASL_MECHANISM}


def _answer(place: Endpoint, request: bytes, *, tls: bool) -> int | None:
    """Return the error code of the response to a request; None if there is no response."""
    try:
        with _connected(place, tls=tls) as connection:
            connection.sendall(request)
            _, _, code = HEAD.unpack(connection.recv(HEAD.size))
    except (OSError, struct.error):
        return None
    return int(code)


@contextmanager
def _connected(place: Endpoint, *, tls: bool) -> Iterator[socket.socket]:
    """Connect; any certificate is accepted, since nothing secret is sent."""
    with closing(socket.create_connection(place[:2], SECONDS)) as plain:
        if not tls:
            yield plain
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as secured:
            yield secured
