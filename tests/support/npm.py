"""Packages from npm's registry, kept in the user's cache folder."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.support.maven import DOWNLOAD_SECONDS, Missing, cached


def package(name: str, version: str) -> Path:
    """Return the folder of an unpacked package; nothing of it is run. Raises Missing when it cannot be had."""

    def download(folder: Path) -> None:
        if shutil.which("npm") is None:
            raise Missing("there is no npm")
        run = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{name}@{version}"]
        done = subprocess.run(
            run, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS, check=False
        )
        if done.returncode != 0:
            raise Missing(f"npm failed: {done.stderr.strip()[-400:]}")
        [archive] = folder.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")

    return cached(f"{name.strip('@').replace('/', '-')}-{version}", download) / "package"
