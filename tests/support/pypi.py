"""Packages from PyPI that only one test wants and that are too large to be installed for all: in the cache folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.maven import DOWNLOAD_SECONDS, Missing, cached


def installed(name: str, *packages: str) -> Path:
    """Return a folder for PYTHONPATH with exactly these packages. Raises Missing when they cannot be had."""

    def install(folder: Path) -> None:
        run = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
        done = subprocess.run(
            run, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS, check=False
        )
        if done.returncode != 0:
            raise Missing(f"pip failed: {done.stderr.strip()[-400:]}")

    version = "".join(map(str, sys.version_info[:2]))
    return cached(f"{name}-python{version}", install)
