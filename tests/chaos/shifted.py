"""`python -m tests.chaos.shifted FILE MODULE …`: a service's own command on a wall clock that can jump.

FILE holds by how many seconds `time.time()` and `time.time_ns()` are off; without it they are right. It is read at each
call, so the clock jumps while the worker lives. The monotonic clock stays right, as the kernel's does when somebody
sets the time. What does not ask Python (librdkafka, SQLite, the timestamps of the log) is not shifted.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path

NANOSECONDS = 1_000_000_000


def shift(file: Path) -> None:
    """Let the wall clock of this process be off by what the file says."""
    true_time, true_time_ns = time.time, time.time_ns
    seconds = _seconds(file)
    time.time = lambda: true_time() + seconds()
    time.time_ns = lambda: true_time_ns() + seconds() * NANOSECONDS


def set_clock(file: Path, seconds: int) -> None:
    """Let the clocks that follow this file jump, all at once."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds), encoding="ascii")
    new.replace(file)


def _seconds(file: Path) -> Callable[[], int]:
    def read() -> int:
        try:
            return int(file.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0

    return read


def main() -> None:
    """Shift the clock, then run the command with what is left of the arguments."""
    file, module = sys.argv[1:3]
    shift(Path(file))
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
