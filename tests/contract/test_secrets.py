"""A marked secret is passed wherever one can be: no command prints it, whatever else is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from eventbus.kafka.embedded import EmbeddedBroker
from inventory_service.__main__ import main as inventory
from order_service.__main__ import main as orders
from payment_service.__main__ import main as payments
from saga.__main__ import main as saga
from tests.contract.test_choreography import COMMANDS

MARK = "S3cretPass"
PROGRAMS = {"saga": saga, "order-service": orders, "payment-service": payments, "inventory-service": inventory}
ENDLESS = {"run", "ui", "broker", "track", "demo", "simulate", "tail"}
"""Commands that would run for long if their arguments are right."""

DATABASES = [
    "host=127.0.0.1 user=saga password=S3cretPass dbname=saga",
    "postgresql://u:p@S3cretPass@127.0.0.1:1/x",
    "postgresql://u:a%S3cretPass@127.0.0.1:1/x",
    "postgresql://u:a/S3cretPass@127.0.0.1:1/x",
    "postgresql://u:1/S3cretPass@127.0.0.1/x",
    "postgresql://127.0.0.1:1/x?user=u&password=a&S3cretPass",
    "postgresql+psycopg://127.0.0.1/x?user=u&password=S3cretPass",
    "postgres:/u:S3cretPass-127.0.0.1/x",
    "S3cretPass",
    "file:/no/such/file",
]
AWAY = ["postgresql://u:S3cretPass@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x?user=u&password=S3cretPass"]
REGISTRIES = [
    "S3cretPass",
    "http//u:S3cretPass@127.0.0.1:1",
    "http://u:a@S3cretPass@127.0.0.1:1",
    "http://u:a/S3cretPass@127.0.0.1:1",
]
GATEWAYS = [
    "https://api.provider?key=S3cretPass",
    "https://u:S3cretPass@api.provider",
    "simulated:///p.db?key=S3cretPass",
    "simulated:///p.db?S3cretPass",
    "simulated://u:S3cretPass@h",
    "S3cretPass",
]
PROPERTIES = [
    "S3cretPass",
    "S3cretPass==",
    "sasl.password",
    "sasl.pasword=S3cretPass",
    'sasl.jaas.config=x password="S3cretPass"',
    "ssl.key.pem=S3cretPass",
]
REGISTRY_PROPERTIES = [
    "S3cretPass",
    "S3cretPass==",
    "basic.auth.user.info=S3cretPass",
    "bearer.auth.tokn=S3cretPass",
    "ssl.key.password=S3cretPass",
]
SERVERS = ["SASL_SSL://u:S3cretPass@127.0.0.1:1", "S3cretPass@127.0.0.1:1", "S3cretPass:x"]
LINES = ["S3cretPass", "sasl.password S3cretPass", "sasl.pasword=S3cretPass", "=S3cretPass", "a=S3cretPass\na=1"]


def values(option: click.Option) -> list[str]:
    """Return wrong values of many kinds, each with the secret in it; nothing for a command that takes none."""
    if option.name is None or isinstance(option.type, click.Choice) or option.is_flag:
        return []
    if option.name == "database" or option.name.endswith("_database"):
        return DATABASES
    found = {
        "schema_registry_url": REGISTRIES,
        "gateway": GATEWAYS,
        "schema_registry_config": REGISTRY_PROPERTIES,
        "kafka_config": PROPERTIES,
        "bootstrap_servers": SERVERS,
        "token": [MARK],
    }
    return found.get(option.name, [])


def needed(command: click.Command, folder: Path) -> list[str]:
    """Return placeholder arguments and options that the command requires."""
    words: list[str] = []
    file = folder / "file.jsonl"
    file.touch()
    for parameter in command.params:
        is_given = isinstance(parameter, click.Argument) or parameter.required or parameter.name in ("by", "reason")
        if not is_given:
            continue
        kind: Any = parameter.type
        value = "1" if isinstance(kind, click.IntRange) else "x"
        if isinstance(kind, click.Choice):
            value = str(kind.choices[0])
        if isinstance(kind, click.Path | click.File):
            value = str(file)
        words += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
    return words


def of(kind: str) -> list[tuple[str, str]]:
    """Return the commands, each with its options that can hold a secret of this kind."""
    return [
        (name, parameter.opts[0])
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and values(parameter) and kind in (parameter.name or "")
    ]


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """A broker that answers at once, and has no topic."""
    with EmbeddedBroker({}) as broker:
        yield broker.bootstrap_servers


def run(name: str, servers: str, folder: Path, *words: str, **env: str) -> Result:
    program, *path = name.split()
    given = {"KAFKA_BOOTSTRAP_SERVERS": servers} | env
    result = CliRunner().invoke(PROGRAMS[program], [*path, *needed(COMMANDS[name], folder), *words], env=given)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, env, result.exception)
    return result


@pytest.mark.parametrize(
    ("name", "option"), [pair for kind in ("_config", "servers", "registry", "token") for pair in of(kind)]
)
def test_what_is_refused_at_once_is_not_quoted(
    name: str, option: str, servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By any command, as an option and from the environment: it exits, and names the error without the secret."""
    monkeypatch.chdir(tmp_path)
    parameter = next(each for each in COMMANDS[name].params if option in each.opts)
    assert isinstance(parameter, click.Option)
    refused_later = {"sasl.pasword=S3cretPass", 'sasl.jaas.config=x password="S3cretPass"', "ssl.key.pem=S3cretPass"}
    for value in values(parameter):
        if name.rsplit(maxsplit=1)[-1] in ENDLESS and value in refused_later:
            continue
        results = [run(name, servers, tmp_path, option, value)]
        if isinstance(parameter.envvar, str):
            results.append(run(name, servers, tmp_path, **{parameter.envvar: value}))
        for result in results:
            assert MARK not in result.output, value
            if value not in refused_later:
                assert result.exit_code == 2, value
                assert "Error: Invalid value" in result.output or "--token has" in result.output, value


@pytest.mark.parametrize(("name", "option"), of("database") + of("gateway"))
def test_what_cannot_be_a_database_or_a_gateway_is_not_quoted(
    name: str, option: str, servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for one that is unavailable, or whose URL libpq would quote in pieces."""
    if name.rsplit(maxsplit=1)[-1] in ENDLESS:
        pytest.skip("what is away is waited for: tests/e2e/test_secrets.py has it")
    monkeypatch.chdir(tmp_path)
    parameter = next(each for each in COMMANDS[name].params if option in each.opts)
    assert isinstance(parameter, click.Option)
    for value in values(parameter) + (AWAY if "database" in option else []):
        result = run(name, servers, tmp_path, option, value)
        assert result.exit_code != 0 or name == "order-service import", value  # of an empty file it asks nobody
        assert MARK not in result.output, value


@pytest.mark.parametrize("name", sorted({name for name, _ in of("kafka_config")}))
def test_a_file_of_properties_is_not_quoted(name: str, servers: str, tmp_path: Path) -> None:
    """The line is named by its number."""
    for line in LINES:
        if name.rsplit(maxsplit=1)[-1] in ENDLESS and line.startswith("sasl.pasword"):
            continue
        (tmp_path / "kafka.properties").write_text(f"# mine\n{line}\n")
        result = run(name, servers, tmp_path, KAFKA_CONFIG_FILE=str(tmp_path / "kafka.properties"))
        assert MARK not in result.output, line
        if not line.startswith("sasl.pasword"):  # librdkafka knows its properties, when it is asked
            assert (result.exit_code, ", line " in result.output) == (2, True), line


@pytest.mark.parametrize("name", COMMANDS)
def test_an_argument_too_many_is_not_quoted(name: str, servers: str, tmp_path: Path) -> None:
    """If an option's name is forgotten, its URL becomes an argument; click would quote it."""
    extra = ["postgresql://u:S3cretPass@h/x", "password=S3cretPass", "--nonsense=http://u:S3cretPass@h"]
    for word in extra:
        if any(isinstance(each, click.Argument) and each.nargs < 0 for each in COMMANDS[name].params):
            continue
        result = run(name, servers, tmp_path, word)
        assert result.exit_code == 2
        assert MARK not in result.output


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--kafka-config", "sasl.password=S3cretPass", "--kafka-config sasl.password"),
        ("--schema-registry-url", "http://u:S3cretPass@127.0.0.1:1", "the password in --schema-registry-url"),
    ],
)
def test_a_secret_on_the_command_line_is_warned_of(
    option: str, value: str, told: str, servers: str, tmp_path: Path
) -> None:
    """The process list shows it; a secret from a file does not appear there."""
    name, _, secret = value.rpartition("=")
    (tmp_path / "secret").write_text(f"{secret}\n")
    warned = run("saga tail", servers, tmp_path, option, value)
    assert f"sees {told} in the list of processes" in warned.output
    assert MARK not in warned.output
    reference = f"file:{tmp_path}/secret"
    hidden = run("saga tail", servers, tmp_path, option, f"{name}={reference}" if name else reference)
    assert "warning" not in hidden.output
