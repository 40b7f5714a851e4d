"""What may be said of URLs and settings that can hold a secret: in messages, logs, reports and metrics.

A URL is shown only as far as it can be read in one way. Where it cannot, because of a raw `@`, `/`, `?` or `#` in the
password for example, nobody knows where the password ends, and no more than the scheme is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "…"
FORM = "postgresql://USER@HOST/NAME"
"""How a URL is to be written, as messages say it."""
EVERY_HOST = "postgresql://USER@HOST1,HOST2/NAME?target_session_attrs=read-write"
"""The same for a primary and its standbys."""
_FORMS = {FORM, EVERY_HOST, "simulated:///FILE?parameter=value"}
_FORMS |= {"http://HOST:PORT", "https://HOST:PORT", "http://?", "https://?"}
_PUBLIC = "https://github.com/confluentinc/"
"""Where librdkafka sends people on."""
ENCODE = (
    "can be read in more than one way: in a user name and a password, write every character but letters, digits and"
    " -._~ percent-encoded (@ is %40, / is %2F, # is %23, % is %25)"
)
"""What is to be done about a URL that is not `is_plain`."""
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
    """Return a URL, or a broker's address, as it may be said: without user, password and parameters.

    Whatever cannot be read as one, a key=value connection string too, is hidden as a whole but for a known scheme. What
    this returned before is returned unchanged.
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
    """Return whether the URL of a server can be read in one way: everything special in it is percent-encoded."""
    match = _SERVER.fullmatch(url)
    return match is not None and "@" not in (match["user"] or "")[:-1]


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a message of anybody's as it may be said: URLs redacted, `password=…` and these secrets hidden.

    For what libpq, librdkafka, HTTP clients or click say, who may quote what they were given.
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
    """Return whether a URL says a password, or a parameter like one."""
    match = _SERVER.fullmatch(url) or _FILE.fullmatch(url)
    if match is None:
        return "@" in url or is_secret(url)
    user = match.groupdict().get("user") or ""
    return ":" in user or is_secret(match["query"] or "")


def is_secret(name: str) -> bool:
    """Return whether a property of librdkafka's of this name, or one like it, holds a secret."""
    return _SECRET.search(name.lower()) is not None


def secrets_in(properties: Mapping[str, Any]) -> frozenset[str]:
    """Return what must not be said of librdkafka's properties: the secret values, and the words that they consist of.

    It quotes a part of some: of `sasl.oauthbearer.config` whatever it does not understand.
    """
    values = [value for name, value in properties.items() if is_secret(name) and isinstance(value, str)]
    words = [word for value in values for word in re.split(r"[\s,;=]+", value)]
    return frozenset(word for word in (*values, *words) if len(word) >= _SHORTEST)


_SHORTEST = 4
"""Characters. Whoever hides less hides nothing, and tears other words apart."""
