"""The sources of a flow: installed services, declaration files, or the declarations that workers announced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import click

from eventbus.cli import options as cli
from eventbus.log import Record, to_iso
from eventbus.manifest import BadDeclaration, Declaration, read_declaration
from eventbus.service import Service
from eventbus.worker.announcement import TOPIC
from saga.flow.model import Flow
from saga.kafka.reader import Reader
from saga.kafka.target import KafkaTarget
from saga.services import installed_services

F = TypeVar("F", bound=Callable[..., Any])
POLL_SECONDS = 0.5


class Announced(NamedTuple):
    """A declaration that a worker published when it started; `at` in ms since 1970 UTC. The worker may have stopped."""

    service: str
    instance: str
    at: int
    declaration: Declaration


@dataclass(frozen=True, slots=True)
class FlowSource(KafkaTarget):
    """The flow; with the services' classes if they are installed, with the workers if it was announced."""

    flow: Flow
    services: tuple[type[Service[Any]], ...] = ()
    workers: tuple[Announced, ...] = ()


def from_files(paths: Iterable[Path]) -> Flow:
    """Read files that `<service> declaration` wrote. Raises BadDeclaration."""
    found: dict[str, Path] = {}
    declarations = []
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadDeclaration(f"{path}: {error.strerror}") from error
        declaration = read_declaration(content, str(path))
        if declaration.service in found:
            raise BadDeclaration(f"{path}: {declaration.service} is already declared in {found[declaration.service]}")
        found[declaration.service] = path
        declarations.append(declaration)
    return Flow(declarations)


def from_announcements(
    bootstrap_servers: str, kafka_config: Mapping[str, str], warn: Callable[[str], None]
) -> tuple[Announced, ...]:
    """Return the newest announcement of every worker; invalid records are reported to `warn` and skipped.

    Raises NoSuchTopic, ReadFailed, Unreachable.
    """
    newest: dict[bytes, Record] = {}
    with Reader(bootstrap_servers, [TOPIC], kafka_config=kafka_config) as reader:
        while not reader.at_end:
            newest.update({record.key or b"": record for record in reader.read(POLL_SECONDS)})
    workers = []
    for record in newest.values():
        try:
            workers += _announced(record)
        except BadDeclaration as why:
            warn(f"skipped: {why}")
    return tuple(sorted(workers))


def merged(workers: Iterable[Announced]) -> Flow:
    """Return the flow of the newest announcement of each service."""
    newest = {worker.service: worker.declaration for worker in sorted(workers, key=lambda worker: worker.at)}
    return Flow(newest.values())


def worker_lines(workers: Iterable[Announced]) -> list[str]:
    """Return the version that each worker announced, and when, one line per worker."""
    return [f"{w.service} {w.declaration.version}, worker {w.instance}, {to_iso(w.at)}" for w in workers]


def _announced(record: Record) -> list[Announced]:
    if record.value is None:
        return []
    declaration = read_declaration(record.value, record.address)
    service, _, instance = (record.key or b"").decode("utf-8", "replace").partition("/")
    if service != declaration.service or not instance.isprintable():
        raise BadDeclaration(f"{record.address}: its key is not {declaration.service}/INSTANCE")
    return [Announced(service, instance, record.timestamp_ms, declaration)]


def flow_options(command: F) -> F:
    """Add the options for the flow's source to a click command; it is called with `source=FlowSource(...)`."""

    @wraps(command)
    def with_source(
        files: tuple[Path, ...], announced: bool, bootstrap_servers: str, kafka_config: dict[str, str], **options: Any
    ) -> Any:
        if files and announced:
            raise click.UsageError("files and --announced cannot be combined")
        where = bootstrap_servers, kafka_config
        if announced:
            workers = from_announcements(*where, lambda why: click.echo(why, err=True))
            if not workers:
                cli.fail(f"{TOPIC} at {bootstrap_servers} has no declarations: workers publish them when they start")
            source = FlowSource(*where, merged(workers), workers=workers)
        elif files:
            source = FlowSource(*where, from_files(files))
        else:
            services = tuple(installed_services())
            source = FlowSource(*where, Flow.of(services), services)
        return command(source=source, **options)

    decorated: Any = with_source
    for option in (
        cli.kafka_config,
        cli.bootstrap_servers,
        click.option("--announced", is_flag=True, help=f"Read the declarations that workers published to {TOPIC}."),
        click.argument("files", nargs=-1, type=click.Path(path_type=Path)),
    ):
        decorated = option(decorated)
    return cast("F", decorated)
