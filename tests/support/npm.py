"""Packages from npm's registry, kept in the user's cache folder."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.support.brokers.maven import cached, fetch


def package(name: str, version: str) -> Path:
    """Return the folder of an unpacked package; nothing of it is run. Raises Missing when it cannot be had."""

    def download(folder: Path) -> None:
        fetch("npm", "pack", "--silent", "--pack-destination", str(folder), f"{name}@{version}")
        [archive] = folder.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")

    return cached(f"{name.strip('@').replace('/', '-')}-{version}", download) / "package"
