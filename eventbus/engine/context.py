"""What the stages of an engine share."""

from __future__ import annotations

from typing import Any, NamedTuple

from eventbus.engine.assignment import Assignment
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.incarnations import Incarnations
from eventbus.service import Service


class EngineContext(NamedTuple):
    """One of each for the whole engine."""

    service: Service[Any]
    deps: Dependencies
    config: EngineConfig
    assignment: Assignment
    topics: Incarnations
