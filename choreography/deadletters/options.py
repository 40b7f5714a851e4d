"""Options that several of the commands take."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click

from choreography.deadletters.letters import Where
from eventbus import cli
from eventbus.resolutions import BY_CHARACTERS, WHY_CHARACTERS

F = TypeVar("F", bound=Callable[..., Any])


def where_options(command: F) -> F:
    """Decorate a click command with how to reach Kafka; it is called with `where=Where(...)`."""

    @wraps(command)
    def with_where(bootstrap_servers: str, kafka_config: dict[str, str], **options: Any) -> Any:
        return command(where=Where(bootstrap_servers, kafka_config), **options)

    return cast("F", cli.bootstrap_servers(cli.kafka_config(with_where)))


def statement_options(command: F) -> F:
    """Decorate a click command with who decides, and why: `by` and `why`."""
    by = click.option(
        "--by",
        required=True,
        envvar="SAGA_BY",
        show_envvar=True,
        callback=cli.short(BY_CHARACTERS),
        help="Who decides.",
    )
    why = click.option(
        "--reason", "why", required=True, callback=cli.short(WHY_CHARACTERS), help="Why; stays on record."
    )
    return by(why(command))
