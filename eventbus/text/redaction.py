"""Redaction of URLs and settings that can hold a secret: in messages, logs, reports and metrics.

A URL is shown only as far as it is unambiguous. If it is not, because of a raw `@`, `/`, `?` or `#` in the password for
example, the end of the password is unknown, and only the scheme is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "…"
FORM = "postgresql://USER@HOST/NAME"
"""The form of a URL in messages."""
EVERY_HOST = "postgresql://USER@HOST1,HOST2/NAME?target_session_attrs=read-write"
"""The same for a primary and its standbys."""
_FORMS = {FORM, EVERY_HOST, "simulated:///FILE?parameter=value"}
_FORMS |= {"http://HOST:PORT", "https://HOST:PORT", "http://?", "https://?"}
_PUBLIC = "https://github.com/confluentinc/"
"""Links in librdkafka's messages."""
ENCODE = (
    "is ambiguous: in a user name and a password, percent-encode every character except letters, digits and -._~"
    " (@ is %40, / is %2F, # is %23, % is %25)"
)
"""What to do about a URL that is not `is_plain`."""
_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.%-]+)"
_HOSTS = rf"{_HOST}(?::\d+)?(?:,{_HOST}(?::\d+)?)*"
_SERVER = re.compile(
    rf"(?P<scheme>postgresql|postgres|https|http)://(?P<user>[^/?#]*@)?(?P<hosts>{_HOSTS})?"
    r"(?P<path>/[^?#@]*)?(?P<query>[?#][^@]*)?",
    re.ASCII,
)
_FILE = re.compile(
    r"(?P<file>sqlite:///(?![^?#]*:[^?#]*@)[^?#]*|simulated://(/(?![^?#]*:[^?#]*@)[^?#]*)?)(?P<query>[?#].*)?"
)
_BROKER = re.compile(rf"((plaintext|ssl|sasl_plaintext|sasl_ssl)://)?{_HOST}:\d+", re.ASCII | re.IGNORECASE)
_SCHEME = re.compile(r"(?:postgresql|postgres|sqlite|simulated|https|http)(?:\+[a-z]+\d?)?:?/{0,3}")
_NAME = re.compile(r"/[\w.$-]*", re.ASCII)

_URL = re.compile(r"(?:postgresql|postgres|sqlite|simulated|https|http)(?:\+[a-z]+\d?)?:/[^\s'\"<>]*[^\s'\"<>:,.;)\]]")
_ASSIGNED = re.compile(
    r"((?:pass|passwd|password|passphrase|pwd|secret|token|api[_-]?key|jaas\.config)[\"']?\s*=\s*)"
    r"(?:\"[^\"]*\"|'(?:[^'\\]|\\.)*'|[^\s&,;\"']+)",
    re.IGNORECASE,
)
_SECRET = re.compile(r"pass|pasw|pwd|secret|jaas|private|key\.pem|oauthbearer\.(config|extensions)|kinit\.cmd|token$")


def redact(url: str) -> str:
    """Return a URL, or a broker's address, without user, password and parameters.

    Anything else, including a key=value connection string, is hidden except for a known scheme. What this
    function returned before is returned unchanged.
    """
    if match := _FILE.fullmatch(url):
        return match["file"] + (f"?{HIDDEN}" if match["query"] else "")
    if match := _SERVER.fullmatch(url):
        path = match["path"] or ""
        names_database = match["scheme"].startswith("postgres") and _NAME.fullmatch(path)
        user, query = f"{HIDDEN}@" if match["user"] else "", f"?{HIDDEN}" if match["query"] else ""
        shown = path if names_database or path in {"", "/"} else f"/{HIDDEN}"
        return f"{match['scheme']}://{user}{match['hosts'] or ''}{shown}{query}"
    if not url or _BROKER.fullmatch(url):
        return url
    scheme = _SCHEME.match(url)
    return (scheme[0] if scheme else "") + HIDDEN


def is_plain(url: str) -> bool:
    """Return whether the URL of a server is unambiguous: everything special in it is percent-encoded."""
    match = _SERVER.fullmatch(url)
    return match is not None and "@" not in (match["user"] or "")[:-1]


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return any message with URLs redacted, and `password=…` and these secrets hidden.

    For messages of libpq, librdkafka, HTTP clients or click, which may quote their input.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "=" in text:
        text = _ASSIGNED.sub(rf"\g<1>{HIDDEN}", text)
    return _URL.sub(_redacted, text) if ":/" in text else text


def _redacted(match: re.Match[str]) -> str:
    url = match[0]
    return url if url in _FORMS or url.startswith(_PUBLIC) else redact(url)


def holds_secret(url: str) -> bool:
    """Return whether a URL contains a password, or a parameter like one."""
    match = _SERVER.fullmatch(url) or _FILE.fullmatch(url)
    if match is None:
        return "@" in url or is_secret(url)
    user = match.groupdict().get("user") or ""
    return ":" in user or is_secret(match["query"] or "")


def is_secret(name: str) -> bool:
    """Return whether a librdkafka property of this name, or one like it, holds a secret."""
    return _SECRET.search(name.lower()) is not None


def secrets_in(properties: Mapping[str, Any]) -> frozenset[str]:
    """Return the secret values among librdkafka's properties, and the words in them.

    librdkafka quotes parts of some: of `sasl.oauthbearer.config` whatever it cannot parse.
    """
    values = [value for name, value in properties.items() if is_secret(name) and isinstance(value, str)]
    words = [word for value in values for word in re.split(r"[\s,;=]+", value)]
    return frozenset(word for word in (*values, *words) if len(word) >= _SHORTEST)


_SHORTEST = 4
"""Characters. Hiding shorter words protects nothing, and breaks other words."""
