"""The rules about the runs of a saga: each ends, and its steps are compensated if it fails."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError

from saga.flow.finding import Finding, at_handler, at_publisher, at_service, shown
from saga.flow.model import Flow, Handler
from saga.flow.progress import runs


def every_way_ends(flow: Flow) -> Iterator[Finding]:
    """Every path of the saga reaches a final event."""
    if not flow.initiates:
        yield Finding("", "", "", "no service initiates a saga")
    stuck = {run[-1]: run for run in _all_runs(flow) if flow.endings.isdisjoint(run)}
    for event, run in stuck.items():
        yield at_publisher(flow, event, f"no event follows it, and the saga has not ended: {shown(run)}")


def endings_do_not_contradict(flow: Flow) -> Iterator[Finding]:
    """No saga is both completed and aborted."""
    for run in _all_runs(flow):
        endings = [event for event in run if event in flow.endings]
        if not (flow.completes.isdisjoint(run) or flow.aborts.isdisjoint(run)):
            yield at_publisher(flow, endings[-1], f"it can happen in addition to {endings[0]}: {shown(run)}")
            return


def steps_before_a_failure_are_compensated(flow: Flow) -> Iterator[Finding]:
    """The steps before the saga is aborted are undone by their services, unless they changed nothing.

    A step is an event after which the saga can still succeed; one after which it cannot is itself the refusal.
    """
    every_run = _all_runs(flow)
    hopeful = {event for run in every_run if flow.aborts.isdisjoint(run) for event in run}
    bad: dict[str, tuple[str, ...]] = {}
    for run in every_run:
        if not flow.aborts.isdisjoint(run):
            bad.update({event: run for event in run if event in hopeful and not _undone(flow, event, run)})
    for event, run in bad.items():
        yield at_publisher(flow, event, f"the saga can be aborted after it, and no handler undoes it: {shown(run)}")


def compensations_are_triggered(flow: Flow) -> Iterator[Finding]:
    """A compensation undoes a step of its own service, and its trigger can happen."""
    possible = {event for run in _all_runs(flow) for event in run}
    for handler in flow.handlers:
        does = handler.does
        for event in does.compensates:
            if handler.service not in flow.publishers(event):
                yield at_handler(handler, event, f"it is declared as undone, but {handler.service} does not publish it")
        if does.compensates and does.event not in possible:
            undone = " and ".join(does.compensates)
            yield at_handler(handler, does.event, f"it can never happen, so {undone} is never undone")


def waits_end(flow: Flow) -> Iterator[Finding]:
    """A handler that awaits an event which will not come consumes an ending, or the event published in its place."""
    for handler in flow.handlers:
        for run in _all_runs(flow):
            missing = [event for event in handler.does.awaits if event not in run]
            if handler.does.event in run and missing and not _released(flow, handler, missing, run):
                yield at_handler(handler, missing[0], f"it is awaited indefinitely: {shown(run)}")
                break


def silence_ends(flow: Flow) -> Iterator[Finding]:
    """A service that starts a saga and consumes its answers has a deadline that ends it: an answer may never come."""
    for service in flow.services:
        ends = any(flow.endings.intersection(does.publishes) for does in service.deadlines)
        if service.initiates and service.reactions and not ends:
            told = "it waits indefinitely if no answer comes: declare a deadline that ends the saga (eventbus.when_due)"
            yield at_service(service, service.initiates[0], told)


def cycles_are_declared(flow: Flow) -> Iterator[Finding]:
    """Events do not cause each other in a cycle, unless a handler declares that it repeats."""
    try:
        flow.reverse_topological()
    except CycleError as error:
        cycle = error.args[1][::-1]
        closing = [h for h in flow.handlers if (h.does.event in cycle and set(h.does.publishes) & set(cycle))]
        event = cycle[0]
        publisher = next((h for h in closing if event in h.does.publishes), closing[0])
        yield at_handler(publisher, event, f"it causes itself: {shown(cycle)}")


def _all_runs(flow: Flow) -> list[tuple[str, ...]]:
    return [run for start in flow.initiates for run in runs(flow, start)]


def _undone(flow: Flow, event: str, run: tuple[str, ...]) -> bool:
    """Return whether an event of an aborted run needs no compensation in it, or has one.

    A service that aborts the saga on request undoes its own part when it publishes that.
    """
    done_by = [handler for handler in flow.handlers if event in handler.does.publishes and handler.does.event in run]
    harmless = bool(done_by) and all(handler.does.read_only for handler in done_by)
    after_the_end = run.index(event) > min(run.index(end) for end in run if end in flow.aborts)
    own = flow.publishers(event)
    compensated = any(h.service in own and h.does.event in run for h in flow.compensates.get(event, ()))
    by_itself = any(flow.publishers(end) == own for end in flow.on_request if end in flow.aborts and end in run)
    undone = compensated or by_itself
    return event in flow.compensations or event in flow.endings or harmless or after_the_end or undone


def _released(flow: Flow, handler: Handler, missing: list[str], run: tuple[str, ...]) -> bool:
    instead = {
        alternative
        for other in flow.handlers
        if set(missing) & set(flow.alternatives(other))
        for alternative in flow.alternatives(other)
    }
    heard = {other.does.event for other in flow.handlers if other.service == handler.service and other != handler}
    return bool(heard & (flow.endings | instead) & set(run))
