"""What a service declares: its handlers, and through their signatures its part in the choreography."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from eventbus.event import Event
from eventbus.log import PROGRESS, RESOLUTIONS

if typing.TYPE_CHECKING:
    from eventbus.database import Transaction
    from eventbus.database.schema_version import Schema

W = TypeVar("W")
F = TypeVar("F", bound=Callable[..., Any])


class TryAgain(Exception):
    """A remote call's outcome is not known: it is asked for again, with the same key, for as long as it takes."""


class Unasked(NamedTuple):
    """What a remote function returns when it knew the answer without asking anybody.

    It says nothing about whether the other side answers; the handler is given the `answer`.
    """

    answer: Any


def answer_of(outcome: Any) -> Any:
    """Return what the handler is given: the answer, whether somebody was asked or not."""
    return outcome.answer if isinstance(outcome, Unasked) else outcome


class Repository(Protocol[W]):
    """All SQL of a service: loads what a batch needs in few statements, and writes it back set by set."""

    @property
    def schema(self) -> Schema | str:
        """The service's tables: plain `create table`, run once on an empty database.

        `schema_in(folder)` where they change from release to release: it has the migration steps too.
        """

    def load(self, tx: Transaction, events: Sequence[Event]) -> W:
        """Load, and lock in a fixed order, what deciding on these events takes."""

    def save(self, tx: Transaction, work: W) -> None:
        """Write back what the handlers changed: insert what was not found, update what was."""


class NoState:
    """The repository of a service that keeps nothing."""

    schema = ""

    def load(self, tx: Transaction, events: Sequence[Event]) -> None:
        """Load nothing."""

    def save(self, tx: Transaction, work: None) -> None:
        """Save nothing."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """One arrow of the choreography: what a service does about an event."""

    event: type[Event]
    handler: Callable[..., Event | None]
    remote: Callable[..., Any] | None
    remote_takes_state: bool
    """The remote function takes a working set, read without locks, as its second argument."""
    publishes: tuple[type[Event], ...]
    compensates: tuple[type[Event], ...] = ()
    awaits: tuple[type[Event], ...] = ()
    read_only: bool = False
    repeats: bool = False

    @property
    def name(self) -> str:
        """The handler's name: an imperative."""
        return self.handler.__name__

    @property
    def purpose(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]


class _Mark(NamedTuple):
    """What `@reacts_to` was given."""

    event: type[Event]
    remote: Callable[..., Any] | None
    compensates: tuple[type[Event], ...]
    awaits: tuple[type[Event], ...]
    read_only: bool
    repeats: bool


def reacts_to(  # noqa: PLR0913 - a declaration, everything by its name
    event: type[Event],
    *,
    remote: Callable[..., Any] | None = None,
    compensates: Sequence[type[Event]] = (),
    awaits: Sequence[type[Event]] = (),
    read_only: bool = False,
    repeats: bool = False,
) -> Callable[[F], F]:
    """Declare that a method handles `event`.

    The method is called as `handler(self, event, work)`, or `handler(self, event, outcome, work)` when `remote` is
    given: `remote(self, event)`, or `remote(self, event, work)` with what the repository knows, runs before the
    transaction, many at once, and must be idempotent; where it need not ask anybody it returns `Unasked(outcome)`. The
    return annotation names every event that may be published.

    What no type can say is said here, for `saga flow` and `saga verify`; it changes nothing about what is done:
    `compensates`, the events of this service whose effect the handler undoes; `awaits`, the events without which it
    decides nothing yet; `read_only`, it changes nothing that would ever have to be undone; `repeats`, it is meant to
    close a cycle.
    """
    said = _Mark(event, remote, tuple(compensates), tuple(awaits), read_only, repeats)

    def mark(method: F) -> F:
        marks = getattr(method, "_reacts_to", ())
        method._reacts_to = (*marks, said)  # type: ignore[attr-defined]  # noqa: SLF001
        return method

    return mark


class Service(Generic[W]):
    """A participant. Subclass it, name it, give it handlers; `W` is the repository's working set."""

    name: ClassVar[str]
    """The consumer group, the event source, the start of the dead-letter topic's name."""
    initiates: ClassVar[tuple[type[Event], ...]] = ()
    """Events that it publishes without a cause in the log (they start a saga)."""
    completes: ClassVar[tuple[type[Event], ...]] = ()
    """Its events that are final: the saga has ended well."""
    aborts: ClassVar[tuple[type[Event], ...]] = ()
    """Its events that are final: the saga has ended without its purpose, and everybody undoes their part."""
    owns: ClassVar[tuple[type[Event], ...]] = ()
    """Its events that are not named after it, as payment.charged is after payment-service."""
    reactions: ClassVar[dict[type[Event], Reaction]]

    repository: Repository[W]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own: dict[type[Event], Reaction] = {}
        for method in vars(cls).values():
            for said in getattr(method, "_reacts_to", ()):
                if said.event in own:
                    raise TypeError(f"{cls.__name__} reacts to {said.event.topic} twice")
                own[said.event] = _reaction(method, said)
        cls.reactions = {**getattr(cls, "reactions", {}), **own}

    @classmethod
    def example_states(cls, key: str) -> Mapping[str, tuple[Self, W]]:
        """Return an example of every state that `key` can be in: a service, and a working set in which it is in it.

        `saga verify` tries every handler in every one of them; the states are what the names say. Nothing is run.
        """
        del key
        return {}

    @classmethod
    def topics(cls) -> list[str]:
        """The topics it reads, in the order of its handlers."""
        return [event.topic for event in cls.reactions]

    @classmethod
    def subscriptions(cls) -> list[str]:
        """What its workers subscribe to: its topics, and the resolutions of its dead letters."""
        return [*cls.topics(), cls.resolutions()]

    @classmethod
    def publishes(cls) -> list[type[Event]]:
        """Every event it may publish, first mentioned first."""
        caused = (event for reaction in cls.reactions.values() for event in reaction.publishes)
        return list(dict.fromkeys((*cls.initiates, *caused)))

    @classmethod
    def events(cls) -> list[type[Event]]:
        """Every event it reads or publishes."""
        return list(dict.fromkeys((*cls.reactions, *cls.publishes())))

    @classmethod
    def dead_letters(cls) -> str:
        """The topic for records that can never be handled."""
        return f"{cls.name}.dead-letters"

    @classmethod
    def resolutions(cls) -> str:
        """The topic for what people decided about dead letters; the service reads it."""
        return f"{cls.name}{RESOLUTIONS}"

    @classmethod
    def progress(cls) -> str:
        """The topic of how far it has published, the second witness of its database's age (eventbus.kafka.witness)."""
        return f"{cls.name}{PROGRESS}"


def _reaction(method: Callable[..., Any], said: _Mark) -> Reaction:
    knows = said.remote is not None and len(inspect.signature(said.remote).parameters) > 2  # noqa: PLR2004
    publishes = _returned_events(method)
    return Reaction(
        said.event,
        method,
        said.remote,
        knows,
        publishes,
        said.compensates,
        said.awaits,
        said.read_only,
        said.repeats,
    )


def _returned_events(method: Callable[..., Any]) -> tuple[type[Event], ...]:
    hint = typing.get_type_hints(method).get("return")
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    branches = typing.get_args(hint) if union else (hint,)
    events = tuple(branch for branch in branches if branch is not type(None))
    if not all(isinstance(branch, type) and issubclass(branch, Event) for branch in events):
        raise TypeError(f"{method.__qualname__} must return events or None; its annotation says {hint}")
    return events
