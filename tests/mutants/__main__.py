"""Plants bugs one at a time in a copy of the source, and lets the simulator find each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click

from tests.mutants.planted import Mutant
from tests.mutants.planting import named, plant


class Result(NamedTuple):
    """How long a bug lived; `seeds` is None where it was not found."""

    seeds: int | None
    law: str
    seconds: float


def hunt(mutant: Mutant, seeds: int, jobs: int) -> Result:
    """Simulate with the bug in, until a law is broken."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="saga-mutant-") as folder:
        plant(mutant, Path(folder))
        env = os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        run = [sys.executable, "-m", "saga", "simulate", "--json", "--stop-at-first"]
        run += ["--seeds", str(seeds), "--jobs", str(jobs)]
        if mutant.faults:
            run += ["--faults", mutant.faults]
        done = subprocess.run(run, env=env, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
        raise RuntimeError(f"{mutant.name}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)["violations"]
    seconds = time.monotonic() - started
    return Result(found[0]["seed"] + 1, found[0]["law"], seconds) if found else Result(None, "", seconds)


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1), default=10_000, help="A bug that lives so long was not found.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1)
@click.option("--only", default="", help="Only bugs with this in their names.")
def main(seeds: int, jobs: int, only: str) -> None:
    """Show that the simulator finds every planted bug, and how many seeds that takes. Exit 1 when one lives."""
    lived = 0
    chosen = named(only)
    for mutant in chosen:
        result = hunt(mutant, seeds, jobs)
        lived += result.seeds is None
        found = "LIVES" if result.seeds is None else f"seed {result.seeds - 1}"
        click.echo(f"{found:>10}  {result.seconds:5.1f} s  {mutant.name}{result.law and f'  ({result.law})'}")
    click.echo(f"{len(chosen) - lived} of {len(chosen)} found")
    sys.exit(1 if lived else 0)


if __name__ == "__main__":
    main(prog_name="python -m tests.mutants")
