"""Addresses at the command line: what can be none is a mistake in usage, not something to wait for."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from eventbus.cli import options as cli
from eventbus.text.redaction import redact


@click.command()
@cli.bootstrap_servers
@cli.schema_registry_url
@cli.kafka_config
def command(**options):
    click.echo(options["bootstrap_servers"])


def said(*arguments, **environment):
    result = CliRunner().invoke(command, arguments, env=environment)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    "servers",
    ["localhost:9092", "localhost", "a:1,b.example:65535", "[::1]:9092", "SASL_SSL://kafka-1:9093, kafka-2:9093"],
)
def test_brokers_are_taken_as_librdkafka_takes_them(servers):
    """Host, or host and port, or more; with or without a protocol."""
    assert said("--bootstrap-servers", servers) == (0, f"{servers}\n", "")
    assert said(KAFKA_BOOTSTRAP_SERVERS=servers) == (0, f"{servers}\n", "")


@pytest.mark.parametrize(
    "servers",
    ["localhost:99999", "localhost:0", "localhost:", "localhost:abc", "a:1,b:99999", "", ",", "http://localhost:9092"],
)
def test_what_can_be_no_broker_is_refused(servers):
    """By librdkafka, port 99999 is 34463: somebody else's, perhaps."""
    code, out, error = said("--bootstrap-servers", servers)
    assert (code, out) == (2, "")
    wrong = servers if servers.startswith("localhost:") else servers.split(",")[-1]
    assert f"{redact(wrong)!r} is not HOST:PORT" in error


@pytest.mark.parametrize("key", ["bootstrap.servers", "metadata.broker.list"])
def test_brokers_are_named_in_one_way(key):
    """With --kafka-config they would be others than those that every message names."""
    code, _, error = said("--kafka-config", f"{key}=localhost:9092")
    assert code == 2
    assert f"{key} is not allowed here: use --bootstrap-servers" in error


@pytest.mark.parametrize("url", ["nonsense", "localhost:8081", "ftp://localhost", "http://", ""])
def test_what_can_be_no_registry_is_refused(url):
    """It would be waited for."""
    code, _, error = said("--schema-registry-url", url)
    assert code == 2
    assert f"{redact(url)!r} is not http://HOST:PORT" in error
