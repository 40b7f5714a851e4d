"""Settings from files: read as written, or rejected by file and line without their content."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from eventbus.cli import options as cli
from eventbus.text.secret_files import BadFile, read_properties, resolved, write_properties


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the properties."""
    return tmp_path / "kafka.properties"


@click.command()
@cli.kafka_config
@cli.database_option("order-service")
def command(kafka_config: dict[str, str], database: str) -> None:
    for name, value in sorted(kafka_config.items()):
        click.echo(f"{name}={value}")
    click.echo(database)


def test_a_file_has_one_property_a_line(file: Path) -> None:
    """Comments, blank lines, a byte order mark and CRLF are ignored; a value may contain `=` and `#`."""
    file.write_bytes(b"\xef\xbb\xbf# ours\r\n\r\n  security.protocol = SASL_SSL \r\nsasl.password=a=b#c d\r\nacks=\n")
    assert read_properties(file) == {"security.protocol": "SASL_SSL", "sasl.password": "a=b#c d", "acks": ""}


def test_a_value_may_refer_to_a_file(file: Path, tmp_path: Path) -> None:
    """Only the end of the line is removed: a password may end with a blank."""
    (tmp_path / "password").write_text(" S3cret \n")
    file.write_text(f"sasl.password=file:{tmp_path}/password\n")
    assert read_properties(file) == {"sasl.password": " S3cret "}
    assert resolved(f"file:{tmp_path}/password") == " S3cret "
    assert resolved("postgresql://h/x") == "postgresql://h/x"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"a=1\nS3cret\n", "line 2: expected NAME=VALUE"),
        (b"sasl.password S3cret", "line 1: expected NAME=VALUE"),
        (b"S3cret=\n", "line 1: expected NAME=VALUE"),
        (b"sasl.password=S3cret\n\nsasl.password=S3cret", "line 3: sasl.password is set twice"),
        (b"sasl.password=file:/no/such\n", "line 1: sasl.password: the file /no/such cannot be read: No such file"),
        (b"sasl.password=S3cret\xff\n", "is not text in UTF-8"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_not_quoted(content: bytes, wrong: str, file: Path) -> None:
    """The line may be a piece of a secret."""
    file.write_bytes(content)
    with pytest.raises(BadFile) as refused:
        read_properties(file)
    assert wrong in str(refused.value)
    assert str(file) in str(refused.value)
    assert "S3cret" not in str(refused.value)


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    """A mount that does not exist yet is not taken for an empty password."""
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(BadFile, match="is empty"):
        resolved(f"file:{tmp_path}/empty")


def test_what_is_written_for_our_own_processes_is_read_as_it_was(tmp_path: Path) -> None:
    """Several lines too, as a key has."""
    properties = {"ssl.key.pem": "-----BEGIN\nS3cret\n-----END", "sasl.password": "a=b #c", "a": " b ", "acks": "all"}
    option, path = write_properties(tmp_path, properties)
    assert option == "--kafka-config-file"
    assert read_properties(Path(path)) == properties


def test_the_options_of_every_command_read_them(file: Path, tmp_path: Path) -> None:
    """The file from the option or the environment, --kafka-config takes precedence over it, a URL from a file."""
    file.write_text("client.rack=a\nacks=all\n")
    (tmp_path / "url").write_text("sqlite:///x.db\n")
    (tmp_path / "rack").write_text("b\n")
    words = ["--kafka-config", f"client.rack=file:{tmp_path}/rack", "--database", f"file:{tmp_path}/url"]
    for given, env in ((["--kafka-config-file", str(file)], {}), ([], {"KAFKA_CONFIG_FILE": str(file)})):
        result = CliRunner().invoke(command, [*words, *given], env=env)
        assert result.output == "acks=all\nclient.rack=b\nsqlite:///x.db\n"
    from_environment = CliRunner().invoke(command, [], env={"ORDER_SERVICE_DATABASE": f"file:{tmp_path}/url"})
    assert from_environment.output == "sqlite:///x.db\n"


@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list"])
def test_brokers_are_named_in_one_way(name: str, file: Path) -> None:
    """As with --kafka-config: they would differ from those that every message names."""
    file.write_text(f"{name}=h:9092\n")
    result = CliRunner().invoke(command, ["--kafka-config-file", str(file)])
    assert result.exit_code == 2
    assert f"{name} is not allowed here: use --bootstrap-servers" in result.output
