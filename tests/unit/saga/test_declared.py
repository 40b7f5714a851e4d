"""Events of a service that the tools do not import are read by what its declaration says of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from shipping_service import OrderShipped, ShippingService

from eventbus import Codec
from eventbus.manifest import BadDeclaration, declare, read_declaration
from eventbus.serde.registry import UnknownSchema, registry_at
from saga.__main__ import main
from saga.check.database_options import declared_databases
from saga.declared import DeclaredSchemas, declared_events
from saga.kafka.decode import Decoder
from saga.services import declared_elsewhere
from saga.tracker.fold import TrackedEvent
from saga.tracker.intake import ForeignEvents, TrackerIntake
from schemas import EVENTS, OrderConfirmed

SHIPPING = declare(ShippingService)
OWN = registry_at(None, EVENTS)
VALUE = Codec(registry_at(None, [OrderShipped]), [OrderShipped]).encode(OrderShipped("order-1", "parcel-1"))


@dataclass
class Message:
    """What the tracker asks of the client's messages."""

    key_bytes: bytes

    def __getattr__(self, name: str) -> Any:
        fields = {"topic": "order.shipped", "key": self.key_bytes, "value": VALUE, "headers": [], "partition": 0}
        fields |= {"offset": 7, "timestamp": (1, 1_000)}
        return lambda: fields[name]


def renumbered(number: str) -> Any:
    document = json.loads(SHIPPING.to_json())
    [schema] = document["events"]["order.shipped"]["released"].values()
    document["events"]["order.shipped"]["released"] = {number: schema}
    return read_declaration(json.dumps(document), "here")


def test_a_declaration_says_by_which_ids_its_events_are_read() -> None:
    """Only those that it publishes: the others are in their publishers' declarations. It survives being written."""
    assert list(SHIPPING.events["order.shipped"].released) == ["1001"]
    assert SHIPPING.events["order.confirmed"].released == {}
    assert read_declaration(SHIPPING.to_json(), "here") == SHIPPING
    assert list(declared_events([SHIPPING])) == ["order.shipped"]


def test_a_value_is_decoded_by_the_declared_schema() -> None:
    assert Decoder(DeclaredSchemas(OWN, [SHIPPING])).decode(VALUE) == {"order_id": "order-1", "parcel": "parcel-1"}


def test_without_a_declaration_the_message_says_where_one_is_looked_for() -> None:
    with pytest.raises(UnknownSchema, match=r"no released schema has the id 1001 \(see SAGA_DECLARATIONS"):
        DeclaredSchemas(OWN, []).schema_of(1001)


def test_an_id_of_two_schemas_is_refused() -> None:
    """Records with it would be shown as something that they are not."""
    taken = str(Codec(OWN, EVENTS).id_of(OrderConfirmed))
    with pytest.raises(BadDeclaration, match=f"the id {taken} of order.shipped is another schema's, too"):
        DeclaredSchemas(OWN, [renumbered(taken)])


@pytest.mark.parametrize(("key", "told"), [(b"order-1", "event"), (b"order-2", "undecodable")])
def test_the_tracker_takes_them_in_and_compares_their_keys(key: bytes, told: str) -> None:
    foreign = ForeignEvents(declared_events([SHIPPING]), Decoder(DeclaredSchemas(OWN, [SHIPPING])))
    row = TrackerIntake(Codec(OWN, EVENTS), foreign).row(Message(key))
    if told == "event":
        assert isinstance(row, TrackedEvent)
        assert (row.order_id, row.topic, json.loads(row.fields)["parcel"]) == ("order-1", "order.shipped", "parcel-1")
    else:
        assert (row.kind, row.order_id) == ("undecodable", "order-2")


def test_the_folder_is_read_and_the_sagas_own_services_count_as_they_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGA_DECLARATIONS", str(tmp_path))
    (tmp_path / "shipping.json").write_text(SHIPPING.to_json())
    (tmp_path / "order.json").write_text(SHIPPING.to_json().replace("shipping-service", "order-service"))
    assert declared_elsewhere() == [SHIPPING]
    (tmp_path / "again.json").write_text(SHIPPING.to_json())
    with pytest.raises(BadDeclaration, match=r"shipping\.json: shipping-service is already declared"):
        declared_elsewhere()


def test_its_database_is_where_its_worker_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `saga workers` and the page: by its variable, else the default."""
    assert declared_databases() == {}
    (tmp_path / "shipping.json").write_text(SHIPPING.to_json())
    monkeypatch.setenv("SAGA_DECLARATIONS", str(tmp_path))
    assert declared_databases() == {"shipping-service": "sqlite:///shipping_service.db"}
    monkeypatch.setenv("SHIPPING_SERVICE_DATABASE", "sqlite:////elsewhere.db")
    assert declared_databases() == {"shipping-service": "sqlite:////elsewhere.db"}


def test_a_folder_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["decode"], env={"SAGA_DECLARATIONS": f"{tmp_path}/gone"}, input=b"")
    assert result.exit_code == 1
    assert "there is no such folder" in result.output
