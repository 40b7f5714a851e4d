"""What keeps a service from starting is said by `run`, by `declaration` and by `saga verify`, in one line each."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from eventbus import Event, NoState, Service, event, reacts_to, service_cli
from eventbus.service import Misdeclared
from eventbus.startable import cannot_start
from eventbus.testing import Scenario
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService
from saga.__main__ import main as saga
from saga.flow.model import Flow
from saga.flow.starting import every_service_can_start
from schemas import OrderConfirmed

SAMPLE = Path(__file__).parents[2] / "support" / "engines" / "sample"


class Deaf(Service[None]):
    """Reacts to nothing."""

    name = "deaf-service"


class WithoutAName(Service[None]):
    """Has no name."""

    @reacts_to(OrderConfirmed)
    def note(self, confirmed: OrderConfirmed, _nothing: None) -> None:
        """Do nothing."""


class TooFewParameters(Service[None]):
    """Its handler forgets the working set."""

    name = "short-service"

    @reacts_to(OrderConfirmed)
    def note(self, confirmed: OrderConfirmed) -> None:
        """Do nothing."""


class HalfARepository(Service[None]):
    """Its repository cannot save."""

    name = "half-service"
    repository = type("Half", (), {"schema": "", "load": NoState.load})()  # type: ignore[assignment]

    @reacts_to(OrderConfirmed)
    def note(self, confirmed: OrderConfirmed, _nothing: None) -> None:
        """Do nothing."""


def unreleased(folder: Path, *, ids: str | None) -> type[Service[Any]]:
    (folder / "thing.done.avsc").write_text(
        '{"type": "record", "name": "ThingDone", "namespace": "n", "fields": [{"name": "id", "type": "string"}]}'
    )
    if ids is not None:
        (folder / "ids.json").write_text(ids)

    @event(folder / "thing.done.avsc", key="id")
    class ThingDone(Event, frozen=True):
        """Not released."""

        id: str

    class Unreleased(Service[None]):
        """Reads an event that has no id."""

        name = "unreleased-service"

        def note(self, done, _nothing) -> None:
            """Do nothing."""

        note = reacts_to(ThingDone)(note)

    return Unreleased


def said(service: type[Service[Any]], command: str) -> str:
    result = CliRunner().invoke(
        service_cli(service), [command, "--database", "sqlite://"][: 1 if command == "declaration" else 3]
    )
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize(
    ("service", "why"),
    [
        (Deaf, "Deaf reacts to no event"),
        (TooFewParameters, "TooFewParameters.note is called as note(self, event, work), which it does not accept"),
        (HalfARepository, "the repository of HalfARepository, a Half, has no save"),
    ],
)
def test_all_three_say_it(service: type[Service[Any]], why: str) -> None:
    assert [found.partition(":")[0] for found in cannot_start(service)] == [why]
    assert [found.detail.partition(":")[0] for found in every_service_can_start([service])(Flow([]))] == [why]
    assert f"error: {service.__name__} cannot start: {why}" in said(service, "run")
    assert said(service, "run") == said(service, "declaration")


def test_a_name_is_needed_for_everything() -> None:
    assert "WithoutAName.name is None" in cannot_start(WithoutAName)[0]


BELL = """
from eventbus import Service, reacts_to, service_cli
from schemas import OrderCancelled, OrderConfirmed

class Half:
    schema = ""
    def load(self, tx, events):
        return None

class Bell(Service[None]):
    name = "bell-service"

    @reacts_to(OrderConfirmed)
    def ring(self, confirmed: OrderConfirmed, _nothing: None) -> None:
        pass
"""
REST = """
main = service_cli(Bell)
"""
NAME, RETURNS = '    name = "bell-service"', ", _nothing: None) -> None"
AGAIN = """
    @reacts_to(OrderConfirmed)
    def ring_again(self, confirmed: OrderConfirmed, _nothing: None) -> None:
        pass
"""
MISDECLARED = {
    "no name": (BELL.replace(NAME, ""), "Bell.name is None: give it one"),
    "no annotation": (BELL.replace(RETURNS, ", _nothing)"), "Bell.ring does not say what it returns: annotate it"),
    "a number": (BELL.replace(RETURNS, ", _nothing) -> int"), "Bell.ring must return events or None"),
    "unknown": (BELL.replace(RETURNS, ", _nothing) -> 'Rung'"), "of Bell.ring cannot be read: name 'Rung' is not"),
    "twice": (BELL + AGAIN, "Bell reacts to order.confirmed twice: in ring and ring_again"),
    "no event": (BELL.replace("(OrderConfirmed)", "('order.confirmed')"), "'order.confirmed', which is not a class"),
    "remote": (BELL.replace("(OrderConfirmed)", "(OrderConfirmed, remote='x')"), "'x', is not a function"),
}
UNABLE = {
    "half a repository": (
        BELL + "\n    def __init__(self):\n        self.repository = Half()\n",
        "the repository of Bell, a Half, has no save",
    ),
    "it fails": (BELL + "\n    def __init__(self):\n        raise KeyError('x')\n", "Bell() fails: KeyError: 'x'"),
    "its examples fail": (
        BELL + "\n    @classmethod\n    def example_states(cls, key):\n        return {}[key]\n",
        "Bell.example_states fails: KeyError: 'x'",
    ),
}
ARGUMENTS = "\n    def __init__(self, x):\n        self.repository = Half()\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Install a distribution with a service, given its source; return its module."""

    def install(source: str) -> Any:
        name = f"installed_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(source)
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (folder / "entry_points.txt").write_text(f"[saga.services]\n{name} = {name}:Bell\n")
        monkeypatch.syspath_prepend(tmp_path)
        return import_module(name)

    return install


def one_sentence(main: click.Command, *arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize(("source", "why"), MISDECLARED.values(), ids=MISDECLARED.keys())
def test_a_class_without_a_declaration_makes_every_command_say_why(
    installed: Callable[[str], Any], source: str, why: str
) -> None:
    """Not the import of it, which would be a traceback."""
    main = installed(source + REST).main
    declared = one_sentence(main, "declaration")
    assert declared.startswith("error: Bell cannot start: ")
    assert why in declared
    assert declared == one_sentence(main, "run", "--database", "sqlite://")
    assert why in one_sentence(saga, "verify")


@pytest.mark.parametrize(("source", "why"), UNABLE.values(), ids=UNABLE.keys())
def test_a_service_that_is_made_without_arguments_is_made_to_see_what_it_lacks(
    installed: Callable[[str], Any], source: str, why: str
) -> None:
    main = installed(source + REST).main
    assert one_sentence(main, "declaration") == f"error: Bell cannot start: {why}\n"
    assert one_sentence(main, "run", "--database", "sqlite://") == f"error: Bell cannot start: {why}\n"
    assert re.search(rf"^every-service-can-start \(.*\): {re.escape(why)}$", one_sentence(saga, "verify"), re.MULTILINE)


def test_a_service_that_its_command_cannot_make_is_named(installed: Callable[[str], Any]) -> None:
    """`saga verify` does not know how it is made."""
    main = installed(BELL + ARGUMENTS + REST).main
    for command in (["declaration"], ["run", "--database", "sqlite://"]):
        said = one_sentence(main, *command)
        assert "Bell is called as Bell(), which it does not accept: missing a required argument: 'x'; give" in said


def test_a_repository_that_only_its_build_makes_is_checked_when_it_is_made(installed: Callable[[str], Any]) -> None:
    build = 'def build():\n    """Start.\n\n    Example: bell-service run"""\n    return Bell(1)\n'
    main = installed(BELL + ARGUMENTS + build + "main = service_cli(Bell, build=build)").main
    assert CliRunner().invoke(main, ["declaration"]).exit_code == 0
    assert "the repository of Bell, a Half, has no save" in one_sentence(main, "run", "--database", "sqlite://")


def test_a_scenario_of_a_misdeclared_service_says_so(installed: Callable[[str], Any]) -> None:
    with pytest.raises(Misdeclared, match="twice"):
        Scenario(installed(BELL + AGAIN).Bell())


@pytest.mark.parametrize(("ids", "why"), [(None, "cannot be read"), ("{}", "was never released")])
def test_an_event_without_an_id_needs_a_registry(tmp_path: Path, ids: str | None, why: str) -> None:
    service = unreleased(tmp_path, ids=ids)
    [found] = cannot_start(service)
    assert why in found
    assert cannot_start(service, registry=True) == []


@pytest.mark.parametrize("service", [OrderService, PaymentService, InventoryService])
def test_the_sagas_own_services_can_start(service: type[Service[Any]]) -> None:
    assert cannot_start(service) == []
