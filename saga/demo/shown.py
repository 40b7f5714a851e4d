"""The web page of the demo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eventbus.text.secret_files import write_properties
from saga.demo.place import DemoPlace
from saga.demo.workers import STOP_SECONDS, WorkerDied, end_with_the_demo, without_settings

DATABASES = ("order", "payment", "inventory")


@contextmanager
def page(folder: Path, place: DemoPlace, *, wanted: bool) -> Iterator[Page | None]:
    """Run `saga ui` on the demo's data, if `wanted`."""
    if not wanted:
        yield None
        return
    started = Page(folder, place)
    try:
        yield started
    finally:
        started.stop()


class Page:
    """`saga ui` as a process of its own, at an address that it prints when it has started."""

    def __init__(self, folder: Path, place: DemoPlace) -> None:
        """Start it and wait for its address. Raises WorkerDied."""
        databases = [f"--{name}-database=sqlite:///{folder}/{name}_service.db" for name in DATABASES]
        config = write_properties(folder, place.kafka_config)
        where = ["--bootstrap-servers", place.bootstrap_servers, *config, *databases]
        run = [sys.executable, "-m", "saga", "ui", "--port", "0", "--tracker", str(folder / "page.db")]
        self._log = folder / "ui.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*run, *where],
                env={**without_settings(), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                preexec_fn=end_with_the_demo,  # noqa: PLW1509 - no thread of ours holds a lock that it needs
            )
        assert self._process.stdout is not None
        self.said = self._process.stdout.readline().strip()
        if not self.said:
            self.stop()
            raise WorkerDied(f"the page did not start:\n{self._log.read_text(errors='replace')}")

    def wait(self) -> None:
        """Wait until it has ended; Ctrl-C ends the wait, and is not a failure."""
        with suppress(SystemExit):
            self._process.wait()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
