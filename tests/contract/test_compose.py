"""deploy/compose.yaml takes nothing from the shell that is exported there for the programs of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.contract.test_choreography import COMMANDS
from tests.support.saga.compose import FILE, readme_exports

TAKEN = set(re.findall(r"\$\{(\w+)", FILE.read_text(encoding="utf-8")))
SETTINGS = sorted(FILE.parent.glob("*.env"))


def read_by_commands() -> Iterator[str]:
    """Return every environment variable that an option of a command reads."""
    for command in COMMANDS.values():
        for parameter in command.params:
            names = parameter.envvar or ()
            yield from [names] if isinstance(names, str) else names


def test_what_the_shell_has_for_the_programs_does_not_reach_the_containers() -> None:
    """README's exports name files and ports of this machine: in a container each would be another, empty one."""
    exports = readme_exports()
    assert {"KAFKA_BOOTSTRAP_SERVERS", "ORDER_SERVICE_DATABASE", "PAYMENT_GATEWAY"} <= exports.keys()
    assert "ORDER_SERVICE_DATABASE" in set(read_by_commands())
    assert not TAKEN & {*exports, *read_by_commands()}


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: file.name)
def test_an_environment_file_sets_what_the_compose_file_takes(file) -> None:
    """A name that is misspelled would leave SQLite in use, without a word."""
    named = set(re.findall(r"^(\w+)=", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named <= TAKEN
