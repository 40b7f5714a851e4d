"""Puts a bug of `planted` into a copy of the source."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.mutants.planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PACKAGES = ("eventbus", "schemas", "order_service", "payment_service", "inventory_service", "saga")


def named(name: str) -> list[Mutant]:
    """Return the bugs with this in their names; the one alone whose name it is."""
    return [m for m in MUTANTS if m.name == name] or [m for m in MUTANTS if name in m.name]


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
