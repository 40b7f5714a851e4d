"""Several processes that share the tests (make test JOBS=2) take nothing from each other, and end in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.brokers.maven import cached
from tests.support.saga.processes import PATIENCE, environment

ROOT = Path(__file__).parents[2]
A_TEST = """
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def started():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True) as process:
        yield process
        process.kill()


def test_that_lacks_something():
    pytest.skip("no such thing")


def test_that_takes_long(started):
    here = Path(__file__)
    here.with_suffix(".making").write_text(str(started.pid))
    here.with_suffix(".making").rename(here.with_suffix(".pid"))
    started.wait()
"""


def pytest_on(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start our pytest on two new files of tests."""
    for name in ("test_one.py", "test_two.py"):
        (folder / name).write_text(A_TEST, encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "2", "--dist", "loadfile", *arguments, folder]
    return subprocess.Popen(run, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True)


def started_by(tests: subprocess.Popen[str], folder: Path) -> list[int]:
    """Return the ids of the two processes that the tests have started, once both have."""
    deadline = time.monotonic() + PATIENCE
    while len(found := list(folder.glob("*.pid"))) < 2:
        assert tests.poll() is None, tests.communicate()
        assert time.monotonic() < deadline, "the tests did not begin"
        time.sleep(0.05)
    return [int(file.read_text()) for file in found]


def assert_nothing_stays(pids: list[int]) -> None:
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_nothing_stays_behind_where_make_passes_sigterm_on(tmp_path: Path) -> None:
    """It comes to the first process only."""
    tests = pytest_on(tmp_path)
    pids = started_by(tests, tmp_path)
    tests.send_signal(signal.SIGTERM)
    said, _ = tests.communicate(timeout=PATIENCE)
    assert tests.returncode == 143, said
    assert "ended by SIGTERM" in said
    assert_nothing_stays(pids)


def test_nothing_stays_behind_after_ctrl_c(tmp_path: Path) -> None:
    """The terminal sends it to every process."""
    tests = pytest_on(tmp_path)
    pids = started_by(tests, tmp_path)
    os.killpg(tests.pid, signal.SIGINT)
    said, _ = tests.communicate(timeout=PATIENCE)
    assert tests.returncode == 2, said
    assert_nothing_stays(pids)


def test_what_was_left_out_is_counted_over_all_processes(tmp_path: Path) -> None:
    """At the end of the output, each reason once."""
    said, _ = pytest_on(tmp_path, "-k", "lacks").communicate(timeout=PATIENCE)
    assert "left out: 2 tests: no such thing" in said.splitlines()


def test_no_port_is_given_to_two_processes() -> None:
    """Some are kept for later, when the other process cannot see that they are taken."""
    ask = "from tests.support.ports import free_port; print(*(free_port() for _ in range(1000)))"
    given = [
        subprocess.check_output(
            [sys.executable, "-c", ask],
            cwd=ROOT,
            env=environment(PYTEST_XDIST_WORKER=name, PYTEST_XDIST_WORKER_COUNT="2"),
            text=True,
        ).split()
        for name in ("gw0", "gw1")
    ]
    assert len(set(given[0] + given[1])) == 2000


def test_a_named_kafka_is_for_one_process(tmp_path: Path) -> None:
    """The saga's topics have fixed names."""
    run = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "2", tmp_path]
    named = environment(KAFKA_BOOTSTRAP_SERVERS="localhost:9092")
    done = subprocess.run(run, cwd=ROOT, env=named, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 4
    assert "the Kafka that KAFKA_BOOTSTRAP_SERVERS names is for one process" in done.stderr


def test_what_two_want_from_the_cache_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second would find the first one's folder in its way, after a download for nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    both, made = threading.Barrier(2), list[Path]()

    def make(folder: Path) -> None:
        made.append(folder)
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=1)
        (folder / "it").touch()

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: cached("thing", make), range(2)))
    assert [(folder / "it").exists() for folder in found] == [True, True]
    assert len(made) == 1
