"""The output: a live picture on a terminal, otherwise one line per event."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from saga.demo.history import DemoHistory, DemoStep

STYLES = {
    "": ("·", "dim", "placed"),
    "order.created": ("○", "white", "created"),
    "payment.charged": ("$", "yellow", "charged"),
    "inventory.reserved": ("■", "cyan", "reserved"),
    "order.confirmed": ("✔", "green", "confirmed"),
    "payment.failed": ("!", "red", "declined"),
    "inventory.reservation.failed": ("!", "magenta", "out of stock"),
    "order.cancelled": ("✗", "red", "cancelled"),
    "inventory.released": ("□", "cyan", "released"),
    "payment.refunded": ("↩", "blue", "refunded"),
}
LAST_EVENTS = 10


class Screen(Protocol):
    """Displays the history as it grows."""

    def show(self, history: DemoHistory, new: list[tuple[str, DemoStep]]) -> None:
        """Show the new steps."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None: ...


def screen_for(console: Console, orders: int) -> Screen:
    """Return a picture if this is a terminal that can draw it, otherwise lines."""
    return Picture(console, orders) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Lines:
    """A heading, and one line per event: milliseconds since the first, how many orders have ended, order, event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        pass

    def show(self, history: DemoHistory, new: list[tuple[str, DemoStep]]) -> None:
        """See Screen."""
        for order_id, step in new:
            if self._start is None:
                self._start = step.at_ms
                heading = f"{'time':>10}  {'ended':>5}  {'order':<{len(order_id)}}  event"
                self._console.print(Text(heading), soft_wrap=True)
            since = step.at_ms - self._start
            line = f"{since:>7} ms  {history.finished():>5}  {order_id}  {step.event}"
            self._console.print(Text(line), soft_wrap=True)


class Picture:
    """Every order as one sign, the number of orders in each state, and the newest events."""

    def __init__(self, console: Console, orders: int) -> None:
        self._live = Live(console=console, refresh_per_second=15, transient=False)
        self._orders = orders
        self._newest: deque[tuple[str, DemoStep]] = deque(maxlen=LAST_EVENTS)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._live.__exit__(kind, value, at)

    def show(self, history: DemoHistory, new: list[tuple[str, DemoStep]]) -> None:
        """See Screen."""
        self._newest.extend(new)
        self._live.update(Group(self._signs(history), Text(), self._counts(history), Text(), self._events()))

    def _signs(self, history: DemoHistory) -> Text:
        states = [history.state(order_id) for order_id in sorted(history.orders)]
        states += [""] * (self._orders - len(states))
        text = Text()
        for state in states:
            sign, style, _ = STYLES[state]
            text.append(f"{sign} ", style)
        return text

    def _counts(self, history: DemoHistory) -> Table:
        counts = history.states()
        shown = [state for state in STYLES if state]
        table = Table(box=None, pad_edge=False)
        for state in shown:
            sign, style, name = STYLES[state]
            table.add_column(f"{sign} {name}", style=style, header_style=style, justify="right")
        table.add_row(*(str(counts[state]) for state in shown))
        return table

    def _events(self) -> Text:
        text = Text(overflow="ellipsis", no_wrap=True)
        for order_id, _ in list(self._newest)[:1]:
            text.append(f"{'order':<{len(order_id)}}  {'event':<29} from\n", "dim")
        for order_id, step in self._newest:
            text.append(f"{order_id}  ", "dim")
            text.append(f"{step.event:<29}", STYLES[step.event][1])
            text.append(f" {step.source}\n", "dim")
        return text
