"""The three workers as processes of their own, started as a user starts them, and always stopped at the end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 12.0
"""A worker that is told to stop exits within 10 s; after this it is killed."""
SHOWN_LINES = 15
PR_SET_PDEATHSIG = 1
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
"""Looked up here: no library may be loaded between fork and exec."""
MODULES = {
    "order-service": "order_service",
    "payment-service": "payment_service",
    "inventory-service": "inventory_service",
}


class WorkerDied(RuntimeError):
    """A worker exited by itself; the message has the last lines of its log."""


class Workers:
    """A context manager: inside, one worker of each service runs; logs go to `folder`.

    `options` are passed to all of them, `more` to one, by the service's name.
    """

    def __init__(self, folder: Path, options: list[str], more: dict[str, list[str]]) -> None:
        self._folder, self._options, self._more = folder, options, more
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            for service in MODULES:
                self._start(service)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def check(self) -> None:
        """Raise WorkerDied if one of them has exited."""
        for service, process in self._running.items():
            if process.poll() is not None:
                raise WorkerDied(f"the worker of {service} exited with code {process.returncode}:\n{self.log(service)}")

    def said(self, event: str) -> bool:
        """Whether every worker's log has this event."""
        return all(f'"{event}"' in self._log_file(service).read_text(errors="replace") for service in self._running)

    def log(self, service: str) -> str:
        """Return the last lines of a worker's log."""
        lines = self._log_file(service).read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-SHOWN_LINES:] or ["(its log is empty)"])

    def stop(self) -> None:
        """Tell all to stop, and kill those that do not."""
        until = time.monotonic() + STOP_SECONDS
        try:
            for process in self._running.values():
                process.terminate()
            for process in self._running.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, until - time.monotonic()))
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()
            self._running.clear()

    def _start(self, service: str) -> None:
        database = ["--database", f"sqlite:///{self._folder}/{MODULES[service]}.db"]
        command = [
            sys.executable,
            "-m",
            MODULES[service],
            "run",
            *database,
            *self._options,
            *self._more.get(service, []),
        ]
        with self._log_file(service).open("wb") as log:
            self._running[service] = subprocess.Popen(  # noqa: S603 - our own modules
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=without_settings(),
                start_new_session=True,
                preexec_fn=end_with_the_demo,  # noqa: PLW1509 - no thread of ours holds a lock that it needs
            )

    def _log_file(self, service: str) -> Path:
        return self._folder / f"{service}.log"


def end_with_the_demo() -> None:
    """In a new process: ask for a signal when the demo exits, even if it was killed. Linux only (prctl(2))."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)


def without_settings() -> dict[str, str]:
    """Return this process's environment without the saga's settings, which could point to a production system."""
    ours = ("KAFKA_", "SCHEMA_REGISTRY_", "ORDER_SERVICE_", "PAYMENT_", "INVENTORY_SERVICE_", "SAGA_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
