"""Who makes remote calls: threads, tasks of an event loop, or the caller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from sys import maxsize
from typing import Any

from eventbus.engine.calls import ANSWERS, UNKNOWN_OUTCOME, Call, CallBatch, Pending
from eventbus.service import CallStyle


class RemoteCalls:
    """Makes calls as `style` says (see Service.call_style); at most `concurrency` are in progress at once."""

    def __init__(self, concurrency: int, style: CallStyle = "threads") -> None:
        self.concurrency = concurrency
        self._most = maxsize if style == "together" else concurrency
        self._start = _starter(style, self._most)

    def start(self, calls: Sequence[Call], at_most: int | None = None) -> Pending:
        """See Calls."""
        return self._start(calls, min(at_most or self._most, self._most, len(calls)))


def _starter(style: CallStyle, most: int) -> Callable[[Sequence[Call], int], Pending]:
    if style == "inline":
        return _made_inline
    return _Threads(most).start if style == "threads" else _Tasks(most).start


def _made_inline(calls: Sequence[Call], _workers: int) -> Pending:
    """Make the calls here, without the bookkeeping of concurrent ones up to the first unknown outcome."""
    results: list[Any] = []
    for call in calls:
        try:
            answer = call()
            if isinstance(answer, Coroutine):
                answer.close()
                answer = TypeError("the remote function is asynchronous, but its service says call_style inline")
            results.append(answer)
        except UNKNOWN_OUTCOME:
            break
        except Exception as error:  # noqa: BLE001 - an outcome like any other, handled by the engine
            results.append(error)
    batch = CallBatch(calls, 1, _block, deque(), results)
    _run(batch.work(_nothing))
    return batch


class _Threads:
    """Daemon threads: a call that hangs must not keep a worker from exiting.

    The worker that handles the event next repeats the call with the same idempotency key.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._batches: SimpleQueue[tuple[CallBatch, int]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._took = deque[float](maxlen=ANSWERS)

    def start(self, calls: Sequence[Call], workers: int) -> Pending:
        batch = CallBatch(calls, workers, _block, self._took)
        while len(self._threads) < min(self._concurrency, len(calls)):
            thread = threading.Thread(target=self._work, name=f"remote-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._batches.put((batch, workers - 1))
        return batch

    def _work(self) -> None:
        while True:
            batch, helpers = self._batches.get()
            _run(batch.work(partial(self._call_for_help, batch, helpers)))

    def _call_for_help(self, batch: CallBatch, helpers: int) -> None:
        """Wake the next thread: each wakes one, so that quick calls do not wake idle threads."""
        if helpers:
            self._batches.put((batch, helpers - 1))


class _Tasks:
    """Tasks of an event loop that runs on one daemon thread; one whose call hangs keeps its place."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._loop = asyncio.new_event_loop()
        self._waiting: deque[CallBatch] = deque()
        self._took = deque[float](maxlen=ANSWERS)
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
        self._thread = threading.Thread(target=self._serve, name="remote", daemon=True)

    def start(self, calls: Sequence[Call], workers: int) -> Pending:
        if not self._thread.ident:
            self._thread.start()
        batch = CallBatch(calls, workers, asyncio.sleep, self._took)
        self._loop.call_soon_threadsafe(self._begin, batch, workers)
        return batch

    def _serve(self) -> None:
        """Run the loop; SystemExit in a task that a call has made leaves it, and is the outcome of that call then."""
        while True:
            with suppress(BaseException):
                self._loop.run_forever()

    def _begin(self, batch: CallBatch, workers: int) -> None:
        self._waiting.extend(repeat(batch, workers))
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._tasks) < self._concurrency:
            task = self._loop.create_task(self._waiting.popleft().work(_nothing))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.remove(task)
        self._fill()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end what waits for nothing: there is no event loop on this thread."""
    with suppress(StopIteration):
        while True:
            work.send(None)


async def _block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - on a thread of its own


def _nothing() -> None:
    pass
