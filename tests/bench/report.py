"""Figures, and under what they were taken."""

from __future__ import annotations

import math
import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import confluent_kafka

from tests.support.brokers.kafka_node import VERSION

Figures = dict[str, Any]
median = statistics.median


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def surroundings(bootstrap_servers: str, *, own: bool) -> Figures:
    """Return the versions and the machine that figures belong to."""
    return {
        "Python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "confluent-kafka": version("confluent-kafka"),
        "fastavro": version("fastavro"),
        "Kafka": VERSION if own else f"at {bootstrap_servers}",
        "SQLite": sqlite3.sqlite_version,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": load(),
    }


def load() -> str:
    """Return the load average of the last one, five and fifteen minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def lines(title: str, figures: Figures) -> str:
    """Return figures for people."""
    width = max(map(len, figures))
    return "\n".join([title, *(f"  {name:<{width}}  {_shown(value)}" for name, value in figures.items())])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "  ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
