"""`saga ui` as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class Page:
    """The page's server; `url` is where a browser finds it."""

    def __init__(self, env: Mapping[str, str], folder: Path, *options: str) -> None:
        run = [sys.executable, "-m", "saga", "ui", "--port", "0", "--tracker", "tracker.db", *options]
        self.log = folder / "ui.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(run, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said.startswith("The page is at http"), self.log.read_text()
        self.url = said.split()[4]

    def kill(self) -> None:
        """End it without any warning."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def served(env: Mapping[str, str], folder: Path, *options: str) -> Iterator[Page]:
    """Run it; its database is tracker.db in the folder."""
    page = Page(env, folder, *options)
    try:
        yield page
    finally:
        page.kill()
