"""Identifies this process, and tells whether another one on this host is still running."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
DEAD = ("Z", "X")
"""States of a process that has ended and that its parent has not yet waited for (proc_pid_stat(5))."""
STATE, START_TIME = 0, 19
"""Fields of /proc/PID/stat after the command's name."""


class WorkerProcess(NamedTuple):
    """What identifies a process, also later."""

    host: str
    """The host's name, for display: two hosts may have the same."""
    pid: int
    place: str
    """Where the pid is valid: the boot id and the pid namespace. Empty if the system does not provide them."""
    start: str
    """Its start time in the kernel's clock ticks: pids are reused."""


def this_process() -> WorkerProcess:
    """Return what identifies this process."""
    stat = _stat(os.getpid())
    return WorkerProcess(socket.gethostname(), os.getpid(), _place(), stat[START_TIME] if stat else "")


def runs(process: WorkerProcess, here: WorkerProcess) -> bool | None:
    """Return whether a process is still running; None if that cannot be determined from `here`."""
    if not process.place or process.place != here.place or not process.start:
        return None
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is running, as another user
    stat = _stat(process.pid)
    if not stat:
        return None  # hidden from this user
    return stat[START_TIME] == process.start and stat[STATE] not in DEAD


def _place() -> str:
    try:
        if (PROC / "self").readlink().name != str(os.getpid()):
            return ""  # /proc belongs to another pid namespace
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command's name, which may contain blanks and parentheses."""
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
