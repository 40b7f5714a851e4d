"""`saga dev`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from watchfiles import DefaultFilter, watch

from eventbus.cli import options as cli
from eventbus.cli.connection_options import servers
from eventbus.text.secret_files import write_properties
from saga.commands.exits import exit_cleanly, stoppable
from saga.demo.place import PARTITIONS
from saga.demo.workers import MODULES, without_settings
from saga.dev.broker import DevBroker, NoDevBroker, the_broker
from saga.dev.children import Children, Program
from saga.kafka.topics import BROKERS_DEFAULT, FAILED, create
from saga.kafka.topics_file import read_topics

COLORS = {"order-service": "cyan", "payment-service": "yellow", "inventory-service": "magenta", "page": "blue"}
LOOK_MS = 300
"""How often it looks whether a process has ended."""
DEBOUNCE_MS = 400
"""Files that are saved together are one change."""
CTRL_C = 128 + signal.SIGINT
"""The exit code that `stoppable` gives it."""
SHARED = ("eventbus", "schemas")
SOURCES = (".py", ".avsc", ".json", ".sql", ".html", ".js", ".css")


@click.command("dev", context_settings=cli.CONTEXT)
@click.option(
    "--bootstrap-servers",
    envvar="KAFKA_BOOTSTRAP_SERVERS",
    show_envvar=True,
    callback=servers,
    help="A running Kafka.  [default: one is started: in Docker, else the embedded broker]",
)
@cli.kafka_config
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    show_default="as many as the topics have that exist, else 4",
    help="Partitions of topics that are missing.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8642, help="The page's port; 0 means any free one.")
def dev_command(bootstrap_servers: str | None, kafka_config: dict[str, str], partitions: int | None, port: int) -> None:
    """Run everything in one terminal: a broker, the three workers, the tracker with the page; until Ctrl-C.

    A worker is restarted when its source changes, or the source of what it uses. One that ends is reported, and
    started again after the next change.

    Without --bootstrap-servers it starts a broker of its own and says which; what that broker and the databases hold
    is removed at the end, and the environment's settings are not used. With it, they are: databases, gateway, tracker;
    topics that are missing are created, existing ones are used as they are.

    Example: saga dev
    """
    try:
        with exit_cleanly(), stoppable():
            _dev(bootstrap_servers, kafka_config, partitions, port)
    except SystemExit as ended:  # Ctrl-C is how it ends
        sys.exit(0 if ended.code == CTRL_C else ended.code)


def _dev(bootstrap_servers: str | None, kafka_config: dict[str, str], partitions: int | None, port: int) -> None:
    say, tell = _printers()
    with ExitStack() as stack:
        tell("starting ...")
        try:
            broker = stack.enter_context(the_broker(bootstrap_servers, kafka_config))
        except NoDevBroker as error:
            cli.fail(str(error))
        env = stack.enter_context(_environment(broker, tell))
        _prepare(broker, env, partitions)
        tell(f"the broker is {broker.said}")
        programs = list(_programs(broker, port))
        children = stack.enter_context(Children(programs, env, say, tell))
        stack.callback(tell, "stopping: the workers, the page, and the broker if it was started here")
        _follow(children, programs)


def _follow(children: Children, programs: list[Program]) -> None:
    """Restart what changes, until an exception ends it."""
    folders = sorted({folder for program in programs for folder in program.sources})
    for changes in watch(
        *folders,
        watch_filter=lambda change, path: DefaultFilter()(change, path) and path.endswith(SOURCES),
        debounce=DEBOUNCE_MS,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
    ):
        children.look()
        if changes:
            children.changed(Path(path) for _, path in changes)


def _printers() -> tuple[Callable[[str, str], None], Callable[[str], None]]:
    """Return what prints a process's line, and what prints a line of this command; each line whole, by its color."""
    lock, width = threading.Lock(), max(map(len, COLORS))

    def say(name: str, line: str) -> None:
        color = COLORS.get(name) if "NO_COLOR" not in os.environ else None
        with lock:
            click.echo(click.style(f"{name:{width}} | ", fg=color) + line)

    def tell(line: str) -> None:
        with lock:
            click.secho(f"{'saga dev':{width}} | {line}", bold="NO_COLOR" not in os.environ or None)

    return say, tell


@contextmanager
def _environment(broker: DevBroker, tell: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Yield the environment of the processes; with a broker of its own, all of it is in a folder for this run."""
    with tempfile.TemporaryDirectory(prefix="saga-dev-") as folder:
        common = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "PYTHONUNBUFFERED": "1"}
        for option in write_properties(Path(folder), broker.kafka_config)[1:]:  # secrets are not for process lists
            common["KAFKA_CONFIG_FILE"] = option
        if not broker.own:
            yield dict(os.environ) | common
            return
        databases = {cli.database_of(name)[0]: f"sqlite:///{folder}/{name}.db" for name in MODULES}
        gateway = f"simulated:///{folder}/provider.db?decline-above=20000"
        settings = {**common, **databases, "PAYMENT_GATEWAY": gateway, "SAGA_TRACKER": f"{folder}/tracker.db"}
        file = Path(folder) / "env"
        file.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()))
        tell(f"for commands in another terminal:  . {file}")
        tell("then, for example:  order-service place --customer 42 --total 29.33 --item CD-04=2 --wait 10")
        yield without_settings() | settings


def _prepare(broker: DevBroker, env: dict[str, str], partitions: int | None) -> None:
    """Create the topics that are missing; with a broker of its own, put something on the shelf."""
    if broker.creates_topics:
        _create_topics(broker, partitions)
    if broker.own:
        _run("inventory_service", ["stock", "set", "CD-04", "100"], env)


def _create_topics(broker: DevBroker, partitions: int | None) -> None:
    """Create the topics that are missing; those that exist may have been created by somebody who knows better."""
    cluster, wanted = broker.cluster(), read_topics()
    there = cluster.partitions()
    most = max((len(there.get(topic.name, ())) for topic in wanted if topic.partitions is None), default=0)
    missing = [topic for topic in wanted if topic.name not in there]
    outcomes = create(cluster, missing, partitions or most or PARTITIONS, BROKERS_DEFAULT)
    if failed := [f"{each.topic} ({each.detail})" for each in outcomes if each.status == FAILED]:
        cli.fail(
            f"these topics are missing at {broker.bootstrap_servers} and could not be created: {', '.join(failed)}."
            " Create them, or use a broker of its own: without --bootstrap-servers and KAFKA_BOOTSTRAP_SERVERS"
        )


def _run(module: str, arguments: list[str], env: dict[str, str]) -> None:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - our own modules
    if done.returncode != 0:
        cli.fail((done.stderr or done.stdout).strip().removeprefix("error: "))


def _programs(broker: DevBroker, port: int) -> Iterator[Program]:
    """Yield what is run, in the order in which it is ended."""
    for name, module in MODULES.items():
        arguments = ("run", "--log-format", "console", "--delivery", broker.delivery)
        yield Program(name, module, arguments, tuple(_folder(each) for each in (module, *SHARED)))
    sources = tuple(_folder(each) for each in ("saga", *MODULES.values(), *SHARED))
    yield Program("page", "saga", ("ui", "--port", str(port), "--log-format", "console"), sources)


def _folder(package: str) -> Path:
    spec: Any = find_spec(package)
    return Path(spec.origin).parent
