"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from eventbus.cli import options as cli
from saga.deadletters.letters import LetterTarget
from saga.kafka.cluster import Cluster

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(command: F) -> F:
    """Add the options of the Kafka connection to a click command; it is called with `cluster=Cluster(...)`."""

    @wraps(command)
    def with_cluster(bootstrap_servers: str, kafka_config: dict[str, str], **options: Any) -> Any:
        return command(cluster=Cluster(bootstrap_servers, kafka_config), **options)

    return cast("F", cli.bootstrap_servers(cli.kafka_config(with_cluster)))


def where_options(command: F) -> F:
    """Add the options of the Kafka connection to a click command; it is called with `where=LetterTarget(...)`."""

    @wraps(command)
    def with_where(bootstrap_servers: str, kafka_config: dict[str, str], **options: Any) -> Any:
        return command(where=LetterTarget(bootstrap_servers, kafka_config), **options)

    return cast("F", cli.bootstrap_servers(cli.kafka_config(with_where)))


def statement_options(command: F) -> F:
    """Add the options for who decides, and why, to a click command: `by` and `why`."""

    @wraps(command)
    def with_why(reason: str, **options: Any) -> Any:
        return command(why=reason, **options)

    return cast("F", cli.by(cli.reason(with_why)))
