"""The processes of `saga dev`: their output in one terminal, restarted when their sources change."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from saga.demo.workers import STOP_SECONDS, end_with_the_demo

Say = Callable[[str, str], None]
"""Prints a line of a process, by the process's name."""


@dataclass(frozen=True, slots=True)
class Program:
    """A process that is kept running: `python -m module arguments`; `sources` are the folders that it is made of."""

    name: str
    module: str
    arguments: tuple[str, ...]
    sources: tuple[Path, ...]

    def is_made_of(self, paths: Iterable[Path]) -> bool:
        """Return whether one of these files is a source of it."""
        return any(path.is_relative_to(folder) for path in paths for folder in self.sources)


class Child:
    """A program's process, and the thread that prints what it says."""

    def __init__(self, program: Program, env: Mapping[str, str], say: Say) -> None:
        """Start it in a session of its own: Ctrl-C in the terminal reaches only the one who ends them in order."""
        self.program = program
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", program.module, *program.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=end_with_the_demo,  # noqa: PLW1509 - no thread of ours holds a lock that it needs
        )
        self._printer = threading.Thread(target=self._print, args=(say,), daemon=True)
        self._printer.start()

    def _print(self, say: Say) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            say(self.program.name, line.rstrip("\n"))

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Send it SIGTERM."""
        self._process.terminate()

    def end(self, until: float) -> None:
        """Wait for it until a time (monotonic), then kill it; return when all that it said is printed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.1, until - time.monotonic()))
        self._process.kill()
        self._process.wait()
        self._printer.join(1.0)


class Children:
    """A context manager: inside, every program runs; at the end they are stopped in the order of the programs."""

    def __init__(
        self, programs: Iterable[Program], env: Mapping[str, str], say: Say, tell: Callable[[str], None]
    ) -> None:
        """`tell` prints what happens to them."""
        self._programs, self._env, self._say, self._tell = tuple(programs), dict(env), say, tell
        self._running: dict[str, Child] = {}

    def __enter__(self) -> Self:
        try:
            for program in self._programs:
                self._start(program)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def look(self) -> None:
        """Say which have ended by themselves."""
        for name, child in list(self._running.items()):
            if child.code is not None:
                child.end(time.monotonic())
                del self._running[name]
                self._tell(
                    f"{name} ended with code {child.code}: it is started again after the next change of its source"
                )

    def changed(self, paths: Iterable[Path]) -> None:
        """Restart the programs that are made of these files; start those of them that had ended."""
        paths = sorted(paths)
        due = [program for program in self._programs if program.is_made_of(paths)]
        if due:
            names = ", ".join(program.name for program in due)
            self._tell(f"{', '.join(path.name for path in paths[:3])} changed: restarting {names}")
        self._end([self._running.pop(program.name) for program in due if program.name in self._running])
        for program in due:
            self._start(program)

    def stop(self) -> None:
        """End all, the first program first: each has ended before the next one is asked to."""
        for name in [program.name for program in self._programs if program.name in self._running]:
            self._end([self._running.pop(name)])

    def _start(self, program: Program) -> None:
        self._running[program.name] = Child(program, self._env, self._say)

    @staticmethod
    def _end(children: list[Child]) -> None:
        until = time.monotonic() + STOP_SECONDS
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.end(until)
