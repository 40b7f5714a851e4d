"""What `saga check` shows while it reads."""

from __future__ import annotations

import io

import pytest

from saga.check.laws import DESCRIPTIONS
from saga.commands.check import _with_a_bar


class Terminal(io.StringIO):
    """Where a person looks, or does not."""

    def __init__(self, *, watched: bool) -> None:
        super().__init__()
        self._watched = watched

    def isatty(self) -> bool:
        return self._watched


@pytest.mark.parametrize("watched", [True, False], ids=["a terminal", "a pipe"])
def test_how_much_of_the_log_is_read_is_shown_on_a_terminal_only(monkeypatch, watched):
    """Every message is passed on, whatever the log's length was thought to be: markers take offsets too."""
    stderr = Terminal(watched=watched)
    monkeypatch.setattr("sys.stderr", stderr)
    assert list(_with_a_bar(iter(range(20_000)), 25_000)) == list(range(20_000))
    assert ("reading the log" in stderr.getvalue()) == watched
    assert ("20%" in stderr.getvalue()) == watched


@pytest.mark.parametrize("law", DESCRIPTIONS)
def test_a_law_is_described_in_one_line(law: str) -> None:
    """The report is a table with one law a line."""
    assert DESCRIPTIONS[law]
    assert "\n" not in DESCRIPTIONS[law]
