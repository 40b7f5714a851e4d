"""A worker's stable name: its transactional.id and group.instance.id are made of it."""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path


class InstanceName:
    """The host's name and the first number that no other live worker of the service holds on this host.

    Held by a lock on a file in the temporary folder, which the kernel lets go of when the process ends, however it
    ends: so a second worker just works, and a restarted one gets its old name back.
    """

    def __init__(self, service: str, folder: Path | None = None) -> None:
        folder = folder or Path(tempfile.gettempdir())
        host = socket.gethostname()
        for number in itertools.count(1):
            descriptor = _locked(folder / f"saga-{service}-{host}-{number}.lock")
            if descriptor is not None:
                self.name = f"{host}-{number}"
                self._descriptor = descriptor
                return

    def release(self) -> None:
        """Let the name go."""
        os.close(self._descriptor)


def _locked(path: Path) -> int | None:
    """Return the open, locked file, or None when somebody else has it (or owns it)."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
