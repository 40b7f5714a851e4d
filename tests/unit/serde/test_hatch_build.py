"""Where the compiled codec is put: for a wheel outside of the source tree, else in it, at once and beside others."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

import hatch_build
from hatch_build import SOURCE, CodecBuildHook, compile_codec, put

MADE = "eventbus/serde/plan_compiled.this-python.so"
COMPILED = f"from pathlib import Path; made = Path('made', '{MADE}'); made.parent.mkdir(parents=True); made.touch()"
ROOT = Path(hatch_build.__file__).parent

pytestmark = pytest.mark.skipif(not hatch_build.has_compiler(), reason="there is no C compiler")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a source tree, in which the compiler only makes an empty file."""
    monkeypatch.setattr(hatch_build, "COMPILE", COMPILED)
    (tmp_path / SOURCE).parent.mkdir(parents=True)
    (tmp_path / SOURCE).touch()
    return tmp_path


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_wheel_is_built_without_writing_to_its_source(root):
    """It may be read-only, or in use; what was compiled is removed once it is in the wheel."""
    hook = CodecBuildHook(str(root), {}, None, None, str(root / "dist"), "wheel")
    data = {"force_include": {}}
    hook.initialize("standard", data)
    [(made, place)] = data["force_include"].items()
    assert (place, data["infer_tag"], data["pure_python"]) == (MADE, True, False)
    assert Path(made).exists()
    hook.finalize("standard", data, "")
    assert not Path(made).exists()
    assert files(root) == {SOURCE.as_posix()}


def test_an_editable_install_compiles_in_place(root):
    """What another Python compiled stays."""
    other = root / "eventbus/serde/plan_compiled.other-python.so"
    other.touch()
    hook = CodecBuildHook(str(root), {}, None, None, str(root / "dist"), "wheel")
    hook.initialize("editable", {})
    hook.finalize("editable", {}, "")
    assert files(root) == {SOURCE.as_posix(), MADE, other.relative_to(root).as_posix()}


def test_a_source_tree_that_cannot_be_written_is_interpreted(root, capsys):
    """Installing it goes on; root may write anywhere, so a folder is in the way here."""
    (root / MADE).mkdir()
    assert compile_codec(root / SOURCE, root) == []
    assert "the codec is interpreted" in capsys.readouterr().err
    assert files(root) == {SOURCE.as_posix()}


def test_a_process_that_has_the_old_file_keeps_it(tmp_path):
    """Writing into a library that is loaded would crash the processes that use it."""
    old, new = tmp_path / "old.so", tmp_path / "new.so"
    old.write_text("old")
    new.write_text("new")
    with old.open() as used:
        put(new, old)
        assert used.read() == "old"
    assert old.read_text() == "new"
    assert files(tmp_path) == {"old.so", "new.so"}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_setup_compiles_again_what_is_gone(tmp_path):
    """And nothing while it is there."""
    for name in ("Makefile", "pyproject.toml", "hatch_build.py", SOURCE, ".venv/.installed", ".venv/.codec"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        time.sleep(0.01)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv/.codec").write_text(f"{MADE} other.so\n")

    def setup() -> str:
        return subprocess.run(["make", "-n", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "python hatch_build.py" in setup()
    (tmp_path / MADE).touch()
    assert "python hatch_build.py" in setup()
    (tmp_path / "other.so").touch()
    assert "hatch_build.py" not in setup()
