"""`saga deadletters skip`: whose checkpoint it moves, where nobody says so."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from saga.__main__ import main
from saga.deadletters.skip import reader_of


@pytest.mark.parametrize(
    ("topic", "group"),
    [
        ("payment.charged", "inventory-service"),
        ("payment.failed", "order-service"),
        ("payment-service.dead-letters.resolutions", "payment-service"),
    ],
)
def test_the_only_one_that_reads_the_topic_is_meant(topic: str, group: str) -> None:
    """Events and resolutions: whatever a worker subscribes to can be unreadable."""
    assert reader_of(topic) == group


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("order.created", "payment-service and inventory-service read order.created: select one of them with --group"),
        (
            "shipment.sent",
            "none of order-service, payment-service, inventory-service reads shipment.sent: name the service with",
        ),
    ],
)
def test_where_it_is_not_clear_who_is_meant_it_is_asked(topic: str, said: str) -> None:
    """With the names that are possible; exit code 2, before anything is connected to."""
    with pytest.raises(click.UsageError, match=said):
        reader_of(topic)
    arguments = ["deadletters", "skip", topic, "0", "3", "--by", "ana", "--reason", "INC-9"]
    result = CliRunner().invoke(main, arguments, env={"KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}, prog_name="saga")
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_without_a_group_it_goes_on_for_the_only_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for the database where that service's workers do."""
    monkeypatch.chdir(tmp_path)
    arguments = ["deadletters", "skip", "payment.charged", "0", "3", "--by", "ana", "--reason", "INC-9"]
    result = CliRunner().invoke(main, arguments, env={"INVENTORY_SERVICE_DATABASE": None}, prog_name="saga")
    said = "the database of inventory-service is not at sqlite:///inventory_service.db"
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
