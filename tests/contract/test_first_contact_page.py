"""docs/operating.md, First contact: what it says that one sees is what the programs say, each row with its mend."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("eventbus", "schemas", "order_service", "payment_service", "inventory_service", "saga")
OF_OTHERS = {"such configuration property", "to acquire", "session is read-only"}
"""Words of librdkafka and libpq."""
BETWEEN = re.compile(r"\S*[\d…/:_A-Z]\S*|\S*\w\.\w\S*|[(){}]")
"""What differs from case to case, in a sentence of the page; in the source something else stands there."""


def rows() -> list[list[str]]:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    section = page[page.index("## First contact") : page.index("## Outages")]
    tables = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [cells for cells in tables if not set(cells[0]) <= set("-| ") and "`" in cells[0]]


def sentences() -> list[str]:
    seen = [re.sub(r"\((`[a-z ]+`(, )?)+\)", "", cells[0]) for cells in rows()]  # of which commands it is said
    return sorted({quoted for cell in seen for quoted in re.findall(r"`([^`]+)`", cell)})


@cache
def said() -> str:
    """All texts of the programs, one a line; a gap where a value is put in."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for room in PROGRAMS for path in (ROOT / room).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings, which nobody sees
    texts = [str(node.value) for node in nodes if isinstance(node, ast.Constant) and id(node) not in told]
    pieces = [
        [each.value for each in node.values if isinstance(each, ast.Constant)]
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    return "\n".join([*texts, *("\0".join(each) for each in pieces)]).replace("`", "")


def is_said(words: list[str]) -> bool:
    """Whether a program says this, as it stands or made of two texts, each of two words or more."""
    whole = " ".join(words)
    halves = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(2, len(words) - 1)]
    return whole in OF_OTHERS or whole in said() or any(all(half in said() for half in two) for two in halves)


@pytest.mark.parametrize("sentence", sentences())
def test_what_one_sees_is_what_some_program_says(sentence: str) -> None:
    """Every run of two words or more between what differs."""
    runs = [run.strip(" ,.'").split() for run in BETWEEN.split(sentence)]
    assert [" ".join(run) for run in runs if len(run) > 1 and not is_said(run)] == []


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert len(rows()) > 50
    assert [cells[0] for cells in rows() if len(cells) not in (2, 3) or not all(cell.strip() for cell in cells)] == []


def test_a_sentence_that_nobody_says_is_noticed() -> None:
    """Also one of words that are said elsewhere."""
    assert is_said(["the", "pooler", "in", "front", "of"])
    assert not is_said(["the", "pooler", "behind"])
    assert not is_said(["nobody", "is", "let", "in", "today", "or", "tomorrow"])
