"""How to connect to a schema registry: credentials and certificates, named as Confluent's clients name them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventbus.text.certificate_faults import EXPIRED, NOT_YET_VALID, OTHER_NAME, UNKNOWN_AUTHORITY
from eventbus.text.secret_files import BadFile, read_properties, resolved

PROPERTIES = {
    "basic.auth.user.info": "USER:PASSWORD",
    "bearer.auth.token": "a token",
    "bearer.auth.logical.cluster": "of Confluent Cloud, with a token",
    "bearer.auth.identity.pool.id": "of Confluent Cloud, with a token",
    "ssl.ca.location": "the file with the certificates of the CAs to trust, in PEM",
    "ssl.certificate.location": "the file with this client's certificate, in PEM",
    "ssl.key.location": "the file with its private key, in PEM",
    "ssl.key.password": "of that key",
}
"""The settings."""
SECRETS = {"basic.auth.user.info", "bearer.auth.token", "ssl.key.password"}
_LOCATIONS = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
FILES = (*_LOCATIONS, "ssl.key.password")
BASIC, TOKEN = "basic.auth.user.info", "bearer.auth.token"
CERTIFICATE, KEYS = "ssl.certificate.location", ("ssl.key.location", "ssl.key.password")
WANTS_CERTIFICATE = {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
REFUSES_CERTIFICATE = {"TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED"}
NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}


class BadRegistryConfig(ValueError):
    """A setting of the schema registry that does not exist, or that cannot be used. A worker exits with code 2."""


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """The options. Files are read again when the registry rejects the credentials: tokens are renewed."""

    file: Path | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    """Takes precedence over the file."""

    def read(self) -> dict[str, str]:
        """Return the configuration of Confluent's client. Raises BadRegistryConfig."""
        try:
            found = read_properties(self.file) if self.file is not None else {}
            found |= {name: resolved(value) for name, value in self.given.items()}
        except BadFile as error:
            raise BadRegistryConfig(f"the schema registry's settings: {error}") from error
        return client_config(found)


def client_config(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration of Confluent's client. Raises BadRegistryConfig for settings that conflict."""
    for name in properties:
        if name not in PROPERTIES:
            raise BadRegistryConfig(
                f"{name} is not a setting of the schema registry: use one of {', '.join(PROPERTIES)}"
            )
    if BASIC in properties and TOKEN in properties:
        raise BadRegistryConfig(f"the schema registry: set {BASIC} or {TOKEN}, not both")
    if BASIC in properties and ":" not in properties[BASIC]:
        raise BadRegistryConfig(f"the schema registry: {BASIC} is not USER:PASSWORD")
    for name in KEYS:
        if name in properties and CERTIFICATE not in properties:
            raise BadRegistryConfig(f"the schema registry: {name} requires {CERTIFICATE}")
    _check_files(properties)
    ours = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": ""}
    no_prompt = {"ssl.key.password": ""}  # OpenSSL would ask at the terminal
    return {
        **(ours if TOKEN in properties else {}),
        **(no_prompt if CERTIFICATE in properties else {}),
        **properties,
    }


def _check_files(properties: Mapping[str, str]) -> None:
    for name in _LOCATIONS:
        if name in properties and not Path(properties[name]).is_dir():
            try:
                Path(properties[name]).read_bytes()
            except OSError as error:
                why = f"the file {properties[name]} cannot be read: {error.strerror}"
                raise BadRegistryConfig(f"the schema registry: {name}: {why}") from error


def tls_hint(error: BaseException) -> str:
    """Return what to do about a connection that failed in TLS; empty if TLS is not the reason."""
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _certificate_hint(each.verify_code)
        if isinstance(each, ssl.SSLError):
            return _alert_hint(each.reason or "")
    return ""


def _certificate_hint(code: int) -> str:
    if code in UNKNOWN_AUTHORITY:
        return (
            "its certificate is signed by a CA that is not trusted here: set ssl.ca.location to that CA's certificate"
        )
    if code in {EXPIRED, NOT_YET_VALID}:
        return "its certificate has expired, or is not valid yet: renew it, or correct the clock"
    if code in OTHER_NAME:
        return "its certificate is for another host: use a name in the URL that is in it"
    return "its certificate is not accepted"


def _alert_hint(reason: str) -> str:
    if reason in WANTS_CERTIFICATE:
        return f"it requires a client certificate: set {CERTIFICATE} and ssl.key.location"
    if reason in REFUSES_CERTIFICATE:
        return f"it rejected the client certificate: check {CERTIFICATE}"
    if reason in NO_TLS:
        return "it does not speak TLS on this port: is its URL http://?"
    return "TLS failed"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
