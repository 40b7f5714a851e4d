"""Which process this is, and whether another one on this host still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
DEAD = ("Z", "X")
"""States of a process that has ended and whose parent has not yet asked how (proc_pid_stat(5))."""
STATE, START_TIME = 0, 19
"""Fields of /proc/PID/stat after the command's name."""


class WorkerProcess(NamedTuple):
    """A process, as it can be recognized later."""

    host: str
    """The host's name, for people: two hosts may have the same."""
    pid: int
    place: str
    """Where the pid means something: the boot's id and the pid namespace. Empty where the system does not tell."""
    start: str
    """When it started, as the kernel counts: a pid is used again."""


def this_process() -> WorkerProcess:
    """Return what this process is."""
    stat = _stat(os.getpid())
    return WorkerProcess(socket.gethostname(), os.getpid(), _place(), stat[START_TIME] if stat else "")


def runs(process: WorkerProcess, here: WorkerProcess) -> bool | None:
    """Return whether a process still runs, as seen from `here`; None where that cannot be seen from here."""
    if not process.place or process.place != here.place or not process.start:
        return None
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    stat = _stat(process.pid)
    if not stat:
        return None  # hidden from this user
    return stat[START_TIME] == process.start and stat[STATE] not in DEAD


def _place() -> str:
    try:
        if (PROC / "self").readlink().name != str(os.getpid()):
            return ""  # /proc is another namespace's
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """Return what /proc says after the command's name, which may itself contain blanks and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
