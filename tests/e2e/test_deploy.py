"""deploy/: the image and the compose file bring the whole saga up, and it sells."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest

from tests.conftest import do_without
from tests.support.brokers.docker_engine import NoImage, pull_unless_here
from tests.support.brokers.kafka_container import IMAGE
from tests.support.saga.compose import Project

BASE_IMAGE = "python:3.11-slim-bookworm"
BUILD_SECONDS = 600


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    try:
        project = Project()
        pull_unless_here(IMAGE)
        pull_unless_here(BASE_IMAGE)
    except NoImage as why:
        do_without("Docker engine with compose", why)
    try:
        project.run("build", "topics", seconds=BUILD_SECONDS)
        project.run("up", "--detach")
        yield project
    finally:
        project.remove()


def test_an_order_that_is_placed_in_the_deployment_ends_confirmed(project: Project) -> None:
    project.once("inventory-service", "inventory-service", "stock", "set", "CD-42", "10")
    order = ("--customer", "42", "--total", "29.33", "--item", "CD-42=2")
    placed = project.once("order-service", "order-service", "place", *order, "--wait", "90", "--json")
    assert json.loads(placed)["status"] == "confirmed"
    stock = json.loads(project.once("inventory-service", "inventory-service", "stock", "show", "--json"))
    assert stock == [{"sku": "CD-42", "on_hand": 10, "reserved": 2}]


def test_the_laws_hold_in_the_deployment(project: Project) -> None:
    report = json.loads(project.once("topics", "saga", "check", "--json"))
    assert report["violations"] == []


@pytest.mark.parametrize("service", ["ORDER", "PAYMENT", "INVENTORY"])
def test_every_worker_says_on_its_metrics_port_that_it_is_alive(project: Project, service: str) -> None:
    url = f"http://127.0.0.1:{project.ports[f'{service}_METRICS_PORT']}"
    with urllib.request.urlopen(f"{url}/livez", timeout=10) as live:
        assert live.status == 200
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as metrics:
        assert b"saga_events_consumed_total" in metrics.read()


def test_the_image_does_not_run_as_root(project: Project) -> None:
    assert project.once("topics", "id", "-u").strip() != "0"
