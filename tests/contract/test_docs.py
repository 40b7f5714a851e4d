"""The documents say what is so: diagram, commands, options, links, code and tests that they name are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from inspect import getdoc
from pathlib import Path

import click
import pytest

from saga.flow.formats.diagrams import as_mermaid
from saga.flow.formats.text import as_text
from saga.flow.model import Flow
from saga.flow.rules import RULES
from tests.contract.test_choreography import COMMANDS, SERVICES
from tests.contract.test_first_contact_page import said
from tests.support.saga.compose import FILE as COMPOSE
from tests.support.saga.compose import readme_exports

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
INLINE = re.compile(r"`([^`\n]+)`")
PROGRAM = re.compile(r"^(saga|order-service|payment-service|inventory-service)$")
LEAVES = [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)]


MESSAGE = re.compile(r'\*\*"(.+?)"\*\*', re.DOTALL)
"""A message as operators see it, to search for; an ellipsis is whatever the message says there."""


def text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks(document: Path, *kinds: str) -> list[str]:
    return [content for kind, content in BLOCK.findall(text(document)) if kind in kinds]


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def invocations() -> Iterator[tuple[str, list[str]]]:
    """Return every call of our programs in the documents' shell blocks and inline code: where, and its words."""
    for document in DOCUMENTS:
        shell = [
            line for block in blocks(document, "sh", "console") for line in block.replace("\\\n", " ").splitlines()
        ]
        inline = [code for code in INLINE.findall(BLOCK.sub("", text(document))) if PROGRAM.match(code.split()[0])]
        for line in shell + inline:
            for command in re.split(r"\s[|>]\s|&&", line):
                words = shlex.split(command.removeprefix("$ "), comments=True)
                programs = [index for index, word in enumerate(words) if PROGRAM.match(word)]
                if programs and len(words) > programs[-1] + 1:
                    yield named(document), words[programs[-1] :]


INVOCATIONS = list(dict.fromkeys((where, " ".join(map(shlex.quote, words))) for where, words in invocations()))


def test_the_readmes_diagram_is_the_choreography_that_the_code_declares() -> None:
    """Read from the handlers' signatures, never written beside them."""
    assert blocks(ROOT / "README.md", "mermaid") == [as_mermaid(Flow.of(SERVICES))]


def test_the_page_of_the_flow_is_what_saga_flow_prints() -> None:
    """Whatever version this is."""
    [shown] = blocks(ROOT / "docs" / "flow.md", "text")
    assert shown.partition("\n\n")[2] == as_text(Flow.of(SERVICES)).partition("\n\n")[2]


def test_every_rule_of_saga_verify_is_in_the_documents() -> None:
    """By its name, with what must hold."""
    told = text(ROOT / "docs" / "flow.md")
    for rule in RULES:
        law = " ".join((getdoc(rule) or "").partition("\n\n")[0].split())
        assert f"| {rule.__name__.replace('_', '-')} | {law} |" in told


@pytest.mark.parametrize("command", LEAVES)
def test_every_command_is_named_in_a_document(command: str) -> None:
    """A command that nobody tells of is not found."""
    assert any(f"`{command}`" in text(document) or f"{command} " in text(document) for document in DOCUMENTS)


@pytest.mark.parametrize(("where", "line"), INVOCATIONS, ids=[line[:60] for _, line in INVOCATIONS])
def test_every_command_in_the_documents_exists_with_its_options(where: str, line: str) -> None:
    """As it stands it can be copied: the command, its options, and in shell blocks whatever it requires."""
    words = shlex.split(line)
    command: click.Command = COMMANDS[words.pop(0)]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, f"{where}: there is no {line}"
        command = found
    if isinstance(command, click.Group) or not words:
        return
    context = click.Context(command)
    values, rest, _ = command.make_parser(context).parse_args(words)
    assert rest == [], f"{where}: {rest} is too much in {line}"
    missing = [p.name for p in command.params if p.required and not p.envvar and values.get(p.name or "") is None]
    assert missing == [], f"{where}: {line} lacks {missing}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """To a file of the project, and to a heading of it where one is named."""
    for link in LINK.findall(BLOCK.sub("", text(document))):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    """A promise is shown by a test, not by its name."""
    for path, test in NAMED_TEST.findall(text(document)):
        assert f"\ndef {test}(" in text(ROOT / path), f"{path}::{test}"


def test_every_promise_names_a_test() -> None:
    """In the part of guarantees.md that promises, each bold sentence and each row of a table is shown by something."""
    promised, _, _ = text(ROOT / "docs" / "guarantees.md").partition("## Not promised")
    for paragraph in promised.partition("## Promised")[2].split("\n\n"):
        rows = [row for row in paragraph.splitlines() if row.startswith("| ") and "shown by" not in row]
        assert all(NAMED_TEST.search(row) for row in rows), paragraph


@pytest.mark.parametrize("file", ["shipping_service.py", "order.shipped.avsc", "ids.json", "topics.yaml"])
def test_adding_a_service_shows_its_files_as_they_are(file: str) -> None:
    """What is shown is what is run."""
    shown = blocks(ROOT / "docs" / "adding-a-service.md", "python", "json", "yaml")
    assert text(ROOT / "docs" / "examples" / "shipping" / file) in shown


@pytest.mark.parametrize("file", ["bell_service.py", "test_bell_service.py"])
def test_adding_a_service_begins_with_the_smallest_one_and_its_test(file: str) -> None:
    """What is shown is what is run."""
    shown = blocks(ROOT / "docs" / "adding-a-service.md", "python")
    assert text(ROOT / "docs" / "examples" / "bell" / file) in shown[:2]


def test_the_page_of_your_payment_provider_shows_its_file_as_it_is() -> None:
    """What is shown is what is run."""
    shown = blocks(ROOT / "docs" / "payment-provider.md", "python")
    assert shown == [text(ROOT / "docs" / "examples" / "provider" / "http_provider.py")]


@pytest.mark.parametrize("document", ["README.md", "docs/operating.md"])
def test_what_is_to_be_removed_with_a_throw_away_broker_is_every_database_of_the_readme(document: str) -> None:
    """One that is left belongs to the old broker: a worker refuses, or `saga check` finds hundreds of violations."""
    [removed] = [code.split()[2:] for code in INLINE.findall(text(ROOT / document)) if code.startswith("rm -f ")]
    files = re.findall(r"(/var/tmp/[\w.-]+)", " ".join(readme_exports().values()))
    assert len(files) == 5
    assert [file + end for file in files for end in ("", "-wal", "-shm") if not matches(removed, file + end)] == []


def matches(patterns: list[str], file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in patterns)


def test_ports_that_the_page_of_containers_names_are_those_of_the_compose_file() -> None:
    """Who has a Kafka on this machine already looks for the name there."""
    ports = dict(re.findall(r"\$\{(\w+_PORT):-(\d+)\}", COMPOSE.read_text(encoding="utf-8")))
    page = text(ROOT / "docs" / "connecting.md")
    assert "KAFKA_PORT" in ports
    assert [name for name in re.findall(r"\w+_PORT", page) if name not in ports] == []
    assert [
        name for name, port in ports.items() if name != "REGISTRY_PORT" and (name not in page or port not in page)
    ] == []


def test_make_targets_in_the_documents_exist() -> None:
    """`make` in a shell block or in inline code."""
    targets = set(re.findall(r"^([\w-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        code = "\n".join([*blocks(document, "sh", "console"), *INLINE.findall(BLOCK.sub("", text(document)))])
        assert set(re.findall(r"^make ([\w-]+)", code, re.MULTILINE)) <= targets, named(document)


def test_messages_that_operating_explains_are_those_of_the_programs() -> None:
    """Who is paged at night searches for what the worker said."""
    explained = [" ".join(message.split()) for message in MESSAGE.findall(text(ROOT / "docs" / "operating.md"))]
    assert len(explained) > 10
    assert [(m, part) for m in explained for part in m.split("…") if part.strip() not in said()] == []
