"""docs/architecture.md shows what is there: the imports, the functions, and the rooms of the runtime."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path
from pkgutil import resolve_name

import grimp
import pytest

import eventbus
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


def test_what_eventbus_exports_is_there_and_on_the_page() -> None:
    """A service needs nothing else."""
    page = text(ROOT / "docs" / "adding-a-service.md").partition("## What `eventbus` exports")[2].partition("\n## ")[0]
    shown = {name for cell in re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE) for name in re.findall(r"\w+", cell)}
    assert shown == set(eventbus.__all__)
    for name in eventbus.__all__:
        assert getattr(eventbus, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = eventbus.nothing


SERVICES_AND_EXAMPLE = [
    *(path for package in PACKAGES[1:5] for path in (ROOT / package).rglob("*.py")),
    ROOT / "docs" / "examples" / "shipping" / "shipping_service.py",
]


@pytest.mark.parametrize("file", SERVICES_AND_EXAMPLE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_service_imports_only_what_eventbus_exports(file: Path) -> None:
    """So what is below may move. The example is what others copy."""
    imported = [node for node in ast.walk(ast.parse(text(file))) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {node.module or "" for node in imported if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in modules if name.startswith("eventbus.")]
    exported = {a.name for n in imported if isinstance(n, ast.ImportFrom) and n.module == "eventbus" for a in n.names}
    assert exported <= set(eventbus.__all__)
