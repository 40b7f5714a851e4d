"""Workers under a supervisor, as in production: who ends by himself is started again at once, under the same name."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.support.saga import SERVICES, Saga
from tests.support.saga.processes import Worker

LOOK_SECONDS = 0.2


class Supervised:
    """A context manager: inside, workers of these names run for each service.

    `codes`: the exit codes of those that ended by themselves.
    """

    def __init__(self, saga: Saga, names: Iterable[str], *arguments: str) -> None:
        self.codes: list[int] = []
        self._saga, self._arguments = saga, arguments
        self._running: dict[tuple[str, str], Worker] = {}
        self._places = [(module, name) for module in SERVICES for name in names]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        for place in self._places:
            self._start(place)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    @property
    def ready(self) -> bool:
        """Whether every worker runs and has partitions that it works on."""
        return all(worker.running and worker.ready for worker in list(self._running.values()))

    def terminate(self) -> list[int]:
        """End all in good order, and return their exit codes."""
        self._over.set()
        self._thread.join()
        return [worker.terminate() for worker in self._running.values()]

    def _start(self, place: tuple[str, str]) -> None:
        module, name = place
        self._running[place] = self._saga.start(module, *self._arguments, instance=name)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for place, worker in list(self._running.items()):
                if not worker.running:
                    self.codes.append(worker.wait())
                    self._start(place)
