"""Java programs from Maven Central, kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

DOWNLOAD_SECONDS = 600


class Missing(Exception):
    """What is needed to run it is not on this machine, and the message says what."""


@cache
def java(least: int) -> Path:
    """Return a Java of version `least` or newer, from JAVA_HOME, PATH or /usr/lib/jvm; raises Missing."""
    places = [Path(os.environ["JAVA_HOME"], "bin/java")] if os.environ.get("JAVA_HOME") else []
    places += [Path(found)] if (found := shutil.which("java")) else []
    places += sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    for place in places:
        if place.exists() and _version(place) >= least:
            return place
    raise Missing(f"there is no Java {least} or newer")


def _version(place: Path) -> int:
    said = subprocess.run([place, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else 0


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the cache; `make` fills it the first time, wholly or not at all.

    Who else wants it meanwhile, in another process, waits.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "order-saga-tests"
    folder = root / name
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=root) as scratch:
                fresh = Path(scratch, "made")
                fresh.mkdir()
                make(fresh)
                fresh.rename(folder)
    return folder


def maven(*arguments: str) -> None:
    """Run mvn quietly; raises Missing when there is none or when it fails."""
    fetch("mvn", "-q", "-B", *arguments)


def fetch(program: str, *arguments: str) -> None:
    """Run what downloads something; raises Missing when there is no such program or when it fails."""
    if shutil.which(program) is None:
        raise Missing(f"there is no {program}")
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=DOWNLOAD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()[-400:]
        raise Missing(f"{Path(program).name} failed: {said}")
