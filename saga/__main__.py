"""`saga`: the whole, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.text.terminal import safe_stdout

COMMANDS = (
    *("demo", "topics", "broker", "tail", "decode", "schemas", "flow", "verify", "acls", "check", "simulate"),
    *("deadletters", "track", "orders", "show", "why", "sql", "stats", "violations", "audit", "ui"),
)
"""In the order of a saga's life. Each is a file in `saga.commands`, imported only when it is called: it starts fast."""

FACTS = {
    "saga.audit.export": ("CannotWrite",),
    "saga.audit.lines": ("NotAnExport",),
    "saga.audit.scratch": ("NoRoom",),
    "saga.kafka.census": ("NotRead",),
    "saga.kafka.records": ("LogMoved",),
    "saga.kafka.cluster": ("BadConfiguration", "TopicRecreated", "Unreachable"),
    "saga.deadletters.resolve": ("Unresolved",),
    "saga.deadletters.selection": ("NoSuchLetter",),
    "saga.deadletters.skip": ("NothingToSkip",),
    "saga.services": ("NoService",),
    "saga.kafka.event_topics": ("TopicsMissing",),
    "saga.flow.progress": ("TooManyWays",),
    "saga.kafka.reader": ("NoSuchTopic", "ReadFailed"),
    "saga.kafka.topics_file": ("BadTopicsFile",),
    "saga.tracker.queries": ("BadStatement", "NotTracked"),
    "saga.tracker.store": ("AnotherTracker", "NotATracker"),
    "saga.kafka.recount": ("ReadingsDiffer",),
    "eventbus.database": ("ConcurrentUpdate", "WrongDatabase", "NotThere", "Unavailable"),
    "eventbus.manifest": ("BadDeclaration",),
    "eventbus.serde.registry": ("RegistryUnavailable", "UnknownSchema"),
    "eventbus.serde.registry_config": ("BadRegistryConfig",),
}
"""What is no mistake in the code, and is said in one line; what was not imported cannot have been raised."""


class Commands(click.Group):
    """The group of COMMANDS, which says FACTS."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return all names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a command; return None where there is none of this name."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"saga.commands.{name}"), f"{name}_command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; exit code 1 where it raises one of FACTS, 3 where a topic is not the one it was."""
        try:
            with safe_stdout(), cli.scrubbed_usage():
                return super().invoke(ctx)
        except Exception as error:
            if not isinstance(error, tuple(_facts())):
                raise
            cli.fail(str(error), 3 if type(error).__name__ == "TopicRecreated" else 1)


def _facts() -> Iterator[type[Exception]]:
    for module, names in FACTS.items():
        if module in sys.modules:
            yield from (getattr(sys.modules[module], name) for name in names)


@click.group(cls=Commands, context_settings=cli.CONTEXT)
@click.version_option(package_name="order-saga")
def main() -> None:
    """Run, watch and check the order saga as a whole.

    Example: saga demo
    """


if __name__ == "__main__":
    main(prog_name="saga")
