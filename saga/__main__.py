"""`saga`: the command line for the saga as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.cli.help import CommandGroup
from eventbus.manifest import BadDeclaration
from eventbus.text.terminal import safe_stdout

SECTIONS = {
    "Run": ("demo", "dev", "topics", "track", "ui", "broker"),
    "Ask": ("orders", "show", "why", "stats", "workers", "violations", "sql", "check", "tail", "decode", "audit"),
    "Repair": ("deadletters",),
    "Develop": ("flow", "verify", "acls", "schemas", "simulate"),
}
"""By what they are for. Each is a file in `saga.commands`, imported only when called: `saga` starts fast."""
COMMANDS = tuple(name for names in SECTIONS.values() for name in names)

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
    "eventbus.database.short_keys": ("AmbiguousKey",),
    "eventbus.manifest": ("BadDeclaration",),
    "eventbus.serde.plans": ("BadCodec",),
    "eventbus.serde.registry": ("RegistryUnavailable", "UnknownSchema"),
    "eventbus.serde.registry_config": ("BadRegistryConfig",),
}
"""Exceptions that are not bugs and are reported in one line; a module that was not imported cannot have raised one."""


class Commands(CommandGroup):
    """The group of COMMANDS, which reports FACTS in one line."""

    sections = SECTIONS

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return all names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; return None if there is none of this name."""
        if name not in COMMANDS:
            return None
        try:
            self.add_command(getattr(import_module(f"saga.commands.{name}"), f"{name}_command"))
        except BadDeclaration as error:  # of the folder that SAGA_DECLARATIONS names
            cli.fail(str(error))
        return super().get_command(ctx, name)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; exit code 1 if it raises one of FACTS, 3 if a topic was deleted and recreated."""
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
