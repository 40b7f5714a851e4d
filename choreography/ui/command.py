"""`saga ui`."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import uvicorn

from choreography.check.command import SERVICES
from choreography.deadletters.letters import Where
from choreography.quiet import ends_quietly
from choreography.track.command import Source
from choreography.track.common import FLOW, tracker
from choreography.ui.access import LEAST_TOKEN, is_loopback
from choreography.ui.app import Answers, application
from choreography.ui.following import Following
from choreography.ui.trouble import Trouble
from eventbus import cli
from eventbus.registry import registry_at
from eventbus.telemetry import configure_logging
from schemas import EVENTS

F = TypeVar("F", bound=Callable[..., Any])
STOP_SECONDS = 1


def _database(service: str) -> Callable[[F], F]:
    variable, default = cli.database_of(service)
    return click.option(
        f"--{service.removesuffix('-service')}-database",
        envvar=variable,
        show_envvar=True,
        default=default,
        help=f"Of {service}: its parked orders are shown.",
    )


@click.command("ui", context_settings=cli.CONTEXT)
@tracker
@cli.bootstrap_servers
@cli.kafka_config
@cli.schema_registry_url
@_database("order-service")
@_database("payment-service")
@_database("inventory-service")
@click.option("--no-track", is_flag=True, help="Follow nothing: `saga track` runs elsewhere, and this only reads.")
@click.option("--host", default="127.0.0.1", help="The address to listen on; others than this machine's need a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, help="The port; 0 is any free one.")
@click.option(
    "--token",
    envvar="SAGA_UI_TOKEN",
    show_envvar=True,
    help=f"Who wants to see the page must know it; {LEAST_TOKEN} characters or more.",
)
def ui_command(tracker: Path, *, no_track: bool, host: str, port: int, token: str | None, **options: Any) -> None:
    """Show orders, the flow and what went wrong as a page in a browser, live, until Ctrl-C.

    It follows the log as `saga track` does, in the same process, and only reads. The page is for this machine alone;
    with --host for others, who must know the token (a form asks for it; scripts send `Authorization: Bearer TOKEN`).

    Example: SAGA_UI_TOKEN=correct-horse-battery saga ui --host 0.0.0.0 --no-track
    """
    check_token(host, token)
    configure_logging("auto", "info")
    where = Where(options["bootstrap_servers"], options["kafka_config"])
    registry = registry_at(options["schema_registry_url"], EVENTS)
    source = Source(where.bootstrap_servers, where.kafka_config, registry)
    databases = {s.name: options[s.name.replace("-service", "_database")] for s in SERVICES}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server stops at it, then raises it once more
    with ends_quietly(), Following(source, None if no_track else tracker) as following:
        answers = Answers(tracker, FLOW, following, Trouble(where, databases).report)
        with listen(host, port) as listener:
            click.echo(f"The page is at {address(listener)} until Ctrl-C.")
            server(answers, token).run(sockets=[listener])


def check_token(host: str, token: str | None) -> None:
    """Raise click.UsageError where others could reach the page without a token, or with one that can be guessed."""
    if token is None and not is_loopback(host):
        raise click.UsageError(
            f"--host {host} can be reached by others: give --token or SAGA_UI_TOKEN, which they must know"
        )
    if token is not None and len(token) < LEAST_TOKEN:
        raise click.UsageError(f"--token has {len(token)} characters: give at least {LEAST_TOKEN}")


def listen(host: str, port: int) -> socket.socket:
    """Return the socket that the page is served at. Exits where that is not possible."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        cli.fail(f"the page cannot be at {host}, port {port}: {error.strerror}; see --host and --port")


def address(listener: socket.socket) -> str:
    """Return where a browser finds the page."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def server(answers: Answers, token: str | None) -> uvicorn.Server:
    """Return what serves the page; it is not started."""
    app = application(answers, token)
    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
    return uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=STOP_SECONDS, **options))
