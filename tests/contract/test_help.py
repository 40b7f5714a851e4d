"""Help that can be read and copied on any terminal, and the page that is made from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from eventbus.cli.tables import table_lines
from eventbus.database import connect
from order_service.domain import OrderRequest, new_order
from order_service.repository import SCHEMA, insert_orders
from tests.contract.test_choreography import COMMANDS, PROGRAMS
from tests.support.commands_page import PAGE, page
from tests.support.models.tracked import stored, tracked_events

COLUMNS = 80


def help_of(name: str) -> str:
    program, *words = name.split()
    shown = CliRunner().invoke(PROGRAMS[program], [*words, "--help"], terminal_width=COLUMNS, prog_name=program)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns_and_breaks_no_word(name: str) -> None:
    """A terminal would break a longer line inside a word, and what is broken at a hyphen cannot be copied."""
    command, shown = COMMANDS[name], help_of(name)
    assert [line for line in shown.splitlines() if len(line) > COLUMNS] == []
    body = shown.partition("Options:")[0].replace("\n    ", "")
    assert "   " not in body.replace("\n  ", ""), "an indentation of the source is in the text"
    words = set(shown.split())
    for example in re.findall(r"Example: (.*)$", command.help or "", re.MULTILINE):
        assert set(example.split()) <= words, example
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert {each.rstrip(",") for each in option.opts} <= {word.rstrip(",") for word in words}


FILTERS = [
    (name, option)
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
    if re.match("Only |Records of ", option.help or "") or option.name == "instance"
    if isinstance(option.type, click.types.StringParamType) and not option.multiple and not option.is_flag
]


@pytest.mark.parametrize(("name", "option"), FILTERS, ids=[f"{name} {option.opts[0]}" for name, option in FILTERS])
def test_an_empty_filter_or_name_is_refused(name: str, option: click.Option) -> None:
    """It is usually a variable that is not set; `none` would be a false comfort, and everything a false choice."""
    command = COMMANDS[name]
    with pytest.raises(click.BadParameter, match="it is empty: give a value, or leave the option out"):
        option.process_value(click.Context(command), "")


def test_filters_are_found() -> None:
    """Those of orders, dead letters, violations, exports, and of two services."""
    assert len(FILTERS) >= 6


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if isinstance(command, click.Group)])
def test_a_group_lists_its_commands_with_whole_summaries(name: str) -> None:
    """A summary that ends in dots tells nothing."""
    shown = help_of(name)
    assert "..." not in shown.replace("[ARGS]...", "")


def test_saga_help_is_grouped_by_what_one_wants() -> None:
    """To run, ask, repair, develop; every command is in one of them."""
    titles = re.findall(r"^(\w+):$", help_of("saga"), re.MULTILINE)
    assert titles == ["Options", "Run", "Ask", "Repair", "Develop"]


def test_the_page_of_the_commands_is_made_from_their_help() -> None:
    """`make docs` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()


ROWS = [["0198c4e3-8f3a-7cc2-a1d5-5a3f0c9b7e21", "cancelled", "out of stock: POSTER-1977 is not a known article", ""]]
HEADINGS = ("order", "status", "reason", "refunded")


def test_a_table_that_is_too_wide_for_the_terminal_is_one_field_a_line() -> None:
    """No line is longer, no word is broken, and what is empty is left out."""
    assert list(table_lines(HEADINGS, [*ROWS, *ROWS], width=60)) == [
        *(
            fields := [
                "order     0198c4e3-8f3a-7cc2-a1d5-5a3f0c9b7e21",
                "status    cancelled",
                "reason    out of stock: POSTER-1977 is not a known article",
            ]
        ),
        "",
        *fields,
    ]
    narrow = list(table_lines(HEADINGS, ROWS, width=40))
    assert narrow[2:] == ["reason    out of stock: POSTER-1977 is", "          not a known article"]


def test_a_table_that_fits_is_a_table_and_a_pipe_has_any_width() -> None:
    """Scripts that cut columns see the same, whatever the terminal was."""
    rows = [["a", "5"], ["bb", "123"]]
    assert list(table_lines(("name", "count"), rows, right=("count",), width=11)) == [
        "name  count",
        "a         5",
        "bb      123",
    ]
    assert len(list(table_lines(HEADINGS, ROWS))) == 2


def completed(program: str, folder: Path, *words: str) -> list[str]:
    """Return what a shell is offered for the last of these words."""
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    asked = {variable: "bash_complete", "COMP_WORDS": " ".join([program, *words]), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-m", program.replace("-", "_"), *words],
        env={**os.environ, **asked},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two orders, in the order service's database and in the tracker's, and a worker's lease."""
    ids = ("0198-one", "0199-two")
    event = tracked_events(1)[0]
    stored(tmp_path / "tracker.db", [event._replace(order_id=each, offset=n) for n, each in enumerate(ids)]).close()
    url = f"sqlite:///{tmp_path}/order_service.db"
    with closing(connect(url, service="order-service", schema=SCHEMA)) as database, database.transaction() as tx:
        request = OrderRequest("ann", 1, "USD", (("cd", 1),))
        insert_orders(tx, [new_order(each, request, 0) for each in ids])
        sql = "insert into instance_lease (name, nonce, host, pid, place, start, beat, started_at_ms, heartbeat_at_ms)"
        tx.execute(f"{sql} values ('host-1', 'n', 'host', 1, 'p', 's', 1, 1, 1)")
    return tmp_path


def test_the_shell_completes_orders_topics_and_workers(folder: Path) -> None:
    """By how they begin, from where the command would read them."""
    assert completed("saga", folder, "show", "0198") == ["0198-one"]
    assert completed("saga", folder, "why", "019") == ["0198-one", "0199-two"]
    assert completed("saga", folder, "tail", "order.c") == ["order.created", "order.confirmed", "order.cancelled"]
    assert completed("order-service", folder, "show", "0199") == ["0199-two"]
    assert completed("order-service", folder, "run", "--instance", "h") == ["host-1"]


def test_the_shell_completes_nothing_where_nothing_can_be_read(tmp_path: Path) -> None:
    """And says nothing, and makes no database."""
    assert completed("saga", tmp_path, "show", "0") == completed("order-service", tmp_path, "show", "0") == []
    assert list(tmp_path.iterdir()) == []


def test_fish_shows_whole_descriptions() -> None:
    """click's own script splits each line at all commas, and keeps the part before the second one."""
    script = subprocess.run(
        [sys.executable, "-m", "saga"],
        env={**os.environ, "_SAGA_COMPLETE": "fish_source"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'string split --max 1 "," $completion' in script
