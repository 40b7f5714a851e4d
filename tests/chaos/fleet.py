"""The workers as processes of their own: started as users start them, killed, stopped, and watched."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from eventbus.worker.watchdog import EXIT_CODE
from saga.demo.workers import MODULES, without_settings
from tests.chaos.timeline import EVER, NUMBERS

ROOT = Path(__file__).parents[2]
"""Where the source is, and tests.chaos itself."""
EXIT_SECONDS = 20.0
"""Then a worker that was told to end is killed. It ends itself within 10 s."""
START_SECONDS = 120.0
SHOWN_LINES = 5
MADE_FOR = frozenset({EXIT_CODE})
"""Exit codes with which a worker ends itself so that its supervisor starts it again."""


class Exit(NamedTuple):
    """How a worker ended that was told to: how soon, and with which code (None: it had to be killed)."""

    worker: str
    at: float
    seconds: float
    code: int | None


class Death(NamedTuple):
    """A worker that ended by itself, with which code, and the end of its log. It was started again at once."""

    worker: str
    at: float
    code: int
    said: str

    def __str__(self) -> str:
        return f"{self.worker} ended by itself with exit code {self.code}: {self.said}"


class Refusal(NamedTuple):
    """A worker that refused to go on (code 3), as it had to: after which kind of fault, and how soon it had ended."""

    kind: str
    worker: str
    at: float
    seconds: float


class Worker:
    """One worker of a service. Whoever does something to it holds its lock for as long as the fault lasts."""

    def __init__(self, name: str, log: Path, command: Callable[[str], list[str]], source: Path = ROOT) -> None:
        """`source`: where the code is that it runs."""
        self.name, self.log, self.lock = name, log, threading.RLock()
        self.clock = log.with_suffix(".clock")
        """By how many seconds its wall clock is off; see `shifted`."""
        self.wanted = False
        self._command, self._source = command, source
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not ready yet."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(self.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._source,
                env=without_settings() | {"PYTHONPATH": f"{self._source}{os.pathsep}{ROOT}"},
                start_new_session=True,
            )
        self.wanted = True

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it without any warning (SIGKILL)."""
        self.wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> Exit:
        """Ask it to end (SIGTERM), and wait until it has."""
        self.wanted = False
        at, code = time.time(), None
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(EXIT_SECONDS)
        ended = Exit(self.name, at, time.time() - at, code)
        self.kill()
        return ended

    def said_since(self, size: int) -> str:
        """Return what its log holds beyond so many bytes."""
        with self.log.open("rb") as log:
            log.seek(size)
            return log.read().decode(errors="replace")

    def died(self) -> int | None:
        """Return the exit code of a worker that ended although nobody wanted it to."""
        return self._process.poll() if self.wanted and self._process is not None else None


class Fleet:
    """All workers. A context manager: inside, two of each service run, from the code in `source`."""

    def __init__(self, folder: Path, command: Callable[[str], list[str]], source: Path = ROOT) -> None:
        self.exits: list[Exit] = []
        self.deaths: list[Death] = []
        self.refusals: list[Refusal] = []
        names = [f"{service}/{number}" for service in MODULES for number in EVER]
        self._workers = {n: Worker(n, folder / f"{n.replace('/', '-')}.log", command, source) for n in names}

    def __enter__(self) -> Self:
        try:
            for service in MODULES:
                for number in NUMBERS:
                    self.worker(service, number).start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @property
    def logs(self) -> dict[str, Path]:
        """The log file of each worker that was ever started, by its name."""
        return {worker.name: worker.log for worker in self._workers.values() if worker.log.exists()}

    def named(self, name: str) -> Worker:
        """Return one worker by its name: `payment-service/1`."""
        return self._workers[name]

    def worker(self, service: str, number: int) -> Worker:
        """Return one worker of a service."""
        return self._workers[f"{service}/{number}"]

    def terminate(self, worker: Worker) -> None:
        """End a worker, and note how long that took."""
        self.exits.append(worker.terminate())

    def wait_until_ready(self) -> None:
        """Return when every worker that runs has read its partitions' state. Raises TimeoutError."""
        until = time.monotonic() + START_SECONDS
        running = [worker for worker in self._workers.values() if worker.wanted]
        while not all(b'"worker.ready"' in worker.log.read_bytes() for worker in running):
            if time.monotonic() > until:
                folder = running[0].log.parent
                raise TimeoutError(f"not every worker had partitions within {START_SECONDS:.0f} s; see {folder}")
            self.mind()
            time.sleep(0.1)

    def mind(self) -> None:
        """Note which workers died by themselves, and start them again, as an orchestrator would."""
        for worker in self._workers.values():
            if not worker.lock.acquire(blocking=False):
                continue
            try:
                if (code := worker.died()) is not None:
                    self.note_death(worker, code)
                    worker.start()
            finally:
                worker.lock.release()

    def note_death(self, worker: Worker, code: int) -> None:
        """Note that a worker has ended by itself."""
        said = worker.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        self.deaths.append(Death(worker.name, time.time(), code, " | ".join(said)))

    def watch_work(self) -> Callable[[], bool]:
        """Return what tells whether every worker that runs has committed a batch since now."""
        sizes = {worker: worker.log.stat().st_size for worker in self._running()}
        return lambda: all('"batch.handled"' in worker.said_since(size) for worker, size in sizes.items())

    def stop(self) -> None:
        """End all workers in good order."""
        for worker in self._running():
            worker.signal(signal.SIGTERM)
        for worker in self._running():
            worker.terminate()

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self._workers.values():
            worker.kill()

    def _running(self) -> Iterable[Worker]:
        return [worker for worker in self._workers.values() if worker.wanted]


def supervised(death: Death) -> bool:
    """Return whether a worker may end like this: it is made for it, and its supervisor starts it again."""
    return death.code in MADE_FOR
