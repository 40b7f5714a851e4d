"""`saga demo` as a user starts it: it ends well, and whatever happens it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.saga.processes import PATIENCE, environment
from tests.support.stopwatch import Stopwatch

DEMO = [sys.executable, "-m", "saga", "demo"]
EVENTS_OF_A_CONFIRMED_ORDER = ("order.created/", "payment.charged/", "inventory.reserved/", "order.confirmed/")


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder in which the demo makes its own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    env = environment(TMPDIR=str(temporary), KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    return subprocess.Popen([*DEMO, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(pid: int) -> dict[int, str]:
    """Return the command lines of the processes that this one started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return {int(child): args for child, parent, args in rows if int(parent) == pid}


def workers(demo: subprocess.Popen[str]) -> dict[int, str]:
    """Return the demo's three workers as soon as they run."""
    found: dict[int, str] = {}

    def all_run() -> bool:
        found.update((pid, args) for pid, args in children(demo.pid).items() if "_service run" in args)
        assert demo.poll() is None, demo.communicate()
        return len(found) == 3

    until(all_run)
    return found


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.05)


def wait_for_orders(demo: subprocess.Popen[str]) -> None:
    """Return when the first order has moved; of one that is cancelled at once either event may be read first."""
    assert demo.stdout is not None
    while not re.search(r" order\.(created|cancelled)$", line := demo.stdout.readline().rstrip()):
        assert line


def confirmed(url: str) -> int:
    """Return how many orders the page shows as confirmed."""
    with urllib.request.urlopen(f"{url}api/orders", timeout=PATIENCE) as answer:
        return [order["status"] for order in json.load(answer)["orders"]].count("confirmed")


def assert_nothing_is_left(temporary: Path, started: dict[int, str]) -> None:
    assert list(temporary.iterdir()) == []
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def test_all_orders_end_as_planned_and_the_laws_hold(temporary):
    """With outcomes, `saga show` and `saga why` of three orders, a clean check, and nothing left; in under 60 s.

    What the environment says of a broker is not looked at.
    """
    watch = Stopwatch()
    demo = start(temporary, "--orders", "20", "--seed", "3")
    started = workers(demo)
    stdout, stderr = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, stderr) == (0, "")
    assert watch.seconds < 60
    assert re.search(r"confirmed +(?:8|9|10)\b", stdout)  # two customers cancel, and may be too late
    broker, heading, first, *_ = stdout.splitlines()
    assert re.fullmatch(r"The broker is inside this process, at \S+:\d+; --bootstrap-servers names a real one", broker)
    assert heading.split() == ["time", "ended", "order", "event"]
    assert [match.start() for match in re.finditer(r"order|event", heading)] == [19, first.index("order.")]
    assert len(re.findall(r" ms +\d+ +\S+ +payment\.refunded$", stdout, re.MULTILINE)) in (4, 5, 6)
    assert re.search(r"cancelled +2 +nobody answered within 2 s *$", stdout, re.MULTILINE)
    for event in (*EVENTS_OF_A_CONFIRMED_ORDER, "order.cancelled/", "payment.refunded/"):
        assert re.search(rf"\+[\d.]+ m?s +{re.escape(event)}\d+/\d+ ", stdout), event
    assert len(re.findall(r"^saga (?:show|why) \S+$", stdout, re.MULTILINE)) == 6
    refunded = r"^cancelled .* after order.created, because inventory could not reserve: .* was refunded"
    assert re.search(refunded, stdout, re.MULTILINE)
    assert "orders 20, of which 0 open" in stdout
    assert stdout.rstrip().endswith("clean")
    assert "\x1b" not in stdout
    assert_nothing_is_left(temporary, started)


def test_the_page_shows_the_demos_orders_until_ctrl_c(temporary):
    """With --ui: the address comes first and last, and nothing is left behind."""
    demo = start(temporary, "--orders", "5", "--short", "0.2", "--ui")
    started = dict.fromkeys(workers(demo), "")
    assert demo.stdout is not None
    lines: list[str] = []
    while sum("The page is at" in line for line in lines) < 2:
        lines.append(demo.stdout.readline())
        assert lines[-1], lines
    url = lines[-1].split()[4]
    until(lambda: confirmed(url) == 3)  # the page reads the log on its own, and may be behind the demo
    assert any(line.startswith("saga why ") for line in lines)
    started |= children(demo.pid)
    demo.send_signal(signal.SIGINT)
    _, stderr = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, stderr) == (0, "")
    assert_nothing_is_left(temporary, started)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_in_the_middle_ends_it_and_leaves_nothing(temporary, number, code):
    """Ctrl-C, a stop from outside, a closed terminal; a second signal while it cleans up changes nothing."""
    demo = start(temporary, "--orders", "5000")
    started = workers(demo)
    wait_for_orders(demo)
    demo.send_signal(number)
    demo.send_signal(signal.SIGTERM)
    _, stderr = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, stderr) == (code, "")
    assert_nothing_is_left(temporary, started)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_no_worker_outlives_a_demo_that_was_killed(temporary):
    """Only its temporary folder is left: nobody was there to remove it."""
    demo = start(temporary, "--orders", "5000")
    started = workers(demo)
    wait_for_orders(demo)
    demo.kill()
    demo.communicate(timeout=PATIENCE)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


def test_a_worker_that_dies_is_named_with_the_end_of_its_log(temporary):
    """And the demo fails, leaving nothing."""
    demo = start(temporary, "--orders", "5000")
    started = workers(demo)
    wait_for_orders(demo)
    os.kill(next(pid for pid, args in started.items() if "payment_service" in args), signal.SIGKILL)
    _, stderr = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    assert "the worker of payment-service exited with code -9" in stderr
    assert '"worker.started"' in stderr
    assert_nothing_is_left(temporary, started)


def test_a_reader_that_has_had_enough_ends_it_quietly(temporary):
    """As in `saga demo | head`."""
    demo = start(temporary, "--orders", "500")
    started = workers(demo)
    wait_for_orders(demo)
    assert demo.stdout is not None
    demo.stdout.close()
    assert demo.wait(PATIENCE) == 0
    assert demo.stderr is not None
    assert demo.stderr.read() == ""
    assert_nothing_is_left(temporary, started)
