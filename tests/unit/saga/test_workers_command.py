"""`saga workers` where no broker answers."""

from __future__ import annotations

from typing import NoReturn

import pytest
from click.testing import CliRunner

from saga.__main__ import main
from saga.commands import workers
from saga.kafka.cluster import Unreachable


def test_it_waits_once_for_a_broker_not_once_for_each_of_its_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def silent(*query: object) -> NoReturn:
        asked.append(query)
        raise Unreachable("no Kafka broker answers", "timed out")

    monkeypatch.setattr(workers, "from_announcements", silent)
    monkeypatch.setattr(workers, "group_lag", silent)
    done = CliRunner().invoke(main, ["workers", "--bootstrap-servers", "127.0.0.1:9"])
    assert (done.exit_code, len(asked)) == (1, 1)
    assert "no Kafka broker answers" in done.stderr
