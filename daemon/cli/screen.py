"""The live table of `remora top`: drawn anew every second, sorted and switched by single keys.

It does without colours where the terminal has none, and follows its size. Flows come in from another thread; drawing
holds them up no longer than adding up takes.
"""

from __future__ import annotations

import curses
import time
from typing import TYPE_CHECKING, Any

from daemon.cli import trafficview
from daemon.flows.traffic import ORDERS, USUAL, Grouping, Line, Traffic

if TYPE_CHECKING:
    from daemon.cli.top import Feed

_VIEWS = {"t": Grouping.TALKERS, "s": Grouping.SERVICES, "e": Grouping.ERRORS, "l": Grouping.LATENCY}
_HEAD = 3  # lines above those of the table


class Screen:
    """Runs until a key or Ctrl-C ends it, or until the agent does."""

    def __init__(
        self,
        feed: Feed,
        traffic: Traffic,
        grouping: Grouping,
        order: str | None,
        rows: int | None,
        interval: float,
    ) -> None:
        self._feed, self._traffic = feed, traffic
        self._grouping, self._order, self._rows = grouping, order, rows
        self._interval = interval
        self._paused = False
        self._lines: list[Line] = []

    def run(self) -> None:
        """Show it; raises CliError when the agent cannot be asked any more."""
        self._feed.start(self._traffic)
        curses.wrapper(self._loop)
        if self._feed.failure is not None:
            raise self._feed.failure

    def _loop(self, window: Any) -> None:
        _prepare(window)
        drawn = 0.0
        while self._feed.failure is None:
            if time.monotonic() - drawn >= self._interval:
                self._look()
                self._draw(window)
                drawn = time.monotonic()
            window.timeout(max(1, int(1_000 * (drawn + self._interval - time.monotonic()))))
            key = window.getch()
            if key == -1:
                continue
            if not self.press(chr(key) if 0 <= key < 256 else ""):
                return
            self._look()
            self._draw(window)

    def press(self, key: str) -> bool:
        """Do what a key asks for; False when it asks for the end. Other keys, and resizes, only draw anew."""
        if key == "q":
            return False
        if key in _VIEWS and key:
            self._grouping, self._order = _VIEWS[key], None
        elif key == "o":
            orders = list(ORDERS)
            self._order = orders[(orders.index(self._order or USUAL[self._grouping]) + 1) % len(orders)]
        elif key == "p":
            self._paused = not self._paused
        return True

    def _look(self) -> None:
        if not self._paused:
            with self._feed.lock:
                self._lines = self._traffic.lines(self._grouping, time.time_ns())

    def picture(self, height: int, width: int) -> list[str]:
        """The lines of a screen of that size."""
        order = self._order or USUAL[self._grouping]
        lines = sorted(self._lines, key=ORDERS[order])[: self._rows][: max(0, height - _HEAD)]
        state = "  paused" if self._paused else ""
        head = f"remora top: {self._grouping.value} by {order}, {self._traffic.flows:,} flows{state}"
        keys = "t talkers  s services  e errors  l latency  o order  p pause  q end"
        table = trafficview.table(lines, self._grouping, width)
        return [line[: max(0, width - 1)] for line in (head, keys, *table)][:height]

    def _draw(self, window: Any) -> None:
        height, width = window.getmaxyx()
        window.erase()
        for number, line in enumerate(self.picture(height, width)):
            try:
                window.addstr(number, 0, line, curses.A_REVERSE if number == _HEAD - 1 else curses.A_NORMAL)
            except curses.error:
                break  # the terminal shrank meanwhile
        window.refresh()


def _prepare(window: Any) -> None:
    try:
        curses.curs_set(0)
        curses.use_default_colors()
    except curses.error:
        pass  # a terminal without cursor control or colours shows the same table
    window.keypad(True)
