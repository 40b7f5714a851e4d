"""What a service declares: its handlers, and through their signatures its part in the choreography."""

from __future__ import annotations

import asyncio
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from eventbus.database import DueColumn
from eventbus.event import Event
from eventbus.event.overdue import Overdue
from eventbus.log import DEAD_LETTERS, PROGRESS, RESOLUTIONS

if typing.TYPE_CHECKING:
    from eventbus.database import Database, Transaction
    from eventbus.database.schema_version import Schema

W = TypeVar("W")
F = TypeVar("F", bound=Callable[..., Any])

CallStyle = Literal["threads", "async", "together", "inline"]
"""How remote functions are called: see Service.call_style."""


class TryAgain(Exception):
    """The outcome of a remote call is unknown: it is retried indefinitely, with the same idempotency key."""


class Unasked(NamedTuple):
    """The result of a remote function that knew the answer without a remote call.

    It does not show whether the remote side is available; the handler receives the `answer`.
    """

    answer: Any


async def _awaited(outcome: Awaitable[Any]) -> Any:
    return await outcome


def finished(outcome: Any) -> Any:
    """Return the outcome of a remote function, after waiting here for that of an asynchronous one.

    For tests and simulations, which make one call at a time; a worker makes many at once.
    """
    return asyncio.run(_awaited(outcome)) if hasattr(outcome, "__await__") else outcome


def answer_of(outcome: Any) -> Any:
    """Return the answer that the handler receives, with or without a remote call."""
    return outcome.answer if isinstance(outcome, Unasked) else outcome


class Repository(Protocol[W]):
    """All SQL of a service: loads what a batch needs in few statements, and writes it back set by set."""

    @property
    def schema(self) -> Schema | str:
        """The service's tables: plain `create table`, run once on an empty database.

        `schema_in(folder)` if they change from release to release: it includes the migration steps.
        """

    def load(self, tx: Transaction, events: Sequence[Event]) -> W:
        """Load, and lock in a fixed order, the rows that deciding on these events requires."""

    def save(self, tx: Transaction, work: W) -> None:
        """Write back what the handlers changed: insert new rows, update existing ones."""


class NoState:
    """The repository of a service without state."""

    schema = ""

    def load(self, tx: Transaction, events: Sequence[Event]) -> None:
        """Load nothing."""

    def save(self, tx: Transaction, work: None) -> None:
        """Save nothing."""


class Misdeclared(TypeError):
    """The declaration of a handler cannot be used; the message says why."""


class Undeclared(TypeError):
    """A handler returned an event that its signature does not name."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """One arrow of the choreography: what a service does about an event."""

    event: type[Event]
    handler: Callable[..., Event | None]
    remote: Callable[..., Any] | None
    remote_takes_state: bool
    """The remote function takes a working set, read without locks, as its second argument."""
    remote_takes_time: bool
    """The remote function takes the timestamp of the event's record as its third argument."""
    publishes: tuple[type[Event], ...]
    compensates: tuple[type[Event], ...] = ()
    awaits: tuple[type[Event], ...] = ()
    read_only: bool = False
    repeats: bool = False

    @property
    def name(self) -> str:
        """The handler's name: an imperative."""
        return self.handler.__name__

    def answer(self, service: Service[Any], event: Event, *outcome: Any, work: Any) -> Event | None:
        """Call the handler; `outcome` is what its remote call returned, if it has one. Raises Undeclared."""
        answer = self.handler(service, event, *outcome, work)
        if answer is not None and type(answer) not in self.publishes:
            raise Undeclared(f"{self.name} returned {type(answer).__name__}, which its signature does not name")
        return answer

    def call_remote(self, service: Service[Any], event: Event, known: Any, at_ms: int) -> Any:
        """Call the remote function, with as many of the arguments as it takes."""
        assert self.remote is not None
        more = (known, at_ms) if self.remote_takes_time else (known,) if self.remote_takes_state else ()
        return self.remote(service, event, *more)

    @property
    def purpose(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline of a service: the column that holds it, and the handler that is called when it is over."""

    column: DueColumn
    reaction: Reaction
    """To `Overdue`; it has no remote function."""


def by_topic(reactions: Mapping[type[Event], Reaction]) -> dict[str, Reaction]:
    """Return reactions by the topic of their events."""
    return {event.topic: reaction for event, reaction in reactions.items()}


def deadline_reactions(deadlines: Mapping[str, Deadline]) -> dict[str, Reaction]:
    """Return the reactions to deadlines, by their names."""
    return {name: deadline.reaction for name, deadline in deadlines.items()}


class _Mark(NamedTuple):
    """The arguments of `@reacts_to`."""

    event: type[Event]
    remote: Callable[..., Any] | None
    compensates: tuple[type[Event], ...]
    awaits: tuple[type[Event], ...]
    read_only: bool
    repeats: bool


def reacts_to(  # noqa: PLR0913 - a declaration, all keyword-only
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
    given: `remote(self, event)`, or `remote(self, event, work)` with what the repository loaded, runs before the
    transaction, many at once, and must be idempotent; if it needs no remote call it returns `Unasked(outcome)`. It
    may be an `async def`. As `remote(self, event, work, at_ms)` it is also given the timestamp of the event's record
    (ms since 1970 UTC; of a redriven one the original's, so it is as old as the event): since when the remote side may
    have been called about it. The return annotation names every event that may be published.

    The other arguments declare what types cannot express, for `saga flow` and `saga verify`; they do not change how
    events are handled: `compensates`, the events of this service whose effect the handler undoes; `awaits`, the events
    without which it decides nothing yet; `read_only`, it changes nothing that would ever have to be undone; `repeats`,
    it closes a cycle on purpose.
    """
    declared = _Mark(event, remote, tuple(compensates), tuple(awaits), read_only, repeats)

    def mark(method: F) -> F:
        marks = getattr(method, "_reacts_to", ())
        method._reacts_to = (*marks, declared)  # type: ignore[attr-defined]  # noqa: SLF001
        return method

    return mark


class _DueMark(NamedTuple):
    """The arguments of `@when_due`."""

    column: DueColumn
    compensates: tuple[type[Event], ...]


def when_due(column: DueColumn, *, compensates: Sequence[type[Event]] = ()) -> Callable[[F], F]:
    """Declare that a method is called when the deadline in `column` of one of the service's rows is over.

    The method is called as `handler(self, overdue, work)`, with an `Overdue`, in the same kind of transaction as for an
    event. It must clear or move the deadline: one that is left as it was is an error. One method for each column. The
    return annotation names every event that may be published; `compensates` is as in `reacts_to`.
    """
    declared = _DueMark(column, tuple(compensates))

    def mark(method: F) -> F:
        method._when_due = declared  # type: ignore[attr-defined]  # noqa: SLF001
        return method

    return mark


class Service(Generic[W]):
    """A participant. Subclass it, name it, give it handlers; `W` is the repository's working set."""

    name: ClassVar[str]
    """The consumer group, the event source, and the prefix of the dead-letter topic's name."""
    initiates: ClassVar[tuple[type[Event], ...]] = ()
    """Its root events that start a saga: published without a cause in the log."""
    on_request: ClassVar[tuple[type[Event], ...]] = ()
    """Its root events that a person may request while a saga runs, to abort it for example.

    The service remembers the request: after a final event that was requested it publishes no other one."""
    completes: ClassVar[tuple[type[Event], ...]] = ()
    """Its final events that complete the saga successfully."""
    aborts: ClassVar[tuple[type[Event], ...]] = ()
    """Its final events that abort the saga: every service compensates its part."""
    owns: ClassVar[tuple[type[Event], ...]] = ()
    """Its events that are not named after it, as payment.charged is after payment-service."""
    reactions: ClassVar[dict[type[Event], Reaction]]
    deadlines: ClassVar[dict[str, Deadline]]
    """By the name of the column."""

    repository: Repository[W] = typing.cast("Repository[W]", NoState())
    """What it keeps, usually set in `__init__`; by default it keeps nothing, and its working set is None."""

    faults: ClassVar[tuple[str, ...]] = ()
    """What is wrong with its handlers' declarations, a sentence each: no worker of it can start."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        faults = list(cls.faults)
        cls.reactions = {**getattr(cls, "reactions", {}), **_reactions(cls, faults)}
        cls.deadlines = {**getattr(cls, "deadlines", {}), **_deadlines(cls, faults)}
        cls.faults = tuple(faults)

    @classmethod
    def example_states(cls, key: str) -> Mapping[str, tuple[Self, W]]:
        """Return an example of every state that `key` can be in, by name: a service, and a working set in that state.

        `saga verify` runs every handler in every one of them, without a database or a broker.
        """
        del key
        return {}

    def starting(self, database: Database) -> None:
        """Do what a worker does once, before it reads anything. May be called again if the database is unavailable."""

    @property
    def call_style(self) -> CallStyle:
        """How its remote functions are called; by default "async" if one of them is an `async def`, else "threads".

        * "threads": they block, and each call in progress has a thread.
        * "async": they return awaitables (or answer at once), which run on one event loop: none may block.
        * "together": as "async", but all calls of a batch at once, whatever `--remote-concurrency` says: for a remote
          side that answers what arrives together at the price of one request.
        * "inline": they answer within microseconds (an in-memory gateway, a cache) and are called without a thread; a
          call that blocked would keep the worker from reading and from sending heartbeats.
        """
        remotes = (reaction.remote for reaction in self.reactions.values())
        return "async" if any(inspect.iscoroutinefunction(remote) for remote in remotes) else "threads"

    @classmethod
    def topics(cls) -> list[str]:
        """The topics it reads, in the order of its handlers."""
        return [event.topic for event in cls.reactions]

    @classmethod
    def subscriptions(cls) -> list[str]:
        """The topics that its workers subscribe to: its input topics, and the resolutions of its dead letters."""
        return [*cls.topics(), cls.resolutions()]

    @classmethod
    def publishes(cls) -> list[type[Event]]:
        """Every event it may publish, in the order of declaration."""
        caused = (event for reaction in cls.reactions.values() for event in reaction.publishes)
        overdue = (event for each in cls.deadlines.values() for event in each.reaction.publishes)
        return list(dict.fromkeys((*cls.initiates, *caused, *overdue, *cls.on_request)))

    @classmethod
    def root_events(cls) -> list[type[Event]]:
        """Every event that it may publish without a cause in the log: a worker of it takes them from the database."""
        return [*cls.initiates, *cls.on_request]

    @classmethod
    def events(cls) -> list[type[Event]]:
        """Every event it reads or publishes."""
        return list(dict.fromkeys((*cls.reactions, *cls.publishes())))

    @classmethod
    def dead_letters(cls) -> str:
        """The topic for records that can never be handled."""
        return f"{cls.name}{DEAD_LETTERS}"

    @classmethod
    def resolutions(cls) -> str:
        """The topic of operators' decisions about dead letters; the service consumes it."""
        return f"{cls.name}{RESOLUTIONS}"

    @classmethod
    def progress(cls) -> str:
        """The progress topic: how far it has published, as a second witness of its database's age (see witness.py)."""
        return f"{cls.name}{PROGRESS}"


def check_declared(service: Service[Any]) -> None:
    """Raise Misdeclared if a handler's declaration cannot be used: nothing that handles events may start with it."""
    if service.faults:
        raise Misdeclared("; ".join(service.faults))


def _reactions(cls: type[Service[Any]], faults: list[str]) -> dict[type[Event], Reaction]:
    """Return the reactions that a class declares itself; what is wrong with one is appended to `faults`."""
    found: dict[type[Event], Reaction] = {}
    for method in vars(cls).values():
        for declared in getattr(method, "_reacts_to", ()):
            if declared.event in found:
                both = f"{found[declared.event].name} and {method.__name__}"
                faults.append(f"{cls.__name__} reacts to {declared.event.topic} twice: in {both}; use one")
                continue
            try:
                found[declared.event] = _reaction(method, declared)
            except Misdeclared as fault:
                faults.append(str(fault))
    return found


def _reaction(method: Callable[..., Any], declared: _Mark) -> Reaction:
    where = method.__qualname__
    if not _is_event(declared.event):
        raise Misdeclared(f"{where} reacts to {declared.event!r}, which is not a class with the decorator @event")
    if declared.remote is not None and not callable(declared.remote):
        raise Misdeclared(f"the remote of {where}, {declared.remote!r}, is not a function")
    takes = 0 if declared.remote is None else len(inspect.signature(declared.remote).parameters)
    return Reaction(
        declared.event,
        method,
        declared.remote,
        takes > 2,  # noqa: PLR2004 - self, event, work
        takes > 3,  # noqa: PLR2004 - self, event, work, at_ms
        _returned_events(method),
        declared.compensates,
        declared.awaits,
        declared.read_only,
        declared.repeats,
    )


def _deadlines(cls: type[Service[Any]], faults: list[str]) -> dict[str, Deadline]:
    """Return the deadlines that a class declares itself; what is wrong with one is appended to `faults`."""
    found: dict[str, Deadline] = {}
    for method in vars(cls).values():
        declared: _DueMark | None = getattr(method, "_when_due", None)
        if declared is None:
            continue
        name = declared.column.name
        if name in found:
            both = f"{found[name].reaction.name} and {method.__name__}"
            faults.append(f"{cls.__name__} has two handlers for the deadline {name}: {both}; use one")
            continue
        try:
            publishes = _returned_events(method)
            reaction = Reaction(Overdue, method, None, False, False, publishes, declared.compensates)
            found[name] = Deadline(declared.column, reaction)
        except Misdeclared as fault:
            faults.append(str(fault))
    return found


def _is_event(declared: object) -> bool:
    return isinstance(declared, type) and issubclass(declared, Event) and hasattr(declared, "topic")


def _returned_events(method: Callable[..., Any]) -> tuple[type[Event], ...]:
    where = method.__qualname__
    try:
        hints = typing.get_type_hints(method)
    except (AttributeError, NameError, SyntaxError, TypeError) as error:
        raise Misdeclared(
            f"the annotations of {where} cannot be read: {error}; import what they name (not only for a type checker)"
        ) from error
    if "return" not in hints:
        raise Misdeclared(f"{where} does not say what it returns: annotate it with the events it may publish, or None")
    hint = hints["return"]
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    branches = typing.get_args(hint) if union else (hint,)
    events = tuple(branch for branch in branches if branch is not type(None))
    if not all(map(_is_event, events)):
        raise Misdeclared(f"{where} must return events or None; its annotation says {inspect.formatannotation(hint)}")
    return events
