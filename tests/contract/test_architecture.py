"""docs/architecture.md shows what is there: the imports, the functions, and the rooms of the runtime."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pkgutil import resolve_name

import grimp
import pytest

from tests.contract.test_docs import ROOT, blocks, text

PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("saga", "order_service", "payment_service", "inventory_service", "schemas", "eventbus")
NAMES = sorted(set(re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", text(PAGE))))


def test_the_arrows_are_the_imports() -> None:
    """Which package imports which, as the import graph has it."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = {
        (importer.split(".")[0], imported.split(".")[0])
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    [diagram] = blocks(PAGE, "mermaid")
    assert set(re.findall(r"(\w+) --> (\w+)", diagram)) == {(a, b) for a, b in imports if a != b}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_on_the_page_is_there(name: str) -> None:
    """A function that is named can be found; what moves, moves here too. Entry points have no module."""
    if name != "saga.services":
        assert resolve_name(name)


@pytest.mark.parametrize("package", ["eventbus", "saga"])
def test_every_room_is_on_the_page(package: str) -> None:
    """In the order in which import-linter is told that each knows only those below it."""
    table = text(PAGE).partition(f"## The rooms of `{package}/`")[2].partition("\n## ")[0]
    shown = [name for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"\w+", cell)]
    contracts = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == [package]]
    assert shown == [room for layer in layers for room in layer.split(" | ") if room != "__main__"]


def test_a_class_name_stands_once() -> None:
    """Whoever searches for a class finds one."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = Counter(name for path in files for name in re.findall(r"^ *class (\w+)", text(path), re.MULTILINE))
    assert [name for name, count in names.items() if count > 1] == []
