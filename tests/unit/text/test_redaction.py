"""What is shown of a URL, a setting or a message: never the secret in it, but enough to identify it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.text.redaction import holds_secret, is_plain, is_secret, redact, scrub, secrets_in

MARK = "S3cretPass"
PROGRAMS = ("eventbus", "schemas", "order_service", "payment_service", "inventory_service", "saga")
FORM_OF_URL = re.compile(r"[a-z]+:/{2,3}(?:USER@HOST|FILE|HOST|(?<=http://|ttps://)\?)[^\s&'\"`]*(?<![:,.;)])(?!\S*&)")
"""An option's help is not scrubbed: it may list parameters."""
ROOT = Path(__file__).parents[3]

SHOWN = {
    "sqlite:///relative.db": "sqlite:///relative.db",
    "sqlite:////srv/a@b/x.db": "sqlite:////srv/a@b/x.db",
    "sqlite://u:S3cretPass@h/x": "sqlite://…",
    "sqlite:///u:S3cretPass@h/x": "sqlite:///…",
    "simulated://": "simulated://",
    "simulated:///p.db?key=S3cretPass": "simulated:///p.db?…",
    "postgresql://saga@db.example/saga": "postgresql://…@db.example/saga",
    "postgresql://saga:S3cretPass@a:5432,[::1]:5433/saga": "postgresql://…@a:5432,[::1]:5433/saga",
    "postgres:///saga": "postgres:///saga",
    "postgresql://h:1/x?user=u&password=S3cretPass": "postgresql://h:1/x?…",
    "postgresql://h?user=u&password=a@S3cretPass": "postgresql://…",
    "postgresql://u:a@S3cretPass@h:1/x": "postgresql://…@h:1/x",
    "postgresql://u:S3/cretPass@h:1/x": "postgresql://…",
    "postgresql://u:12/S3cretPass@h/x": "postgresql://…",
    "postgresql://u:12#S3cretPass@h/x": "postgresql://…",
    "postgresql://u:12?S3cretPass@h/x": "postgresql://…",
    "postgresql+psycopg://h/x?password=S3cretPass": "postgresql+psycopg://…",
    "postgres:/u:S3cretPass-h/x": "postgres:/…",
    "host=h user=saga password=S3cretPass dbname=saga": "…",
    "http://u:S3cretPass@h:8081": "http://…@h:8081",
    "https://h/hook/S3cretPass": "https://h/…",
    "https://api.provider?key=S3cretPass": "https://api.provider?…",
    "http//u:S3cretPass@h": "http//…",
    "mysql://u:S3cretPass@h": "…",
    "SASL_SSL://u:S3cretPass@h:9092": "…",
    "SASL_SSL://h:99999": "SASL_SSL://h:99999",
    "S3cretPass": "…",
    "": "",
}


@pytest.mark.parametrize("url", SHOWN)
def test_a_url_is_shown_as_far_as_it_can_be_read_in_one_way(url: str) -> None:
    """Redacting twice changes nothing: a message passes through several functions."""
    assert redact(url) == redact(redact(url)) == SHOWN[url]


@given(st.text(max_size=8), st.text(max_size=8))
def test_whatever_stands_around_it_a_password_is_not_shown(before: str, after: str) -> None:
    """Raw `@`, `/`, `?`, `#`, `%` and spaces too, wherever a password can be in a URL, and in a key=value string."""
    password = f"{before}{MARK}{after}"
    for url in (
        f"postgresql://u:{password}@127.0.0.1:5432/saga",
        f"postgresql://{password}@127.0.0.1:5432/saga",
        f"postgresql://127.0.0.1:5432/saga?user=u&password={password}",
        f"postgresql://127.0.0.1?password={password}&user=u",
        f"http://u:{password}@127.0.0.1:8081",
        f"simulated:///p.db?key={password}",
        f"host=127.0.0.1 user=u password={password} dbname=saga",
    ):
        assert MARK not in redact(url), url


@given(st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters="'\"<>"), max_size=8))
def test_a_message_that_quotes_one_is_scrubbed(around: str) -> None:
    """From any source: libpq, librdkafka, an HTTP client, click."""
    password = f"{around}{MARK}{around}"
    for message in (
        f"connection to postgresql://u:{password}@h:5432/x failed: no route",
        f"(http://u:{password}@h:8081): timed out",
        f'unexpected argument "postgresql://h/x?user=u&password={password}"',
    ):
        said = scrub(message)
        assert MARK not in said
        assert said[:5] == message[:5]


def test_key_value_strings_are_scrubbed_and_other_words_stay() -> None:
    """A quoted value with spaces is hidden as a whole; a sentence about passwords is left alone."""
    said = scrub("host=h password='S3cret Pass' user=u; sasl.jaas.config=\"x S3cretPass\" --token=S3cretPass, x=1")
    assert said == "host=h password=… user=u; sasl.jaas.config=… --token=…, x=1"
    words = 'password authentication failed for user "saga": check user, password and database name'
    assert scrub(words) == words


def test_what_a_message_says_how_to_write_a_url_stays_to_be_read() -> None:
    """Or the mend would be hidden with the secret: every form that some message of ours has."""
    sources = [path.read_text(encoding="utf-8") for room in PROGRAMS for path in (ROOT / room).rglob("*.py")]
    texts = [node.value for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    forms = {form for text in texts if isinstance(text, str) for form in FORM_OF_URL.findall(text)}
    assert {"postgresql://USER@HOST/NAME", "simulated:///FILE?parameter=value", "https://HOST:PORT", "http://?"} < forms
    for sentence in (f"write {form}, and start again" for form in forms):
        assert scrub(sentence) == sentence


def test_what_librdkafka_quotes_of_a_secret_is_scrubbed_too() -> None:
    """It shows where parsing a value failed; a misspelt mechanism stays visible."""
    given_properties = {"sasl.oauthbearer.config": "principal=a S3cretPass=x", "sasl.mechanism": "PLIAN"}
    secrets = secrets_in(given_properties)
    assert (
        scrub('Unrecognized beginning at: S3cretPass=x; "PLIAN"', secrets) == 'Unrecognized beginning at: …=x; "PLIAN"'
    )


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("sasl.password", True),
        ("sasl.pasword", True),
        ("ssl.key.password", True),
        ("ssl.key.pem", True),
        ("sasl.oauthbearer.client.secret", True),
        ("sasl.oauthbearer.config", True),
        ("sasl.jaas.config", True),
        ("ssl.certificate.pem", False),
        ("ssl.ca.location", False),
        ("sasl.username", False),
        ("security.protocol", False),
        ("enable.sasl.oauthbearer.unsecure.jwt", False),
    ],
)
def test_which_properties_are_secret(name: str, secret: bool) -> None:
    """Misspelt names too: the value was meant for the right one."""
    assert is_secret(name) is secret


@pytest.mark.parametrize(
    ("url", "plain", "secret"),
    [
        ("postgresql://saga@h/x", True, False),
        ("postgresql://saga:S3cretPass@h/x", True, True),
        ("postgresql://h/x?password=S3cretPass", True, True),
        ("postgresql://h/x?sslmode=require", True, False),
        ("postgresql://u:a@b@h/x", False, True),
        ("http://h:1,b/x", True, False),
        ("sqlite:///x.db", False, False),
        ("simulated:///p.db?seed=1", False, False),
        ("mysql://h/x", False, False),
        ("host=h password=S3cretPass", False, True),
    ],
)
def test_which_urls_hold_a_secret_and_which_are_clear(url: str, plain: bool, secret: bool) -> None:
    """A password on the command line causes a warning; a user name or a parameter alone does not."""
    assert (is_plain(url), holds_secret(url)) == (plain, secret)
