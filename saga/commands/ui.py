"""`saga ui`."""

from __future__ import annotations

import ipaddress
import signal
from pathlib import Path
from typing import Any

import click

from eventbus.cli import options as cli
from saga.check.database_options import database_options, declared_databases
from saga.commands.exits import exit_cleanly
from saga.commands.tracker_option import tracker
from saga.deadletters.letters import LetterTarget
from saga.declared import with_declared
from saga.kafka.decode import Decoder
from saga.services import SERVICES
from saga.tracker.console import log_to_stderr
from saga.tracker.installed import FLOW
from saga.tracker.source import TrackedLog
from saga.ui.following import Following
from saga.ui.health import WorkersQuery
from saga.ui.trouble import TroubleReport
from schemas import EVENTS

LEAST_TOKEN = 16
"""The least number of characters: a shorter token can be guessed."""


@click.command("ui", context_settings=cli.CONTEXT)
@tracker
@cli.bootstrap_servers
@cli.kafka_config
@cli.schema_registry_url
@database_options("its parked orders are shown")
@click.option("--no-track", is_flag=True, help="Only read the database that `saga track` writes elsewhere.")
@click.option("--host", default="127.0.0.1", help="The address to listen on; any but a loopback address needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, help="The port; 0 means any free one.")
@cli.log_format
@click.option(
    "--token",
    envvar="SAGA_UI_TOKEN",
    show_envvar=True,
    help=f"The secret that opens the page; {LEAST_TOKEN} characters or more.",
)
def ui_command(tracker: Path, *, no_track: bool, host: str, port: int, token: str | None, **options: Any) -> None:
    """Serve a live web page of orders, the flow and problems, until Ctrl-C.

    It follows the log as `saga track` does, in the same process, and only reads. Only this machine can open the page;
    with --host others can, with the token (a form asks for it; scripts send `Authorization: Bearer TOKEN`).

    Example: SAGA_UI_TOKEN=correct-horse-battery saga ui --host 0.0.0.0 --no-track
    """
    # Imported here, so that no other command waits for starlette and uvicorn to be loaded.
    from saga.ui.app import PageData  # noqa: PLC0415
    from saga.ui.serve import serve  # noqa: PLC0415

    check_token(host, token)
    log_to_stderr(options["log_format"])
    where = LetterTarget(options["bootstrap_servers"], options["kafka_config"])
    registry = cli.registry(options["schema_registry_url"], EVENTS)
    source = TrackedLog(where.bootstrap_servers, where.kafka_config, registry)
    own = {s.name: options[s.name.replace("-service", "_database")] for s in SERVICES}
    databases = own | declared_databases()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server stops on it, then raises it once more
    with exit_cleanly(), Following(source, None if no_track else tracker) as following:
        trouble = TroubleReport(where, databases, Decoder(with_declared(registry)))
        workers = WorkersQuery(databases)
        answers = PageData(tracker, FLOW, following, trouble.report, workers.report)
        serve(answers, token, host, port)


def check_token(host: str, token: str | None) -> None:
    """Raise click.UsageError if other machines can reach the page without a token, or with one that can be guessed."""
    if token is None and not is_loopback(host):
        raise click.UsageError(f"--host {host} can be reached by other machines: set --token or SAGA_UI_TOKEN")
    if token is not None and len(token) < LEAST_TOKEN:
        raise click.UsageError(f"--token has {len(token)} characters: it must have at least {LEAST_TOKEN}")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
