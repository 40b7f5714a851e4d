"""From records to items: decoded, and judged by where they lie."""

from __future__ import annotations

from typing import Any

from eventbus.engine.batch import Delivery, decode
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.placement import Placement
from eventbus.log import FetchedRecords, LogUnavailable
from eventbus.serde.registry import RegistryUnavailable
from eventbus.service import Service


class Intake:
    """Makes items of what the log says."""

    def __init__(self, service: Service[Any], deps: Dependencies, config: EngineConfig) -> None:
        self._codec, self._topics = deps.codec, service.topics()
        placed_over = config.keys_placed_over
        self._placement = Placement(deps.log, placed_over) if placed_over else None

    def polled(self) -> None:
        """A poll has ended; what it brought comes now."""
        if self._placement:
            self._placement.polled()

    def decoded(self, run: FetchedRecords) -> tuple[list[Delivery], int, RegistryUnavailable | LogUnavailable | None]:
        """Return what is known of a run, where that ends, and why it does; what comes before the unknown goes on."""
        items: list[Delivery] = []
        for record in run.records:
            try:
                item = decode(self._codec, record, self._topics)
                if item is not None:
                    items.append(self._placement.judge(item) if self._placement else item)
            except (RegistryUnavailable, LogUnavailable) as error:
                return items, record.offset, error
        return items, run.end, None
