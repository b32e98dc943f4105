"""A picture on the terminal, drawn by the clock until a key, a signal or an error ends it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from circman_redis.events import Event
from circman_redis.view.feed import Feed
from circman_redis.view.picture import Picture
from circman_redis.view.screen import screen
from circman_redis.view.terminal import ended_in_order, keys

EVERY = 0.125
"""Seconds between two drawings where something moves."""

QUIET = 1.0
"""Seconds between two drawings where nothing does: the clock of a lost connection goes on."""

_LEISURE = 3  # a drawing that took long is followed by so many times as long without one


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that have their width already, for rich."""

    lines: Sequence[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self.lines):
            if number:
                yield Segment.line()
            yield from line.render(console)


class Painter:
    """Takes in events, and draws when it is time to.

    Args:
        picture: what is to be seen.
        feed: its events.
        live: where to draw.
    """

    def __init__(self, picture: Picture, feed: Feed[Event], live: Live) -> None:
        self._picture, self._feed, self._live = picture, feed, live
        self._next = 0.0
        self._size = (0, 0)
        self._lost: float | None = None

    def turn(self, now: float) -> None:
        """Draws, if it is time to.

        Raises:
            CircmanError: what ended the events.
        """
        for moment, date, event in self._feed.take():
            self._picture.take(event, moment, date)
        self._lost = None if self._feed.connected else self._lost or now
        size = (self._live.console.width, self._live.console.height)
        lively = self._picture.is_moving(now)
        if size == self._size and now < (self._next if lively else self._next - EVERY + QUIET):
            return
        self._size = size
        self._picture.look(now)
        silent = None if self._lost is None else now - self._lost
        self._live.update(Lines(screen(self._picture, now, *size, silent)), refresh=True)
        self._next = now + max(EVERY, _LEISURE * (time.monotonic() - now))


def show(picture: Picture, feed: Feed[Event], console: Console) -> None:
    """Shows a twin on the whole terminal, until `q` is typed; the terminal is left as it was found.

    Args:
        picture: what is to be seen; its clock is ``time.monotonic``.
        feed: its events.
        console: the terminal.

    Raises:
        CircmanError: what ended the events.
        KeyboardInterrupt: Ctrl-C.
        SystemExit: SIGTERM or SIGHUP.
    """
    # By hand: between two turns there is nothing new to draw.
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with ended_in_order(), keys() as typed, live:
        painter = Painter(picture, feed, live)
        painter.turn(time.monotonic())
        while "q" not in typed.typed(EVERY):
            painter.turn(time.monotonic())
