"""Workers that have to refuse to go on (code 3) after a mistake of an operator's, and what their logs say of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from tests.chaos.fleet import Fleet, Refusal, Worker

REFUSED = 3
PATIENCE_SECONDS = 120.0
"""Nobody can refuse while the brokers are away, and what the brokers are struck by is over by then."""
LOOK_SECONDS = 0.05


class Halt:
    """Workers that run when the mistake is made. Whoever uses it holds their locks."""

    def __init__(self, fleet: Fleet, workers: Iterable[Worker], kind: str, passing: Collection[int] = ()) -> None:
        """`passing`: codes that a worker may end with on the way; its supervisor starts it again, and it refuses."""
        self._fleet, self._kind, self._passing = fleet, kind, passing
        self._from = {worker: worker.log.stat().st_size for worker in workers}
        self._at = time.time()

    def wait(self) -> None:
        """Return when all have refused, and note how soon. Raises TimeoutError."""
        self._wait_for(self._from, self._fleet.refusals.append)

    def again(self, worker: Worker) -> None:
        """Start one that has refused: it has to refuse again. Raises TimeoutError."""
        self._at = time.time()
        worker.start()
        self._wait_for([worker], lambda _refusal: None)

    def said(self) -> str:
        """Return what all of them have written since."""
        return "\n".join(worker.said_since(size) for worker, size in self._from.items())

    def _wait_for(self, workers: Iterable[Worker], note: Callable[[Refusal], None]) -> None:
        left = set(workers)
        while left:
            for worker in [each for each in left if self._has_refused(each)]:
                note(Refusal(self._kind, worker.name, self._at, time.time() - self._at))
                left.remove(worker)
            if left and time.time() - self._at > PATIENCE_SECONDS:
                names = ", ".join(sorted(worker.name for worker in left))
                raise TimeoutError(f"{names} did not refuse within {PATIENCE_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)

    def _has_refused(self, worker: Worker) -> bool:
        code = worker.died()
        if code is None:
            return False
        if code == REFUSED:
            worker.wanted = False
            return True
        if code not in self._passing:
            self._fleet.note_death(worker, code)
        worker.start()
        return False
