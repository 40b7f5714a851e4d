"""Writing an export: the whole file or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from saga.audit.lines import GENESIS, AuditEntry, sealed
from saga.audit.summary import AuditTally, Summary


class CannotWrite(OSError):
    """The file cannot be written there."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Open a file that gets its name when it is complete and synced to disk. Raises CannotWrite."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.incomplete")
    if path.exists():
        raise CannotWrite(f"{path} exists and may be needed as evidence; name another file, or remove it first")
    try:
        with scratch.open("x", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
    except OSError as error:
        if isinstance(error, (ConnectionError, CannotWrite)):
            raise
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def write_lines(file: IO[str], entries: Iterable[AuditEntry], summary: Summary) -> tuple[Summary, str]:
    """Write a line per record and the last line; return its summary, and its hash: the digest of the export."""
    tally, previous = AuditTally(), GENESIS
    for address, body in entries:
        tally.add(address, body)
        line, previous = sealed(body, previous)
        file.write(line + "\n")
    summary = replace(summary, records={tp: tally.of(tp) for tp in summary.ends})
    line, digest = sealed(summary.body(), previous)
    file.write(line + "\n")
    return summary, digest
