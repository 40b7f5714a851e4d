"""Ending without a word where the person, or the reader of the pipe, has had enough."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

AGAIN_SECONDS = 0.05


@contextmanager
def exit_cleanly() -> Iterator[None]:
    """End the command with exit code 0 on Ctrl-C and when nobody reads stdout any more (`| head`)."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(0)
    except BrokenPipeError:
        # What is still buffered must go somewhere, or the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does; while it cleans up, let nothing disturb it.

    A signal may come in the middle of a finalizer. Python drops what is raised there and tells only the unraisable
    hook: it is raised again from there, a moment later.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    hook = sys.unraisablehook

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in numbers:
            signal.signal(each, lambda *_: None)
        raise SystemExit(128 + number)

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, SystemExit):
            hook(what)
            return
        code = what.exc_value.code

        def again(_number: int, _frame: FrameType | None) -> NoReturn:
            raise SystemExit(code)

        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)

    before = {number: signal.signal(number, stop) for number in numbers}
    before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
