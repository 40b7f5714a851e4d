"""A worker's name, where there is no place for its lock file."""

from __future__ import annotations

import tempfile

import pytest

from eventbus.worker import _first_free
from tests.support.sample import PingService


def test_where_no_file_can_be_written_the_name_has_to_be_given(monkeypatch, tmp_path, capsys):
    """A hardened container may have nothing but read-only folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    with pytest.raises(SystemExit) as ended:
        _first_free(PingService())
    assert ended.value.code == 1
    assert "--instance" in capsys.readouterr().err
