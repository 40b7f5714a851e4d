"""Packages from PyPI that only one test wants and that are too large to be installed for all: in the cache folder."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.brokers.maven import cached, fetch


def installed(name: str, *packages: str) -> Path:
    """Return a folder for PYTHONPATH with exactly these packages. Raises Missing when they cannot be had."""

    def install(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        fetch(*pip, *packages)

    version = "".join(map(str, sys.version_info[:2]))
    return cached(f"{name}-python{version}", install)
