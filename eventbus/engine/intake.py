"""Turns records into deliveries: decodes them, and checks their placement."""

from __future__ import annotations

from typing import Any

from eventbus.engine.batch import Delivery, decode
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.placement import Placement
from eventbus.log import FetchedRecords, LogUnavailable
from eventbus.serde.registry import RegistryUnavailable
from eventbus.service import Service


class Intake:
    """Turns fetched records into deliveries."""

    def __init__(self, service: Service[Any], deps: Dependencies, config: EngineConfig) -> None:
        self._codec, self._topics = deps.codec, service.topics()
        placed_over = config.keys_placed_over
        self._placement = Placement(deps.log, placed_over) if placed_over else None

    def polled(self) -> None:
        """A poll has returned; its records follow."""
        if self._placement:
            self._placement.polled()

    def decoded(self, run: FetchedRecords) -> tuple[list[Delivery], int, RegistryUnavailable | LogUnavailable | None]:
        """Return the decoded records of a run, the offset they end at, and why; those before an error are returned."""
        items: list[Delivery] = []
        for record in run.records:
            try:
                item = decode(self._codec, record, self._topics)
                if item is not None:
                    items.append(self._placement.judge(item) if self._placement else item)
            except (RegistryUnavailable, LogUnavailable) as error:
                return items, record.offset, error
        return items, run.end, None
