"""Compiles eventbus/serde/plan.py with mypyc while a wheel is built, if there is a C compiler, else not.

Called by hatchling: by `pip install`, with and without --editable, and `python -m build`. `python hatch_build.py`
compiles in place, as `make setup` does when the source has changed, and prints the names of the files it made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("eventbus/serde/plan.py")
COMPILED = SOURCE.with_name("plan_compiled.py")
"""What is compiled: the source, and the hash of it, so that what was made of another version is not used."""
GROUP = "eventbus_plan"
"""Names the library that mypyc puts beside the packages."""
REQUIRES = ["mypy>=2.1,<3", "setuptools>=77"]
COMPILE = f"""
from mypyc.build import mypycify
from setuptools import Distribution
extensions = mypycify(["--config-file=", "{COMPILED.as_posix()}"], opt_level="3", debug_level="0", group_name="{GROUP}")
build = Distribution({{"ext_modules": extensions}}).get_command_obj("build_ext")
build.build_lib = "made"
build.ensure_finalized()
build.run()
"""


def has_compiler() -> bool:
    """Return whether a C compiler and Python's headers are here."""
    named = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return os.name == "nt" or (shutil.which(named.split()[0]) is not None and headers.exists())


def compile_codec(source: Path, into: Path) -> list[Path]:
    """Compile the codec's source into a folder, as if that were the root; return what was made, relative to it.

    Nothing if it cannot be compiled. It is compiled alone: mypy would look at all of the packages around it.
    """
    if not has_compiler():
        print("There is no C compiler with Python's headers: the codec is interpreted.", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as alone:
        copy = Path(alone, COMPILED)
        copy.parent.mkdir(parents=True)
        for package in SOURCE.parents[:-1]:
            Path(alone, package, "__init__.py").touch()
        text = source.read_bytes()
        copy.write_bytes(text + f'\nSOURCE: Final = "{hashlib.sha256(text).hexdigest()}"\n'.encode())
        if subprocess.run([sys.executable, "-c", COMPILE], cwd=alone, check=False, stdout=2).returncode:  # noqa: S603 - ours
            print("Compiling the codec failed: it is interpreted.", file=sys.stderr)
            return []
        made = Path(alone, "made")
        paths = [path.relative_to(made) for path in made.rglob("*.*")]
        try:
            for path in paths:
                put(made / path, into / path)
        except OSError as error:
            print(f"{into} cannot be written ({error}): the codec is interpreted.", file=sys.stderr)
            return []
    return paths


def put(made: Path, place: Path) -> None:
    """Put a file in its place at once: a process that starts meanwhile finds the old one or the new one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f"{os.getpid()}.{place.name}")
    try:
        shutil.copy(made, beside)
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


class CodecBuildHook(BuildHookInterface[Any]):
    """Has hatchling compile the codec for a wheel, or in place for an editable install."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what is needed to compile, beside the compiler."""
        return REQUIRES if self.target_name == "wheel" and has_compiler() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what was compiled to the wheel, which is then for this Python and platform alone.

        It is kept out of the source tree, which may be read-only, or in use.
        """
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        if version == "editable":
            compile_codec(root / SOURCE, root)
            return
        self.made = tempfile.TemporaryDirectory()
        paths = compile_codec(root / SOURCE, Path(self.made.name))
        if paths:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"].update({str(Path(self.made.name, path)): path.as_posix() for path in paths})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - theirs
        """Remove what was compiled: it is in the wheel."""
        if self.target_name == "wheel" and version != "editable":
            self.made.cleanup()


if __name__ == "__main__":
    ROOT = Path(__file__).parent
    print(*compile_codec(ROOT / SOURCE, ROOT))
