"""Whether the installed services can start at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from eventbus.manifest import declare
from eventbus.service import Service
from eventbus.startable import cannot_start
from saga.flow.finding import Finding, Rule
from saga.flow.model import Flow


def every_service_can_start(services: Iterable[type[Service[Any]]]) -> Rule:
    """Return the rule that a worker of each of these services can start."""
    tried = list(services)

    def rule(_flow: Flow) -> Iterator[Finding]:
        for service in tried:
            for why in cannot_start(service):
                yield Finding("", service.name, declare(service).file, why)

    rule.__name__ = every_service_can_start.__name__
    return rule
