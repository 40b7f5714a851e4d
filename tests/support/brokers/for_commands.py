"""A broker for a command that measures or tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from tests.support.brokers import any_broker
from tests.support.brokers.kafka_node import Broker, NoBroker


@contextmanager
def started_broker() -> Iterator[Broker]:
    """Start the best broker there is, and stop it at the end. Raises ClickException if there is none."""
    try:
        broker = any_broker().start()
    except NoBroker as why:
        raise click.ClickException(str(why)) from why
    try:
        yield broker
    finally:
        broker.stop()
