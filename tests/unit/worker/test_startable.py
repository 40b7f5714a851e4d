"""What keeps a service from starting is said by `run`, by `declaration` and by `saga verify`, in one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eventbus import Event, NoState, Service, event, reacts_to, service_cli
from eventbus.startable import cannot_start
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService
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
    assert why in said(service, "declaration")
    assert f"error: {service.__name__} cannot start: {why}" in said(service, "run")


def test_a_name_is_needed_for_everything() -> None:
    assert "WithoutAName.name is None" in cannot_start(WithoutAName)[0]


@pytest.mark.parametrize(("ids", "why"), [(None, "cannot be read"), ("{}", "was never released")])
def test_an_event_without_an_id_needs_a_registry(tmp_path: Path, ids: str | None, why: str) -> None:
    service = unreleased(tmp_path, ids=ids)
    [found] = cannot_start(service)
    assert why in found
    assert cannot_start(service, registry=True) == []


@pytest.mark.parametrize("service", [OrderService, PaymentService, InventoryService])
def test_the_sagas_own_services_can_start(service: type[Service[Any]]) -> None:
    assert cannot_start(service) == []
