"""A worker with stopwatches around its stages: `python -m tests.bench.profiled run …`, as `make profile` starts it.

PROFILED_SERVICE names its package; what was spent is written to the file PROFILE_FILE when it ends.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
from pathlib import Path

from tests.bench.stage_clock import StageClock, install, measuring_cost


def write(clock: StageClock, path: Path) -> None:
    """Write the nanoseconds of each stage, and what measuring a call costs."""
    cost = measuring_cost()
    path.write_text(json.dumps(clock.spent(cost)._asdict() | {"cost": cost._asdict()}), encoding="utf-8")


if __name__ == "__main__":
    atexit.register(write, install(), Path(os.environ["PROFILE_FILE"]))
    runpy.run_module(os.environ["PROFILED_SERVICE"], run_name="__main__")
