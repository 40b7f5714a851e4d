"""`saga`: the whole, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.text.terminal import safe_stdout

COMMANDS = {
    "demo": "saga.demo.command:demo_command",
    "topics": "saga.topics_commands:topics_group",
    "broker": "saga.broker:broker_command",
    "tail": "saga.tail:tail_command",
    "decode": "saga.decode:decode_command",
    "schemas": "saga.schemas_commands:schemas_group",
    "flow": "saga.flow.command:flow_command",
    "verify": "saga.flow.verify:verify_command",
    "acls": "saga.flow.access_command:acls_command",
    "check": "saga.check.command:check_command",
    "simulate": "saga.simulate.command:simulate_command",
    "chaos": "saga.chaos.command:chaos_command",
    "deadletters": "saga.deadletters.commands:deadletters_group",
    "track": "saga.track.command:track_command",
    "orders": "saga.track.reading:orders_command",
    "show": "saga.track.reading:show_command",
    "why": "saga.track.reading:why_command",
    "sql": "saga.track.reading:sql_command",
    "stats": "saga.track.reading:stats_command",
    "violations": "saga.track.reading:violations_command",
    "audit": "saga.audit.command:audit_group",
    "ui": "saga.ui.command:ui_command",
}
"""Where each command is: imported only when it is called, so that each command starts fast."""

FACTS = {
    "saga.audit.export": ("CannotWrite",),
    "saga.audit.lines": ("NotAnExport",),
    "saga.audit.scratch": ("NoRoom",),
    "saga.census": ("NotRead",),
    "saga.check.log": ("TopicsMissing",),
    "saga.check.records": ("LogMoved",),
    "saga.cluster": ("BadConfiguration", "TopicRecreated", "Unreachable"),
    "saga.deadletters.resolve": ("Unresolved",),
    "saga.deadletters.selection": ("NoSuchLetter",),
    "saga.deadletters.skip": ("NothingToSkip",),
    "saga.flow.installed": ("NoService",),
    "saga.flow.progress": ("TooManyWays",),
    "saga.reader": ("NoSuchTopic", "ReadFailed"),
    "saga.topics_file": ("BadTopicsFile",),
    "saga.track.queries": ("BadStatement", "NotTracked"),
    "saga.track.store": ("AnotherTracker", "NotATracker"),
    "saga.witness": ("ReadingsDiffer",),
    "eventbus.database": ("LostRace", "NotOurs", "NotThere", "Unavailable"),
    "eventbus.manifest": ("BadDeclaration",),
    "eventbus.serde.registry": ("RegistryUnavailable", "UnknownSchema"),
    "eventbus.serde.registry_config": ("BadRegistryConfig",),
}
"""What is no mistake in the code, and is said in one line; what was not imported cannot have been raised."""


class Commands(click.Group):
    """The group of COMMANDS, which says FACTS."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return all names, in the order of a saga's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a command; return None where there is none of this name."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
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
