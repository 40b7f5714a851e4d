"""The runtime of an event-driven service on Kafka: exactly once, in one thread. It depends on no particular service.

A service needs only the names exported here; the modules below are internal, and may move.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventbus.database import (
    ConcurrentUpdate,
    Database,
    DueColumn,
    NotThere,
    ReadOnlyOrFull,
    Row,
    Table,
    Transaction,
    Unavailable,
    WorkingSet,
    WrongDatabase,
    check_file,
    connect,
    existing,
    retry_on_conflict,
)
from eventbus.database.schema_version import Schema, schema_in
from eventbus.database.short_keys import whole_key
from eventbus.event import Event, Rule, event
from eventbus.event.overdue import Overdue, WrongClock, check_clock
from eventbus.log import to_iso
from eventbus.publishing import publish, root_event_check
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import CallStyle, NoState, Service, TryAgain, Unasked, reacts_to, when_due
from eventbus.text import handed_in
from eventbus.text.redaction import HIDDEN, redact

if TYPE_CHECKING:
    from eventbus.cli.completion import complete_keys
    from eventbus.cli.connection_options import secret
    from eventbus.cli.options import (
        WorkerConfig,
        as_json,
        database_option,
        fail,
        not_empty,
        print_json,
        registry,
        schema_registry_url,
    )
    from eventbus.cli.parked_commands import parked_here, parked_line, parked_with
    from eventbus.cli.tables import print_table
    from eventbus.worker.service_cli import service_cli
    from eventbus.worker.worker import Ending, Worker

_ON_DEMAND = {
    "Ending": "eventbus.worker.worker",
    "Worker": "eventbus.worker.worker",
    "WorkerConfig": "eventbus.cli.options",
    "as_json": "eventbus.cli.options",
    "complete_keys": "eventbus.cli.completion",
    "database_option": "eventbus.cli.options",
    "fail": "eventbus.cli.options",
    "not_empty": "eventbus.cli.options",
    "parked_here": "eventbus.cli.parked_commands",
    "parked_line": "eventbus.cli.parked_commands",
    "parked_with": "eventbus.cli.parked_commands",
    "print_json": "eventbus.cli.options",
    "print_table": "eventbus.cli.tables",
    "registry": "eventbus.cli.options",
    "schema_registry_url": "eventbus.cli.options",
    "secret": "eventbus.cli.connection_options",
    "service_cli": "eventbus.worker.service_cli",
}
"""The modules of names that are imported on first use, so that reading a declaration does not load a Kafka client."""

__all__ = [
    "HIDDEN",
    "CallStyle",
    "Codec",
    "ConcurrentUpdate",
    "Database",
    "DueColumn",
    "Ending",
    "Event",
    "NoState",
    "NotThere",
    "Overdue",
    "PoisonRecord",
    "ReadOnlyOrFull",
    "Row",
    "Rule",
    "Schema",
    "Service",
    "Table",
    "Transaction",
    "TryAgain",
    "Unasked",
    "Unavailable",
    "Worker",
    "WorkerConfig",
    "WorkingSet",
    "WrongClock",
    "WrongDatabase",
    "as_json",
    "check_clock",
    "check_file",
    "complete_keys",
    "connect",
    "database_option",
    "event",
    "existing",
    "fail",
    "handed_in",
    "not_empty",
    "parked_here",
    "parked_line",
    "parked_with",
    "print_json",
    "print_table",
    "publish",
    "reacts_to",
    "redact",
    "registry",
    "retry_on_conflict",
    "root_event_check",
    "schema_in",
    "schema_registry_url",
    "secret",
    "service_cli",
    "to_iso",
    "when_due",
    "whole_key",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use (PEP 562)."""
    if name not in _ON_DEMAND:
        raise AttributeError(f"module 'eventbus' has no attribute {name!r}")
    return getattr(import_module(_ON_DEMAND[name]), name)
