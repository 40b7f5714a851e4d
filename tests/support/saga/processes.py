"""Commands and workers as processes of their own, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import free_port

OURS = ("KAFKA_", "SCHEMA_REGISTRY_", "ORDER_", "PAYMENT_", "INVENTORY_", "SAGA_")
PATIENCE = 150.0
"""Seconds: how long anything may take before a test fails. It bounds a failure and promises nothing: those who wait for
a condition go on as soon as it holds, and a slow machine is no failure."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without any setting of the saga's, and with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return inherited | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | settings


def saga_environment(folder: Path, bootstrap_servers: str, **more: str) -> dict[str, str]:
    """Return settings for all three services, with SQLite files in `folder`."""
    return (
        environment(
            KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers,
            ORDER_SERVICE_DATABASE=f"sqlite:///{folder}/order-service.db",
            PAYMENT_SERVICE_DATABASE=f"sqlite:///{folder}/payment-service.db",
            INVENTORY_SERVICE_DATABASE=f"sqlite:///{folder}/inventory-service.db",
            PAYMENT_GATEWAY=f"simulated:///{folder}/provider.db",
        )
        | more
    )


def command(
    module: str, *arguments: str, env: Mapping[str, str], folder: Path, stdin: str = "", seconds: float = PATIENCE
) -> Done:
    """Run `python -m module arguments` to its end; raises TimeoutExpired."""
    run = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        run, env=env, cwd=folder, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Worker:
    """`python -m order_service run …`: its log in a file, its health on a port of its own."""

    def __init__(
        self, module: str, *arguments: str, env: Mapping[str, str], folder: Path, inside: tuple[str, ...] = ()
    ) -> None:
        """`inside`: a command that runs it elsewhere, in a namespace of its own, say."""
        self.name = f"{module}-{free_port()}"
        self._port = free_port()
        self._log = folder / f"{self.name}.log"
        run = [
            *inside,
            sys.executable,
            "-m",
            module,
            "run",
            "--log-format",
            "json",
            "--metrics-port",
            str(self._port),
            *arguments,
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                run, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it says that it has partitions to work on."""
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    @property
    def calls(self) -> int:
        """How many threads it has for remote calls, counted as the kernel knows them: they begin with the first call.

        Not librdkafka's, which name themselves, and not the five that every worker has: loop, signals, health,
        watchdog, lease. One that answers somebody who asks for its health counts, too: meanwhile nobody may ask.
        """
        ours = 0
        for task in Path(f"/proc/{self.pid}/task").glob("*/comm"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                ours += not task.read_text().startswith("rdk:")
        return ours - 5

    @property
    def peak_mb(self) -> float:
        """The greatest resident set that it ever had, in MB, as the kernel keeps it (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        [kilobytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return round(int(kilobytes) * 1024 / 1e6, 1)

    def get(self, path: str) -> tuple[int, str]:
        """Ask its HTTP server for `/livez`, `/readyz` or `/metrics`; raises OSError when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels; raises LookupError when there is none."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples]
        found = [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]
        if not found:
            raise LookupError(f"{self.name} has no metric {name} {labels}")
        return sum(found)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of its log that tell of this event."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def wait_ready(self, seconds: float = PATIENCE) -> None:
        """Return when it has partitions to work on."""
        self._until(lambda: self.ready, "was not ready", seconds)

    def wait_for(self, text: str, seconds: float = PATIENCE) -> None:
        """Return when its log contains `text`."""
        self._until(lambda: text in self.log, f"did not log {text!r}", seconds)

    def terminate(self, seconds: float = PATIENCE) -> int:
        """Ask it to end (SIGTERM), and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return its exit code once it has ended; raises TimeoutExpired."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it without any warning (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it stand still (SIGSTOP), like a paused virtual machine."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def _until(self, so: Callable[[], bool], otherwise: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not so():
            if not self.running:
                raise ChildProcessError(f"{self.name} {otherwise}: it ended with code {self._process.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} {otherwise} within {seconds:.0f} s")
            time.sleep(0.05)


class Workers:
    """The workers of one test: started with its settings, ended with it whatever happens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: list[Worker] = []

    def start(self, module: str, *arguments: str, env: Mapping[str, str], inside: tuple[str, ...] = ()) -> Worker:
        """Start one; it is not ready yet."""
        worker = Worker(module, *arguments, env=env, folder=self._folder, inside=inside)
        self._all.append(worker)
        return worker

    def kill_all(self) -> None:
        """End every worker that still runs, and forget them."""
        while self._all:
            self._all.pop().kill()

    def logs(self, lines: int = 40) -> list[tuple[str, str]]:
        """Return the name and the end of the log of every worker, for reports on failed tests."""
        return [(worker.name, "\n".join(worker.log.splitlines()[-lines:])) for worker in self._all]
