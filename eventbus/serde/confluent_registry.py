"""Schema ids from a Confluent-compatible registry. Imported only where one is used: its client is slow to import."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from httpx2 import URL, HTTPError, InvalidURL, RemoteProtocolError

from eventbus.event import Event
from eventbus.serde.framing import VALUE_HEADER, SchemaId
from eventbus.serde.registered_schema import referenced, refuse_unreadable, usable
from eventbus.serde.registry import RegistryAuthenticationFailed, RegistryUnavailable, UnknownSchema, UnsupportedSchema
from eventbus.serde.registry_config import BASIC, FILES, BadRegistryConfig, RegistryConfig, tls_hint
from eventbus.serde.subjects import Subjects
from eventbus.text.redaction import redact

NOTHING_SET = RegistryConfig()
NOT_FOUND = 404
NO_SCHEMA = 40403
NOT_THERE = frozenset((40401, 40402, NO_SCHEMA))
"""The registry's error codes for: no such subject, no such version, no such schema. A bare 404 may come from a proxy:
an ingress without a backend sends it while the registry restarts."""
UNAUTHORIZED, FORBIDDEN = 401, 403
REDIRECTS = range(300, 400)
HINTS = {
    UNAUTHORIZED: "user, password or token are wrong or missing",
    FORBIDDEN: "the credentials are not authorized, or a proxy in between forbids it",
    NOT_FOUND: "that is not the registry's own answer: check the path of its URL, or it is still starting",
    **dict.fromkeys(REDIRECTS, "it redirects, as a login page in front of it does"),
}
NO_ANSWER = (ValueError, TypeError, AttributeError, KeyError)
"""What the client raises for an answer that is not a registry's: no JSON, or other JSON."""
BODY_CHARACTERS = 120
UNKNOWN_SECONDS = 10.0
"""How long the registry is not asked again about an id that it does not know, or whose schema cannot be read."""
MOST_UNKNOWN = 10_000
"""How many such ids are remembered; a producer can write any number of them."""


class ConfluentRegistry:
    """Ids from a Confluent-compatible registry, under the subjects that its URL names. Never registers."""

    def __init__(
        self, url: str, config: RegistryConfig = NOTHING_SET, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect: Callable[[], SchemaRegistryClient] = lambda: registry_client(url, config, seconds=2, retries=0)
        self._client, self._clock = self._connect(), clock
        _, self._subjects = Subjects.behind(url)
        self._refused: dict[SchemaId, tuple[float, type[LookupError], str]] = {}

    def id_of(self, event: type[Event]) -> int:
        """Look up the event's own schema under its subject."""
        subject = self._subjects.of(event.topic, event.schema["name"])
        with self._asking(f"the schema of {event.topic} under {subject}", "run `saga schemas register`"):
            found = self._client.lookup_schema(subject, Schema(event.schema_text, "AVRO")).schema_id
            if type(found) is not int:
                raise TypeError("it has no id")
        return found

    def schema_of(self, schema_id: SchemaId) -> dict[str, Any]:
        """Fetch the writer's schema and its references. If there is none, ask again only after UNKNOWN_SECONDS."""
        until, kind, why = self._refused.get(schema_id, (0.0, UnknownSchema, ""))
        if self._clock() < until:
            raise kind(why)
        try:
            return self._fetched(schema_id)
        except (UnknownSchema, UnsupportedSchema) as error:
            self._remember(schema_id, type(error), str(error))
            raise

    def _fetched(self, schema_id: SchemaId) -> dict[str, Any]:
        with self._asking(f"schema id {schema_id}"):
            schema = _whole(self._fetch(schema_id))
        refuse_unreadable(schema_id, schema)
        return usable(schema_id, schema.schema_str, referenced(schema_id, schema, self._version_of))

    def _fetch(self, schema_id: SchemaId) -> Schema:
        if not isinstance(schema_id, UUID):
            return self._client.get_schema(schema_id, self._subjects.context or None)
        try:
            return self._client.get_schema_by_guid(str(schema_id))
        except SchemaRegistryError as error:
            if error.http_status_code != NOT_FOUND or error.error_code == NO_SCHEMA:
                raise
            self._client.get_schema_types()  # raises unless a registry answers, not a proxy
            raise UnsupportedSchema(
                f"the header {VALUE_HEADER} names the schema by the GUID {schema_id}, and this registry is too old to"
                " look up GUIDs: configure the producer to write schema ids, or upgrade the registry"
            ) from error

    def _version_of(self, subject: str, version: int) -> Schema:
        with self._asking(f"version {version} of the subject {subject}"):
            return _whole(self._client.get_version(self._subjects.in_context(subject), version, deleted=True).schema)

    @contextmanager
    def _asking(self, what: str, do: str = "") -> Iterator[None]:
        """Do as `asking`. The client caches answers, even invalid ones, and credentials: then replace it."""
        try:
            with asking(what, do):
                yield
        except RegistryUnavailable as error:
            if isinstance(error, RegistryAuthenticationFailed) or isinstance(error.__cause__, NO_ANSWER):
                self._renew()
            raise

    def _renew(self) -> None:
        try:
            self._client = self._connect()
        except BadRegistryConfig as error:
            raise RegistryUnavailable(str(error)) from error

    def _remember(self, schema_id: SchemaId, kind: type[LookupError], why: str) -> None:
        if len(self._refused) >= MOST_UNKNOWN:
            self._refused = {}
        self._refused[schema_id] = self._clock() + UNKNOWN_SECONDS, kind, why


def _whole(schema: Schema) -> Schema:
    if not isinstance(schema.schema_str, str):
        raise TypeError("it has no schema")
    return schema


def registry_client(
    url: str, config: RegistryConfig = NOTHING_SET, *, seconds: float = 5, retries: int = 1
) -> SchemaRegistryClient:
    """Return the client for a registry; it connects on the first request. Raises BadRegistryConfig.

    A worker uses short timeouts and retries later.
    """
    address = Subjects.behind(url)[0]
    given = {**config.read(), "url": address, "timeout": seconds, "max.retries": retries}
    try:
        for each in address.split(","):
            URL(each)
        return SchemaRegistryClient(given)
    except (ValueError, InvalidURL) as error:
        twice = BASIC in given and "@" in address
        why = f"has a user, and {BASIC} is set too: use one of them" if twice else "is not a valid URL"
        raise BadRegistryConfig(f"the schema registry's URL {redact(address)!r} {why}") from error
    except OSError as error:  # including ssl's
        raise BadRegistryConfig(
            f"the schema registry's certificates and keys do not match: {error.strerror or error}"
            f" (look at {', '.join(name for name in FILES if name in given)})"
        ) from error


@contextmanager
def asking(what: str, do: str = "") -> Iterator[None]:
    """Translate the client's errors while asking for `what` into UnknownSchema (none exists) or RegistryUnavailable.

    Only the registry's own error codes mean that something does not exist. Any other response, from a proxy for
    example, proves nothing about a schema. `do`: what to do if it does not exist.
    """
    try:
        yield
    except SchemaRegistryError as error:
        if error.http_status_code == NOT_FOUND and error.error_code in NOT_THERE:
            raise UnknownSchema(f"the registry does not have {what}{do and f': {do}'}") from error
        raise _refused(what, error) from error
    except (OSError, HTTPError) as error:
        hint = "it does not speak HTTP: is its URL https://?" if isinstance(error, RemoteProtocolError) else ""
        hint = tls_hint(error) or hint
        raise RegistryUnavailable(f"the schema registry does not answer{hint and f' ({hint})'}: {error}") from error
    except NO_ANSWER as error:
        found = f"{type(error).__name__}: {error}"[:BODY_CHARACTERS]
        raise RegistryUnavailable(f"invalid answer of the schema registry to a request for {what}: {found}") from error


def _refused(what: str, error: SchemaRegistryError) -> RegistryUnavailable:
    status, hint = error.http_status_code, HINTS.get(error.http_status_code)
    answer = f"HTTP {status}{(hint and f' ({hint})') or ''}: {str(error.error_message)[:BODY_CHARACTERS]!r}"
    kind = RegistryAuthenticationFailed if status == UNAUTHORIZED else RegistryUnavailable
    return kind(f"the schema registry answered the request for {what} with {answer}")
