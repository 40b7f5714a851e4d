"""Records may come from anyone: no terminal executes control characters in them; files and pipes get every byte."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from eventbus.text.terminal import Terminal, raw_stdout, visible
from tests.support.models.saga_model import CHARGED, CONFIRMED, CREATED, RESERVED
from tests.support.models.tracked import of_order, stored, tracked_events
from tests.support.saga.processes import PATIENCE, command, environment

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
COMMANDS = [
    ["sql", "select order_id, service, cause from events", "--csv"],
    ["sql", "select order_id, service, cause from events", "--json"],
    ["sql", "select order_id, service, cause from events"],
    ["sql", f"select '{EVIL}' as evil", "--csv"],
    ["sql", f"select '{EVIL}' as evil from nothing"],
    ["orders"],
    ["orders", "--json"],
    ["show", EVIL],
    ["show", EVIL, "--json"],
    ["show", EVIL + "x"],
    ["why", EVIL],
    ["violations"],
    ["violations", "--json"],
    ["stats"],
    ["flow", "--live"],
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracker's database with an order, a service and a cause whose names are terminal escape sequences."""
    path = tmp_path_factory.mktemp("terminal") / "tracker.db"
    events = of_order(tracked_events(12), CREATED, CHARGED, RESERVED, CONFIRMED)
    stored(path, [event._replace(order_id=EVIL, service=EVIL, cause=EVIL) for event in events]).close()
    return path


def on_a_terminal(*arguments: str, **env: str) -> str:
    """Run a command with a terminal for stdout and stderr; return its output."""
    ours, theirs = pty.openpty()
    run = [sys.executable, "-m", "saga", *arguments]
    with subprocess.Popen(
        run, env=environment(**env), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        sent = b""
        while True:
            try:
                some = os.read(ours, 65_536)
            except OSError:  # that is how the end of a terminal looks
                break
            if not some:
                break
            sent += some
        process.wait(PATIENCE)
    os.close(ours)
    return sent.decode()


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments).replace(EVIL, "EVIL"))
def test_a_terminal_gets_no_control_characters(file, arguments):
    """For every command and format."""
    sent = on_a_terminal(*arguments, SAGA_TRACKER=str(file)).replace("\r\n", "\n")
    assert sent
    assert [c for c in sent if not c.isprintable() and c not in "\n\t"] == []


def test_a_pipe_gets_every_byte(file, tmp_path):
    """CSV and JSON are for programs."""
    settings = {"env": environment(SAGA_TRACKER=str(file)), "folder": tmp_path}
    asked = command("saga", "sql", "select distinct order_id from events", "--csv", **settings)
    assert asked.stdout == f"order_id\n{EVIL}\n"
    asked = command("saga", "sql", "select distinct order_id from events", "--json", **settings)
    assert json.loads(asked.stdout) == {"order_id": EVIL}


def test_line_ends_and_tabs_stay():
    """Every other non-printable character is replaced by one character."""
    assert visible("a\tb\nc") == "a\tb\nc"
    assert visible("\x1b[2J\x07é\r") == "\ufffd[2J\ufffdé\ufffd"


def test_what_draws_on_a_terminal_is_given_the_stream_itself(monkeypatch):
    """The demo's tables are its own."""
    raw = sys.stdout
    monkeypatch.setattr("sys.stdout", Terminal(raw))
    assert raw_stdout() is raw
