"""Serving the page: imported by `saga ui` only, so that no other command waits for the import of a web server."""

from __future__ import annotations

import socket
from typing import Any

import click
import uvicorn

from eventbus.cli import options as cli
from saga.ui.app import PageData, application

STOP_SECONDS = 1


def serve(answers: PageData, token: str | None, host: str, port: int) -> None:
    """Serve the page until Ctrl-C, and print its address. Exits if it cannot listen there."""
    app = application(answers, token)
    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
    with _listen(host, port) as listener:
        click.echo(f"The page is at {_address(listener)} until Ctrl-C.")
        uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=STOP_SECONDS, **options)).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        cli.fail(f"cannot listen on {host}, port {port}: {error.strerror}; see --host and --port")


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
