"""Apicurio Registry from Maven Central: a real schema registry with Confluent's API."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.brokers.maven import cached, java, maven
from tests.support.ports import free_port

VERSION = "3.3.3"
JAVA = 21
START_SECONDS = 150


def _unpack(folder: Path) -> None:
    archive = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
    maven("dependency:copy", f"-Dartifact={archive}", f"-DoutputDirectory={folder}")
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    packed.unlink()


class ApicurioRegistry:
    """One registry, everything in memory. Raises Missing when it cannot be had."""

    def __init__(self) -> None:
        self._java = java(JAVA)
        (self._jar,) = cached(f"apicurio-{VERSION}", _unpack).rglob("quarkus-run.jar")
        self._port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="saga-registry-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        atexit.register(self.stop)
        settings = (
            f"-Dquarkus.http.port={self._port}",
            f"-Dquarkus.management.port={free_port()}",
            "-Dquarkus.http.host=127.0.0.1",
        )
        with (self._folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._java, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *settings, "-jar", self._jar],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def stop(self) -> None:
        atexit.unregister(self.stop)
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/subjects", timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
            else:
                return
        log = (self._folder / "registry.log").read_text(errors="replace")
        raise TimeoutError(f"the registry did not answer within {START_SECONDS} s: {log[-2000:]}")
