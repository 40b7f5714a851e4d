"""`saga audit export --format ocel` is valid by the standard's own schema, and process mining understands it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eventbus.log import Record
from saga.audit.ocel import write_ocel
from saga.flow.model import Flow
from tests.conftest import do_without
from tests.contract.test_choreography import SERVICES
from tests.support.brokers.maven import Missing
from tests.support.models.exported import DECODER, history
from tests.support.pypi import installed

FLOW = Flow.of(SERVICES)
ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests" / "data" / "ocel20-schema-json.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
RECORDS = history(40)
PM4PY = (
    "pm4py==2.7.23.11",
    "pandas",
    "numpy",
    "networkx",
    "lxml",
    "python-dateutil",
    "pytz",
    "six",
    "tqdm",
    "graphviz",
)
"""Reading and discovering wants no more; what draws and solves is half a gigabyte."""


def ocel(records: list[Record]) -> Any:
    out = StringIO()
    write_ocel(out, records, DECODER, FLOW)
    return json.loads(out.getvalue())


LOG = ocel(RECORDS)


def test_it_is_valid_by_the_standards_own_schema() -> None:
    """Also without a record, and the schema would find a defect."""
    assert list(VALIDATOR.iter_errors(LOG)) == []
    assert list(VALIDATOR.iter_errors(ocel([]))) == []
    for broken in ({**LOG, "events": [{**LOG["events"][0], "time": 5}]}, {**LOG, "objects": [{"id": "x"}]}):
        assert list(VALIDATOR.iter_errors(broken))


def test_every_name_that_is_used_is_declared_and_every_relation_leads_to_an_object() -> None:
    """What the standard asks for and its schema cannot say; ids are unique."""
    objects = {each["id"]: each["type"] for each in LOG["objects"]}
    assert len(objects) == len(LOG["objects"])
    assert len({each["id"] for each in LOG["events"]}) == len(LOG["events"]) == len(RECORDS)
    assert set(objects.values()) == {"order", "customer", "payment", "sku"}
    assert set(objects.values()) <= {each["name"] for each in LOG["objectTypes"]}
    declared = {each["name"]: [attribute["name"] for attribute in each["attributes"]] for each in LOG["eventTypes"]}
    assert all(len(set(names)) == len(names) for names in declared.values())
    for event in LOG["events"]:
        assert {attribute["name"] for attribute in event["attributes"]} <= set(declared[event["type"]])
        for relation in event["relationships"]:
            assert objects[relation["objectId"]] == relation["qualifier"]
    for each in LOG["objects"]:
        assert {relation["objectId"] for relation in each["relationships"]} <= set(objects)


def test_events_name_orders_customers_payments_and_articles() -> None:
    """By the fields of the events; amounts and texts are attributes, where it lies and what caused it too."""
    placed = next(event for event in LOG["events"] if event["type"] == "order.created")
    kinds = Counter(relation["qualifier"] for relation in placed["relationships"])
    assert (kinds["order"], kinds["customer"], kinds["sku"] >= 1) == (1, 1, True)
    values = {attribute["name"]: attribute["value"] for attribute in placed["attributes"]}
    assert values["currency"] == "USD"
    assert json.loads(values["items"])[0].keys() == {"sku", "quantity"}
    charged = next(event for event in LOG["events"] if event["type"] == "payment.charged")
    values = {attribute["name"]: attribute["value"] for attribute in charged["attributes"]}
    assert (values["service"], values["caused_by"] in {event["id"] for event in LOG["events"]}) == (
        "payment-service",
        True,
    )
    order = next(each for each in LOG["objects"] if each["type"] == "order")
    assert {relation["qualifier"] for relation in order["relationships"]} >= {"customer", "sku"}


def test_records_that_are_no_events_are_left_out_and_counted() -> None:
    """The log of events has no place for them."""
    out = StringIO()
    written = write_ocel(out, [RECORDS[0]._replace(value=b"x"), *RECORDS[1:]], DECODER, FLOW)
    assert (written.undecodable, written.events) == (1, len(RECORDS) - 1)
    assert written.told.endswith("1 record that is not an event is omitted")


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What pm4py discovers."""
    try:
        packages = installed("pm4py-2.7.23", *PM4PY)
    except Missing as why:
        do_without("pm4py", why)
    path = tmp_path_factory.mktemp("ocel") / "history.json"
    path.write_text(json.dumps(LOG), encoding="utf-8")
    run = [sys.executable, "-P", str(ROOT / "tests" / "support" / "saga" / "discover.py"), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_pm4py_reads_all_of_it(mined: Any) -> None:
    """Every event and every object."""
    assert mined["events"] == len(LOG["events"])
    assert mined["objects"] == dict(Counter(each["type"] for each in LOG["objects"]))


def test_pm4py_discovers_the_flow_that_the_code_declares(mined: Any) -> None:
    """Which event directly follows which in an order: what caused it, and nothing that is not declared.

    Where an event answers to two, which the service awaits, it follows on the later one.
    """
    discovered = {(before, after) for before, after, _ in mined["follows"]}
    declared = {(edge.cause, edge.event) for edge in FLOW.edges if edge.cause is not None}
    types = {event["id"]: event["type"] for event in LOG["events"]}
    causes = {
        event["id"]: {a["name"]: a["value"] for a in event["attributes"]}.get("caused_by") for event in LOG["events"]
    }
    occurred = {(types[cause], types[event]) for event, cause in causes.items() if cause is not None}
    awaited = {(does.event, event) for _, does in FLOW.handlers if does.awaits for event in does.publishes}
    assert discovered <= declared
    assert occurred <= declared
    assert occurred - awaited <= discovered
    assert discovered - occurred <= awaited
    assert len(discovered) == 8
    assert mined["starts"] == [edge.event for edge in FLOW.edges if edge.cause is None]
    assert set(mined["ends"]) == {"order.confirmed", "order.cancelled", "payment.refunded"}
