"""Signals that stop a worker process."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable

import click

GRACE_SECONDS = 9.0


class Signals:
    """SIGTERM and SIGINT: the first stops the worker, the second ends it at once, even inside a blocking call.

    If stopping takes more than GRACE_SECONDS, a thread ends the process; nothing is lost by that either.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        """`stop` is called from the signal handler."""
        self._stop = stop
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._first)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()

    def _first(self, _number: int, _frame: object) -> None:
        self._stop()

    @staticmethod
    def _watch(reader: socket.socket) -> None:
        """Receive signals as they arrive, whatever the main thread is doing."""
        reader.recv(1)
        reader.settimeout(GRACE_SECONDS)
        try:
            number = reader.recv(1)[0]
            os._exit(128 + number)
        except TimeoutError:
            click.echo(f"stopping took longer than {GRACE_SECONDS:g} s and was cut short: nothing is lost", err=True)
            os._exit(0)
