"""The options that all commands share, so that every worker is started in the same way."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import click
from click.core import ParameterSource

from eventbus.cli.completion import complete_instances
from eventbus.cli.connection_options import (
    REGISTRY_CONFIG,
    config_file,
    pairs,
    registry_file,
    registry_pairs,
    secret,
    servers,
    subject,
    url,
)
from eventbus.cli.help import CommandGroup
from eventbus.deadletters.resolutions import BY_CHARACTERS, WHY_CHARACTERS
from eventbus.event import Event
from eventbus.manifest import declare
from eventbus.serde.registry import Registry, registry_at
from eventbus.serde.registry_config import RegistryConfig
from eventbus.serde.subjects import TOPIC_NAME
from eventbus.service import Service
from eventbus.startable import cannot_start
from eventbus.text.json_form import to_json
from eventbus.text.redaction import scrub
from eventbus.text.terminal import safe_stdout, visible

F = TypeVar("F", bound=Callable[..., Any])
Delivery = Literal["exactly-once", "at-least-once"]
_Options = tuple[Callable[[Any], Any], ...]

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"], "max_content_width": 120}
"""For every click group: `@click.group(context_settings=CONTEXT)`."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker runs: the values of the common options, with the same defaults."""

    bootstrap_servers: str
    database: str
    delivery: Delivery = "exactly-once"
    instance: str | None = None
    schema_registry_url: str | None = None
    kafka_config: dict[str, str] = field(default_factory=dict)
    metrics_port: int | None = None
    log_format: str = "auto"
    log_level: str = "info"
    remote_concurrency: int = 32
    dead_letter_limit: int = 100
    keys_placed_over: int | None = None
    upgrade_database: bool = False
    registry_config: RegistryConfig = field(default_factory=RegistryConfig)


def not_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The callback of an option that filters or names: an empty one, as of a variable that is not set, does neither."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty: give a value, or leave the option out")
    return value


def tests_of(names: Collection[str]) -> Callable[..., tuple[tuple[str, str], ...]]:
    """Return the callback of a --where option: each value is one of these names, and a text that is not empty."""

    def tests(
        _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
    ) -> tuple[tuple[str, str], ...]:
        pairs = []
        for value in values:
            name, _, text = value.partition("=")
            if name not in names or not text:
                raise click.BadParameter(f"{value!r} is not one of {', '.join(f'{each}=TEXT' for each in names)}")
            pairs.append((name, text))
        return tuple(pairs)

    return tests


def _on_record(limit: int) -> Callable[[click.Context, click.Parameter, str | None], str]:
    """Return the callback of an option with a non-blank text of limited length; not required with --dry-run."""

    def check(context: click.Context, parameter: click.Parameter, text: str | None) -> str:
        if text is None:
            if not context.params.get("dry_run"):
                raise click.MissingParameter(ctx=context, param=parameter)
            return ""
        if not text.strip() or len(text) > limit:
            raise click.BadParameter(f"must not be blank, and at most {limit:,} characters long (it has {len(text):,})")
        return text

    return check


by = click.option(
    "--by",
    envvar="SAGA_BY",
    show_envvar=True,
    callback=_on_record(BY_CHARACTERS),
    help="Who decides; required, and kept on record.",
)
reason = click.option("--reason", callback=_on_record(WHY_CHARACTERS), help="Why; required, and kept on record.")
dry_run = click.option("--dry-run", is_flag=True, help="Only show what would be done; needs no --by and --reason.")
bootstrap_servers = click.option(
    "--bootstrap-servers",
    envvar="KAFKA_BOOTSTRAP_SERVERS",
    show_envvar=True,
    default="localhost:9092",
    callback=servers,
    help="Kafka brokers, HOST:PORT,...",
)
schema_subject = click.option(
    "--schema-subject",
    envvar="SCHEMA_SUBJECT",
    show_envvar=True,
    default=TOPIC_NAME,
    is_eager=True,
    expose_value=False,
    callback=subject,
    help="The registry's subjects of the events' schemas, as a template with {topic} and {record}.",
)


def _properties(name: str, given: Callable[..., Any], file: Callable[..., Any], *helps: str, kept: bool) -> _Options:
    """Return the options of properties, one by one and from a file; `helps`: the help of each.

    `kept`: the command is called with their values.
    """
    return (
        click.option(f"--{name}", metavar="K=V", multiple=True, expose_value=kept, callback=given, help=helps[0]),
        click.option(
            f"--{name}-file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            envvar=f"{name.upper().replace('-', '_')}_FILE",
            show_envvar=True,
            is_eager=True,
            expose_value=False,
            callback=file,
            help=helps[1],
        ),
    )


_REGISTRY_CONFIG = _properties(
    "schema-registry-config",
    registry_pairs,
    registry_file,
    "A property of the registry, e.g. basic.auth.user.info=file:PATH; may be repeated.",
    "Credentials and certificates for the registry, one name=value per line.",
    kept=False,
)
_SCHEMA_REGISTRY = (
    schema_subject,
    *_REGISTRY_CONFIG,
    click.option(
        "--schema-registry-url",
        envvar="SCHEMA_REGISTRY_URL",
        show_envvar=True,
        callback=url,
        help="Confluent-compatible registry for schema ids; without it the ids that ship with the code are used.",
    ),
)
_KAFKA_CONFIG = _properties(
    "kafka-config",
    pairs,
    config_file,
    "A librdkafka property for all clients; may be repeated. V may be file:PATH.",
    "librdkafka's properties, one name=value per line, # for comments; a value may be file:PATH. --kafka-config"
    " overrides it.",
    kept=True,
)


def _with(command: F, options: _Options) -> F:
    for option in options:
        command = option(command)
    return command


def registry_config() -> RegistryConfig:
    """Return how the running command reaches the registry."""
    context = click.get_current_context(silent=True)
    found: RegistryConfig = context.meta.get(REGISTRY_CONFIG, RegistryConfig()) if context else RegistryConfig()
    return found


def registry(url: str | None, events: Iterable[type[Event]]) -> Registry:
    """Return the running command's registry at this URL, or the ids that ship with the code."""
    return registry_at(url, events, registry_config())


def registry_options(command: F) -> F:
    """Add the options for access to a registry."""
    return _with(command, _REGISTRY_CONFIG)


def schema_registry_url(command: F) -> F:
    """Add the options of a registry: the command is called with `schema_registry_url`, including the subjects."""
    return _with(command, _SCHEMA_REGISTRY)


def kafka_config(command: F) -> F:
    """Add the options of librdkafka's properties: the command is called with `kafka_config`, from both."""
    return _with(command, _KAFKA_CONFIG)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")


def database_of(service: str) -> tuple[str, str]:
    """Return the environment variable for the URL of a service's database, and the default URL."""
    name = service.replace("-", "_")
    return f"{name.upper()}_DATABASE", f"sqlite:///{name}.db"


def database_option(service: str) -> Callable[[F], F]:
    """Return the --database option of a service: `<SERVICE>_DATABASE`, by default a SQLite file in this folder."""
    variable, default = database_of(service)
    return click.option(
        "--database",
        envvar=variable,
        show_envvar=True,
        default=default,
        callback=secret,
        help="sqlite:///FILE or postgresql://USER@HOST/NAME, or file:PATH of a file that contains it.",
    )


log_format = click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "console"]),
    default="auto",
    help="auto: JSON unless stderr is a terminal.",
)

_WORKER_OPTIONS = (
    click.option(
        "--delivery",
        type=click.Choice(["exactly-once", "at-least-once"]),
        default="exactly-once",
        help="at-least-once is for brokers without transactions: a crash may repeat events on the log, never effects.",
    ),
    click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /livez and /readyz here."),
    log_format,
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        help="info: a line per batch. debug: also transactions, and why partitions are recovered.",
    ),
    click.option(
        "--upgrade-database", is_flag=True, help="Apply the migration steps that the database lacks before starting."
    ),
    click.option("--remote-concurrency", type=click.IntRange(1, 1024), default=32, help="Concurrent remote calls."),
    click.option(
        "--dead-letter-limit",
        type=click.IntRange(1),
        default=100,
        help="Pause a partition at the next bad record after this many among its last 10,000 records.",
    ),
    click.option(
        "--keys-placed-over",
        type=click.IntRange(1),
        metavar="PARTITIONS",
        help="All producers place keys by murmur2, over this many partitions, or more since some were added:"
        " dead-letter a record in any other partition.  [default: handle it there]",
    ),
)


def _instance(service: str) -> Callable[[F], F]:
    return click.option(
        "--instance",
        envvar="SAGA_INSTANCE",
        show_envvar=True,
        shell_complete=complete_instances(service),
        callback=not_empty,
        help="This worker's stable name  [default: the host's name and the first free number]",
    )


def worker_options(service: str) -> _Options:
    """Return every option of a worker; `worker_config` takes their values."""
    connections = (bootstrap_servers, database_option(service), schema_registry_url, kafka_config)
    return (*connections, _instance(service), *_WORKER_OPTIONS)


def worker_config(options: dict[str, Any]) -> WorkerConfig:
    """Take the values of the worker's options out of a command's arguments."""
    names = WorkerConfig.__dataclass_fields__.keys() - {"registry_config"}
    return WorkerConfig(**{name: options.pop(name) for name in names}, registry_config=registry_config())


def declaration_command(service: type[Service[Any]], unmade: Collection[str] = ()) -> click.Command:
    """Return the `declaration` command of a service; `unmade` is why none can be made of its class."""

    def write() -> None:
        if found := [*unmade, *cannot_start(service)]:
            fail(f"{service.__name__} cannot start: {'; '.join(found)}")
        click.echo(declare(service).to_json(), nl=False)

    text = f"""Print the service's declaration as JSON: what it consumes, may publish, compensates and waits for.

    For `saga flow` and `saga verify`, if the services are not installed side by side.

    Example: {service.name} declaration > {service.name}.json
    """
    return click.command("declaration", help=inspect.cleandoc(text))(write)


def is_given(parameter: str) -> bool:
    """Return whether this option is on the command line; a default or the environment does not count."""
    return click.get_current_context().get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def print_json(value: Any) -> None:
    """Print a report for scripts: one JSON document on stdout."""
    click.echo(to_json(value, indent=2))


def fail(message: str, code: int = 1) -> NoReturn:
    """Print the error on stderr and exit."""
    message = scrub(message)
    click.echo(f"error: {visible(message) if sys.stderr.isatty() else message}", err=True)
    sys.exit(code)


@contextmanager
def scrubbed_usage() -> Iterator[None]:
    """Redact secrets in click's messages, which quote unexpected arguments."""
    try:
        yield
    except click.ClickException as error:
        error.message = scrub(error.message)  # type: ignore[misc]  # declared final, and what is shown
        raise


def group_saying(*facts: type[Exception]) -> type[click.Group]:
    """Return a click group that reports these, which are not bugs, in one line on stderr; exit code 1."""

    class ReportingGroup(CommandGroup):
        def invoke(self, ctx: click.Context) -> Any:
            try:
                with safe_stdout(), scrubbed_usage():
                    return super().invoke(ctx)
            except facts as error:
                fail(str(error))

    return ReportingGroup
