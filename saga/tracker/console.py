"""The log of `saga track` and `saga ui` for people: a sentence for each event, as workers print them."""

from __future__ import annotations

from eventbus.worker.console import SENTENCES as WORKERS
from eventbus.worker.console import Fields, Sentences
from eventbus.worker.telemetry import configure_logging


def _tracked(event: Fields) -> str:
    events = f"{event['events']:,} event{'' if event['events'] == 1 else 's'}"
    return f"tracked {events}, {event['events_per_second']:,} a second; offsets not read yet: {event['behind']:,}"


SENTENCES: Sentences = {
    **{name: WORKERS[name] for name in ("waiting", "kafka.reached")},
    "events.tracked": _tracked,
    "waiting.over": lambda _event: "reads the log again",
    "partition.not.read": lambda event: f"{event['why']}: {event['do']}",
    "violations": lambda event: f"violations of the kind {event['kind']}: {event['count']:,}; see `{event['see']}`",
    "tracker.rebuilt": lambda event: (
        f"{event['path']} is rebuilt: {event['why']}; the old one is kept in {event['kept']}"
    ),
    "not.tracking": lambda event: f"does not follow the log: {event['why']}",
    "reading.only": lambda event: f"only reads: {event['why']}",
}
"""What a person reads of each event. As JSON it has its name and its fields."""


def log_to_stderr(log_format: str) -> None:
    """Configure the log: sentences (`console`), JSON, or what suits stderr (`auto`)."""
    configure_logging(log_format, "info", sentences=SENTENCES)
