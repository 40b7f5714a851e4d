"""Plants bugs one at a time in a copy of the source, and lets the simulator find each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click

from tests.mutants.planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PACKAGES = ("eventbus", "schemas", "order_service", "payment_service", "inventory_service", "saga")


class Result(NamedTuple):
    """How long a bug lived; `seeds` is None where it was not found."""

    seeds: int | None
    law: str
    seconds: float


def plant(mutant: Mutant, folder: Path) -> None:
    """Copy the source and put the bug in. Raises LookupError where its place is not found exactly once."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    for old, new in ((mutant.old, mutant.new), *mutant.also):
        if text.count(old) != 1:
            raise LookupError(f"{mutant.name}: its place stands {text.count(old)} times in {mutant.file}")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


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
    chosen = [mutant for mutant in MUTANTS if only in mutant.name]
    for mutant in chosen:
        result = hunt(mutant, seeds, jobs)
        lived += result.seeds is None
        found = "LIVES" if result.seeds is None else f"seed {result.seeds - 1}"
        click.echo(f"{found:>10}  {result.seconds:5.1f} s  {mutant.name}{result.law and f'  ({result.law})'}")
    click.echo(f"{len(chosen) - lived} of {len(chosen)} found")
    sys.exit(1 if lived else 0)


if __name__ == "__main__":
    main(prog_name="python -m tests.mutants")
