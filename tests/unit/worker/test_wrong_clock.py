"""A worker whose clock is certainly wrong does not start where deadlines depend on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import Worker, WorkerConfig, WrongClock, check_clock
from eventbus.worker import worker
from tests.support.engines.sample.timed import TimedService


def test_a_clock_before_2020_is_wrong_and_a_later_one_may_be_right():
    """Nobody can tell more of a clock from itself."""
    check_clock(1_577_836_800_000)
    with pytest.raises(WrongClock, match=r"the clock of this host says 2019-12-31T23:59:59\.999Z: set it"):
        check_clock(1_577_836_799_999)


def test_a_worker_that_fires_deadlines_ends_with_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It would set every deadline again, by a clock that is years behind, and fire all when that is corrected."""
    monkeypatch.setattr(worker, "_now_ms", lambda: 946_684_800_000)
    config = WorkerConfig("localhost:1", f"sqlite:///{tmp_path}/timed.db")
    ending = Worker(TimedService(lambda: 0), config).run()
    assert ending.code == 1
    assert isinstance(ending.error, WrongClock)
