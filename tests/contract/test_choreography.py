"""The choreography is closed: what is heard is said, what is said has a schema and a topic, versions go together."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec import defstruct

import inventory_service.__main__
import order_service.__main__
import payment_service.__main__
import saga.__main__
from eventbus import Event
from eventbus import event as bound
from eventbus.avro_schema import written_with
from eventbus.serde.codec import Codec
from eventbus.serde.registry import FileRegistry
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService
from saga.evolution.compatibility import breaks
from saga.evolution.released import check_pairs, released
from saga.kafka.topics_file import KINDS, read_topics
from schemas import EVENTS, IDS

SERVICES = (OrderService, PaymentService, InventoryService)
PROGRAMS = {
    "order-service": order_service.__main__.main,
    "payment-service": payment_service.__main__.main,
    "inventory-service": inventory_service.__main__.main,
    "saga": saga.__main__.main,
}
RELEASED = released(IDS.parent)


def test_every_event_that_a_service_reacts_to_is_published_by_one():
    """Else it would wait forever."""
    published = {event for service in SERVICES for event in service.publishes()}
    assert {event for service in SERVICES for event in service.reactions} <= published


def test_every_event_is_published_by_exactly_one_service_and_known_to_the_published_language():
    """An event has one owner, and nothing is published that has no schema."""
    publishers = [event for service in SERVICES for event in service.publishes()]
    assert sorted(publishers, key=EVENTS.index) == list(EVENTS)


def test_every_topic_of_the_file_is_an_event_or_dead_letters_and_the_other_way_round():
    """What `saga topics create` makes is what the workers use."""
    topics = {kind: {topic.name for topic in read_topics() if topic.kind == kind} for kind in KINDS}
    assert topics["events"] == {event.topic for event in EVENTS}
    assert topics["dead_letters"] == {service.dead_letters() for service in SERVICES}
    assert topics["resolutions"] == {service.resolutions() for service in SERVICES}
    assert topics["progress"] == {service.progress() for service in SERVICES}
    assert topics["declarations"] == {"choreography.declarations"}


def test_every_event_has_released_versions_and_the_newest_is_the_one_in_use():
    """And the id that workers write is that version's."""
    assert set(RELEASED) == {event.topic for event in EVENTS}
    registry = FileRegistry(IDS)
    for event in EVENTS:
        assert RELEASED[event.topic][-1].schema == json.loads(event.schema_text)
        assert registry.schema_of(registry.id_of(event)) == written_with(json.loads(event.schema_text))


@pytest.mark.parametrize("topic", RELEASED)
def test_every_released_version_can_read_every_other_one(topic):
    """FULL_TRANSITIVE, by the rules and by trying it, itself included: services can be upgraded in any order."""
    assert list(check_pairs(RELEASED[topic])) == []
    for version in RELEASED[topic]:
        assert breaks(version.schema, version.schema) == []


@pytest.mark.parametrize(
    ("writer", "written", "reader", "read"),
    [
        (3, "LIMIT_EXCEEDED", 3, "LIMIT_EXCEEDED"),
        (3, "LIMIT_EXCEEDED", 2, "UNSPECIFIED"),
        (3, "DECLINED", 2, "DECLINED"),
        (2, "DECLINED", 3, "DECLINED"),
        (1, None, 3, "UNSPECIFIED"),
        (1, None, 2, "UNSPECIFIED"),
    ],
)
def test_a_code_that_a_release_does_not_know_is_read_as_its_default(tmp_path, writer, written, reader, read):
    """By the codec of each release, with the ids that ship: neither poison nor another symbol."""
    failed = refused(tmp_path / "writer", writer, *[written] * (written is not None))
    codec = Codec(FileRegistry(IDS), [type(failed)])
    known = type(refused(tmp_path / "reader", reader))
    theirs = Codec(FileRegistry(IDS), [known])
    for _ in range(2):  # the first time by fastavro, which learns the version
        event = theirs.decode(failed.topic, b"o", codec.encode(failed))
        assert (type(event), event.error, event.code) == (known, "too dear", read)


def refused(folder: Path, version: int, *code: str) -> Event:
    """Return a payment.failed as the release wrote it that had this version."""
    folder.mkdir()
    avsc = Path(shutil.copy(RELEASED["payment.failed"][version - 1].path, folder / "payment.failed.avsc"))
    fields: list[Any] = [("order_id", str), ("error", str)]
    if version > 1:
        fields.append(("code", str, "UNSPECIFIED"))
    kind = defstruct("PaymentFailed", fields, bases=(Event,), frozen=True)
    return bound(avsc, key="order_id")(kind)("o", "too dear", *code)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Return every command of the four programs with its full name, groups too."""
    waiting: list[tuple[str, click.Command]] = list(PROGRAMS.items())
    while waiting:
        name, command = waiting.pop()
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            children = ((child, command.get_command(context, child)) for child in command.list_commands(context))
            waiting += [(f"{name} {child}", found) for child, found in children if found is not None]


COMMANDS = dict(sorted(commands()))


HEAVY = {"starlette", "uvicorn", "psycopg", "structlog", "confluent_kafka", "confluent_kafka.schema_registry", "yaml"}
"""Three quarters of the start of a command that does not need them (measured)."""


@pytest.mark.parametrize(
    ("imports", "needed"),
    [
        ("saga.__main__", set()),
        ("saga.commands.orders", set()),
        ("saga.commands.check", {"psycopg", "structlog", "confluent_kafka", "yaml"}),
        ("order_service.__main__", {"psycopg", "structlog", "confluent_kafka"}),
        ("payment_service.__main__", {"psycopg", "structlog", "confluent_kafka"}),
        ("inventory_service.__main__", {"psycopg", "structlog", "confluent_kafka"}),
    ],
)
def test_no_command_loads_what_only_another_one_needs(imports, needed):
    """The web server, the registry's client, and for those who only ask the tracker also what workers stand on."""
    code = f"import sys, {imports}; print(*sorted({HEAVY - needed} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_every_error_that_saga_says_in_one_line_is_there():
    """They are named, so that nothing is imported for them."""
    for module, names in saga.__main__.FACTS.items():
        assert all(issubclass(getattr(importlib.import_module(module), name), Exception) for name in names)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_of_itself(name):
    """In its help: the program's name and its own, so that it can be copied."""
    help_text = COMMANDS[name].get_help(click.Context(COMMANDS[name], info_name=name))
    _, example, after = help_text.partition("Example")
    assert example
    assert name in " ".join(after.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name):
    """And an environment variable that sets it is shown."""
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option)]
    for option in options:
        assert option.help, option.name
        assert option.show_envvar or not option.envvar, option.name
