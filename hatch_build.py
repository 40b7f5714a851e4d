"""Compiles eventbus/serde/plan.py with mypyc while a wheel is built, if there is a C compiler, else not.

Called by hatchling: by `pip install`, with and without --editable, and `python -m build`. `python hatch_build.py`
compiles in place, as `make setup` does when the source has changed.
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


def compile_codec(root: Path) -> list[str]:
    """Compile the codec's source in place; return what was made, relative to the root, and nothing if it cannot be.

    What was compiled before is removed. It is compiled alone: mypy would look at all of the packages around it.
    """
    for pattern in (f"{COMPILED.with_suffix('')}.*", f"{GROUP}__mypyc.*"):
        for old in root.glob(pattern):
            old.unlink()
    if not has_compiler():
        print("There is no C compiler with Python's headers: the codec is interpreted.", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as alone:
        source = Path(alone, COMPILED)
        source.parent.mkdir(parents=True)
        for package in SOURCE.parents[:-1]:
            Path(alone, package, "__init__.py").touch()
        text = (root / SOURCE).read_bytes()
        source.write_bytes(text + f'\nSOURCE: Final = "{hashlib.sha256(text).hexdigest()}"\n'.encode())
        if subprocess.run([sys.executable, "-c", COMPILE], cwd=alone, check=False).returncode:  # noqa: S603 - ours
            print("Compiling the codec failed: it is interpreted.", file=sys.stderr)
            return []
        made = [path.relative_to(alone).relative_to("made") for path in Path(alone, "made").rglob("*.*")]
        for path in made:
            shutil.copy(Path(alone, "made", path), root / path)
    return [path.as_posix() for path in made]


class CodecBuildHook(BuildHookInterface[Any]):
    """Has hatchling compile the codec for a wheel, or in place for an editable install."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what is needed to compile, beside the compiler."""
        return REQUIRES if self.target_name == "wheel" and has_compiler() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what was compiled to the wheel, which is then for this Python and platform alone."""
        made = compile_codec(Path(self.root)) if self.target_name == "wheel" else []
        if made and version != "editable":
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"].update({str(Path(self.root, path)): path for path in made})


if __name__ == "__main__":
    compile_codec(Path(__file__).parent)
