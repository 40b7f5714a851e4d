"""Exiting without a message on Ctrl-C, signals and closed pipes."""

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
    """End the command with exit code 0 on Ctrl-C and when stdout is closed (`| head`)."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(0)
    except BrokenPipeError:
        # Redirect what is still buffered, or the interpreter reports an error when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does; ignore them while it cleans up.

    A signal may arrive in the middle of a finalizer. Python drops an exception that is raised there and only calls the
    unraisable hook: the hook raises it again a moment later.
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
