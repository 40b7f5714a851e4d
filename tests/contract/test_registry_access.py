"""Authentication with a registry: passwords, tokens, certificates, over real HTTP and TLS."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.schema_registry import Schema

from eventbus.serde.confluent_registry import ConfluentRegistry, registry_client
from eventbus.serde.registry import RegistryAuthenticationFailed, RegistryUnavailable
from eventbus.serde.registry_config import BadRegistryConfig, RegistryConfig
from saga.__main__ import main
from tests.support.brokers.certificates import Authority
from tests.support.engines.sample import Ping
from tests.support.registries.ingress import Ingress, only
from tests.support.registries.small_registry import SmallRegistry

SECRET = "pa:ss w@rd"
BASIC = f"Basic {base64.b64encode(f'ada:{SECRET}'.encode()).decode()}"


@pytest.fixture
def upstream(small: SmallRegistry) -> str:
    return small.url


@pytest.fixture
def small() -> Iterator[SmallRegistry]:
    """A registry that has Ping, without authentication."""
    small = SmallRegistry().start()
    registry_client(small.url).register_schema("ping-value", Schema(Ping.schema_text, "AVRO"))
    yield small
    small.stop()


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def id_of_ping(ingress: Ingress, **properties: str | Path) -> int:
    given = {name.replace("_", "."): str(value) for name, value in properties.items()}
    return ConfluentRegistry(ingress.url, RegistryConfig(None, given)).id_of(Ping)


def tls(ca: Authority, *, wants: bool = False, **certificate: int | str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue("server", **certificate))
    if wants:
        context.load_verify_locations(ca.file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_password_lets_in_and_a_wrong_one_does_not(upstream: str) -> None:
    with Ingress(upstream) as ingress:
        ingress.instead = only(BASIC)
        assert id_of_ping(ingress, basic_auth_user_info=f"ada:{SECRET}") > 0
        for wrong in ({"basic_auth_user_info": "ada:other"}, {"bearer_auth_token": SECRET}, {}):
            with pytest.raises(
                RegistryAuthenticationFailed, match="user, password or token are wrong or missing"
            ) as refused:
                id_of_ping(ingress, **wrong)
            assert "other" not in str(refused.value)


def test_a_token_lets_in_and_is_read_again_when_it_has_expired(upstream: str, tmp_path: Path) -> None:
    """From a file that is replaced under a running worker; it may be missing for a moment."""
    file, token = tmp_path / "registry.properties", tmp_path / "token"
    file.write_text(f"# of the registry\nbearer.auth.token = file:{token}\n")
    token.write_text("first\n")
    with Ingress(upstream) as ingress:
        registry = ConfluentRegistry(ingress.url, RegistryConfig(file))
        ingress.instead = only("Bearer first")
        number = registry.id_of(Ping)
        ingress.instead = only("Bearer second")
        token.unlink()
        with pytest.raises(RegistryUnavailable, match="cannot be read"):
            registry.schema_of(number)
        token.write_text("second\n")
        with pytest.raises(RegistryAuthenticationFailed):
            registry.schema_of(number)
        assert registry.schema_of(number)["name"] == Ping.schema["name"]


def test_a_private_ca_is_trusted_when_it_is_set(upstream: str, ca: Authority) -> None:
    with Ingress(upstream, tls(ca)) as ingress:
        with pytest.raises(RegistryUnavailable, match=r"by a CA that is not trusted here: set ssl\.ca\.location"):
            id_of_ping(ingress)
        assert id_of_ping(ingress, ssl_ca_location=ca.file) > 0


@pytest.mark.parametrize(
    ("certificate", "hint"),
    [
        ({"days": -1}, r"\(its certificate has expired"),
        ({"host": "192.0.2.1"}, r"\(its certificate is for another host"),
    ],
)
def test_a_certificate_that_does_not_fit_is_named(
    upstream: str, ca: Authority, certificate: dict[str, int | str], hint: str
) -> None:
    with Ingress(upstream, tls(ca, **certificate)) as ingress, pytest.raises(RegistryUnavailable, match=hint):
        id_of_ping(ingress, ssl_ca_location=ca.file)


def test_with_mutual_tls_a_certificate_lets_in(upstream: str, ca: Authority, tmp_path: Path) -> None:
    """With one of the right CA; without one, or with one of another CA, it is rejected. A key may have a password."""
    mine = ca.issue("client", password=b"key")
    folder = tmp_path / "other"
    folder.mkdir()
    theirs = Authority(folder, "others").issue("stranger")
    with Ingress(upstream, tls(ca, wants=True)) as ingress:
        given = {"ssl_ca_location": ca.file, "ssl_certificate_location": mine[0], "ssl_key_location": mine[1]}
        assert id_of_ping(ingress, **given, ssl_key_password="key") > 0
        with pytest.raises(RegistryUnavailable, match="it requires a client certificate"):
            id_of_ping(ingress, ssl_ca_location=ca.file)
        given |= {"ssl_certificate_location": theirs[0], "ssl_key_location": theirs[1]}
        with pytest.raises(RegistryUnavailable, match="it rejected the client certificate"):
            id_of_ping(ingress, **given)


def test_tls_where_there_is_none_and_none_where_there_is_are_named(upstream: str, ca: Authority) -> None:
    with Ingress(upstream) as ingress:
        ingress.url = ingress.url.replace("http:", "https:")
        with pytest.raises(RegistryUnavailable, match="does not speak TLS on this port"):
            id_of_ping(ingress)
    with Ingress(upstream, tls(ca)) as ingress:
        ingress.url = ingress.url.replace("https:", "http:")
        with pytest.raises(RegistryUnavailable, match="does not speak HTTP"):
            id_of_ping(ingress)


BAD = {
    "no_such.property": ("x", "no_such.property is not a setting of the schema registry"),
    "basic.auth.user.info": (SECRET.replace(":", ""), "basic.auth.user.info is not USER:PASSWORD"),
    "ssl.key.location": ("x", "ssl.key.location requires ssl.certificate.location"),
    "ssl.ca.location": ("/nowhere", "ssl.ca.location: the file /nowhere cannot be read: No such file"),
    "bearer.auth.token": ("file:/nowhere", "the file /nowhere cannot be read: No such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_at_once(name: str) -> None:
    """Exit code 2, and one sentence that names it without a secret."""
    value, why = BAD[name]
    arguments = ["tail", "t", "--schema-registry-url", "http://127.0.0.1:1", "--schema-registry-config"]
    done = CliRunner().invoke(main, [*arguments, f"{name}={value}"])
    assert done.exit_code == 2
    assert why in " ".join(done.stderr.split())
    assert SECRET.replace(":", "") not in done.output


def test_files_that_do_not_go_together_are_named(ca: Authority) -> None:
    """A key of another certificate, one whose password is missing, and a CA file without a certificate."""
    one, other = ca.issue("one"), ca.issue("other", password=b"key")
    both = {"ssl.certificate.location": str(one[0]), "ssl.key.location": str(other[1])}
    for given in (both | {"ssl.key.password": "key"}, both, {"ssl.ca.location": str(one[1])}):
        with pytest.raises(BadRegistryConfig, match="do not match"):
            registry_client("https://127.0.0.1:1", RegistryConfig(None, given))


def test_a_password_on_the_command_line_is_warned_of() -> None:
    """Not one in a file or in the environment."""
    arguments = ["decode", "--schema-registry-config"]
    done = CliRunner().invoke(main, [*arguments, f"basic.auth.user.info=ada:{SECRET}"], input="")
    assert "every user of this machine sees --schema-registry-config basic.auth.user.info" in done.stderr
    assert SECRET not in done.output
