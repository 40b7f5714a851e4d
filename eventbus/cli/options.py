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
from eventbus.deadletters.resolutions import BY_CHARACTERS, WHY_CHARACTERS
from eventbus.event import Event
from eventbus.manifest import declare
from eventbus.serde.registry import Registry, registry_at
from eventbus.serde.registry_config import RegistryConfig
from eventbus.serde.subjects import TOPIC_NAME
from eventbus.service import Service
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
    """How a worker runs: what the common options say, with the same defaults."""

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


def tests_of(names: Collection[str]) -> Callable[..., tuple[tuple[str, str], ...]]:
    """Return the callback of a --where option: each value is one of these names, and a text that is not empty."""

    def tests(
        _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
    ) -> tuple[tuple[str, str], ...]:
        pairs = []
        for value in values:
            name, _, text = value.partition("=")
            if name not in names or not text:
                raise click.BadParameter(f"{value!r} is none of {', '.join(f'{each}=TEXT' for each in names)}")
            pairs.append((name, text))
        return tuple(pairs)

    return tests


def _on_record(limit: int) -> Callable[[click.Context, click.Parameter, str | None], str]:
    """Return the callback of an option that must say something, shortly; with --dry-run it may say nothing."""

    def check(context: click.Context, parameter: click.Parameter, text: str | None) -> str:
        if text is None:
            if not context.params.get("dry_run"):
                raise click.MissingParameter(ctx=context, param=parameter)
            return ""
        if not text.strip() or len(text) > limit:
            raise click.BadParameter(f"say something, in at most {limit:,} characters (these are {len(text):,})")
        return text

    return check


by = click.option(
    "--by",
    envvar="SAGA_BY",
    show_envvar=True,
    callback=_on_record(BY_CHARACTERS),
    help="Who decides; needed, and stays on record.",
)
reason = click.option("--reason", callback=_on_record(WHY_CHARACTERS), help="Why; needed, and stays on record.")
dry_run = click.option("--dry-run", is_flag=True, help="Only show which it would be; needs no --by and --reason.")
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
    help="Under which subjects the registry has the events' schemas, made of {topic} and {record}.",
)


def _properties(name: str, given: Callable[..., Any], file: Callable[..., Any], *told: str, kept: bool) -> _Options:
    """Return the options of properties, one by one and from a file; `told`: the help of either.

    `kept`: the command is called with what they say.
    """
    return (
        click.option(f"--{name}", metavar="K=V", multiple=True, expose_value=kept, callback=given, help=told[0]),
        click.option(
            f"--{name}-file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            envvar=f"{name.upper().replace('-', '_')}_FILE",
            show_envvar=True,
            is_eager=True,
            expose_value=False,
            callback=file,
            help=told[1],
        ),
    )


_REGISTRY_CONFIG = _properties(
    "schema-registry-config",
    registry_pairs,
    registry_file,
    "A property of the registry, as basic.auth.user.info=file:PATH; may be repeated.",
    "Credentials and certificates for the registry, name=value one a line.",
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
    "librdkafka's properties, name=value one a line, # for comments; a value may be file:PATH. --kafka-config goes"
    " before it.",
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
    """Add the options that say how to get into a registry."""
    return _with(command, _REGISTRY_CONFIG)


def schema_registry_url(command: F) -> F:
    """Add the options of a registry: the command is called with `schema_registry_url`, subjects and all."""
    return _with(command, _SCHEMA_REGISTRY)


def kafka_config(command: F) -> F:
    """Add the options of librdkafka's properties: the command is called with `kafka_config`, from both."""
    return _with(command, _KAFKA_CONFIG)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")


def database_of(service: str) -> tuple[str, str]:
    """Return the environment variable that says where a service's database is, and where it is by default."""
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
        help="sqlite:///FILE or postgresql://USER@HOST/NAME, or file:PATH of a file that says it.",
    )


_WORKER_OPTIONS = (
    click.option(
        "--delivery",
        type=click.Choice(["exactly-once", "at-least-once"]),
        default="exactly-once",
        help="at-least-once is for brokers without transactions: a crash may repeat events on the log, never effects.",
    ),
    click.option(
        "--instance",
        envvar="SAGA_INSTANCE",
        show_envvar=True,
        help="This worker's stable name  [default: the host's name and the first free number]",
    ),
    click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /livez and /readyz here."),
    click.option(
        "--log-format",
        type=click.Choice(["auto", "json", "console"]),
        default="auto",
        help="auto: JSON unless stderr is a terminal.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        help="info: a line a batch. debug: transactions, and why partitions are recovered, too.",
    ),
    click.option(
        "--upgrade-database", is_flag=True, help="Apply the migration steps that the database lacks before starting."
    ),
    click.option("--remote-concurrency", type=click.IntRange(1, 1024), default=32, help="Remote calls at once."),
    click.option(
        "--dead-letter-limit",
        type=click.IntRange(1),
        default=100,
        help="Pause a partition at the next bad record after so many of them among its last 10,000.",
    ),
    click.option(
        "--keys-placed-over",
        type=click.IntRange(1),
        metavar="PARTITIONS",
        help="All writers place keys by murmur2, over so many partitions, or more since some were added: dead-letter a"
        " record that lies elsewhere.  [default: handle it where it lies]",
    ),
)


def worker_options(service: str) -> _Options:
    """Return every option of a worker; `worker_config` takes what they say."""
    return (bootstrap_servers, database_option(service), schema_registry_url, kafka_config, *_WORKER_OPTIONS)


def worker_config(options: dict[str, Any]) -> WorkerConfig:
    """Take what the worker's options say out of a command's arguments."""
    names = WorkerConfig.__dataclass_fields__.keys() - {"registry_config"}
    return WorkerConfig(**{name: options.pop(name) for name in names}, registry_config=registry_config())


def declaration_command(service: type[Service[Any]]) -> click.Command:
    """Return the `declaration` command of a service."""

    def write() -> None:
        click.echo(declare(service).to_json(), nl=False)

    told = f"""Print what the service declares: what it reacts to, may publish, undoes and waits for. As JSON.

    For `saga flow` and `saga verify`, where the services are not installed side by side.

    Example: {service.name} declaration > {service.name}.json
    """
    return click.command("declaration", help=inspect.cleandoc(told))(write)


def is_given(parameter: str) -> bool:
    """Return whether the user wrote this option of the running command; a default or the environment is not that."""
    return click.get_current_context().get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def print_json(value: Any) -> None:
    """Print a report for scripts: one JSON document on stdout."""
    click.echo(to_json(value, indent=2))


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong on stderr and exit."""
    message = scrub(message)
    click.echo(f"error: {visible(message) if sys.stderr.isatty() else message}", err=True)
    sys.exit(code)


@contextmanager
def scrubbed_usage() -> Iterator[None]:
    """Let click not say a secret: it quotes arguments that it does not expect."""
    try:
        yield
    except click.ClickException as error:
        error.message = scrub(error.message)  # type: ignore[misc]  # declared final, and what is shown
        raise


def group_saying(*facts: type[Exception]) -> type[click.Group]:
    """Return a click group that says these, which are no mistakes in the code, in one line on stderr; exit code 1."""

    class Saying(click.Group):
        def invoke(self, ctx: click.Context) -> Any:
            try:
                with safe_stdout(), scrubbed_usage():
                    return super().invoke(ctx)
            except facts as error:
                fail(str(error))

    return Saying
