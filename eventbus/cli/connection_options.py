"""Options for addresses and credentials: checked, read from files, and never quoted in full."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from click.core import ParameterSource

from eventbus.serde.registry_config import SECRETS, BadRegistryConfig, RegistryConfig
from eventbus.serde.subjects import BadSubject, Subjects
from eventbus.text.redaction import ENCODE, HIDDEN, holds_secret, is_plain, is_secret, redact
from eventbus.text.secret_files import FILE, BadFile, read_properties, resolved

SERVER = re.compile(
    r"((plaintext|ssl|sasl_plaintext|sasl_ssl)://)?(\[[0-9a-f:.%]+\]|[^\s:/,@]+)(:(?P<port>\d{1,5}))?", re.IGNORECASE
)
"""A broker as librdkafka takes it; without a port it is 9092."""
PORTS = range(1, 65_536)
CONFIG_FILE = "eventbus.kafka_config_file"
"""The key in click's context for the properties of --kafka-config-file."""
ADDRESSES = ("bootstrap.servers", "metadata.broker.list")
SUBJECTS = "eventbus.serde.subjects"
"""Likewise for --schema-subject."""
REGISTRY_CONFIG = "eventbus.serde.registry_config"
"""Likewise for the options of the schema registry."""
REGISTRY = re.compile(r"https?://[^\s/]")
PROPERTY = re.compile(r"[a-z][a-z0-9._]*")
"""A property name in librdkafka's form. Anything else may be part of a password, and is not printed."""


def pairs(context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return the properties of --kafka-config-file and --kafka-config; the latter overrides the former."""
    given = {}
    for name, setting in _split(values, "security.protocol=SASL_SSL"):
        if name in ADDRESSES:
            raise click.BadParameter(f"{name} is not allowed here: use --bootstrap-servers")
        given[name] = from_file(setting)
        if is_secret(name) and given[name] == setting:
            _warn_of_process_list(f"--kafka-config {name}", "put it into a file for --kafka-config-file, or write")
    return {**context.meta.get(CONFIG_FILE, {}), **given}


def _split(values: Iterable[str], example: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each KEY=VALUE. Raises click.BadParameter."""
    for value in values:
        key, equals, setting = value.partition("=")
        name = key.strip()
        if not equals or not PROPERTY.fullmatch(name):
            raise click.BadParameter(f"{HIDDEN!r} is not KEY=VALUE, e.g. {example}")
        yield name, setting


def config_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Read the file; it is read before --kafka-config, which overrides it."""
    try:
        found = read_properties(path) if path is not None else {}
    except BadFile as error:
        raise click.BadParameter(str(error)) from None
    for name in ADDRESSES:
        if name in found:
            raise click.BadParameter(f"{path}: {name} is not allowed here: use --bootstrap-servers")
    context.meta[CONFIG_FILE] = found


def from_file(value: str) -> str:
    """Return the value, or what is in the file that `file:PATH` names. Raises click.BadParameter."""
    try:
        return resolved(value)
    except BadFile as error:
        raise click.BadParameter(str(error)) from None


def _warn_of_process_list(what: str, instead: str) -> None:
    click.echo(
        f"warning: every user of this machine sees {what} in the list of processes: {instead} file:PATH", err=True
    )


def secret(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Read a URL from the file that `file:PATH` names; warn if a password is on the command line."""
    if value is None:
        return None
    found = from_file(value)
    given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    if given and found == value and holds_secret(value):
        _warn_of_process_list(f"the password in {parameter.opts[0]}", "set the environment variable, or give")
    return found


def servers(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Reject an invalid broker address: librdkafka reads port 99999 as 34463, and retries a bad host indefinitely."""
    for server in value.split(",") if value is not None else ():
        match = SERVER.fullmatch(server.strip())
        if match is None or int(match["port"] or 9092) not in PORTS:
            raise click.BadParameter(
                f"{redact(server)!r} is not HOST:PORT, as in localhost:9092, with a port from 1 to 65535"
            )
    return value


def url(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Reject an invalid registry URL: a worker would retry it indefinitely."""
    value = secret(context, parameter, value)
    for each in value.split(",") if value is not None else ():
        if not REGISTRY.match(each):
            raise click.BadParameter(f"{redact(each)!r} is not http://HOST:PORT or https://HOST:PORT")
        if not is_plain(each):
            raise click.BadParameter(f"{redact(each)!r} {ENCODE}")
        if "#" in each:
            raise click.BadParameter(f"{redact(each)!r} has a fragment (after #): set subjects with --schema-subject")
    subjects: Subjects = context.meta.get(SUBJECTS, Subjects())
    return None if value is None else subjects.put_behind(value)


def subject(context: click.Context, _parameter: click.Parameter, template: str) -> None:
    """Keep the template, which is appended to the registry's URL."""
    try:
        context.meta[SUBJECTS] = Subjects(template)
    except BadSubject as error:
        raise click.BadParameter(str(error)) from None


def registry_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Keep the file of the registry's properties."""
    context.meta[REGISTRY_CONFIG] = RegistryConfig(path)


def registry_pairs(context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> None:
    """Keep the registry's properties, which override those of the file; reject invalid ones."""
    given = {}
    for name, setting in _split(values, "ssl.ca.location=/etc/company-ca.pem"):
        given[name] = setting
        if name in SECRETS and not setting.startswith(FILE):
            _warn_of_process_list(f"--schema-registry-config {name}", "put it into a file, or write")
    config = RegistryConfig(context.meta[REGISTRY_CONFIG].file, given)
    try:
        config.read()
    except BadRegistryConfig as error:
        raise click.BadParameter(str(error)) from None
    context.meta[REGISTRY_CONFIG] = config
