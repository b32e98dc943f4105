"""The terminal: whether it can be drawn on, its keys, and that it is left as it was found."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

_CONTROL_CHARACTERS = 6  # their place in what termios tells


def what_it_lacks() -> str | None:
    """Why stdout cannot be drawn on; None where it can."""
    if not sys.stdout.isatty():
        return "it is not a terminal"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "TERM does not say that the cursor can be moved"
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return f"its encoding is {sys.stdout.encoding}, not UTF-8"
    return None


class Keys:
    """What is typed meanwhile; nothing where stdin is not a terminal."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def typed(self, seconds: float) -> str:
        """Waits for a key; empty where none came in that time."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return ""
        # The end of the input is the end of the terminal.
        return os.read(self._descriptor, 64).decode(errors="replace") or "q"


@contextmanager
def keys() -> Iterator[Keys]:
    """Each key is told at once and not shown, until the end of the context."""
    if not sys.stdin.isatty():
        yield Keys(None)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        _without_suspending(descriptor)
        yield Keys(descriptor)
    finally:
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _without_suspending(descriptor: int) -> None:
    found = termios.tcgetattr(descriptor)
    found[_CONTROL_CHARACTERS][termios.VSUSP] = os.fpathconf(descriptor, "PC_VDISABLE").to_bytes()
    termios.tcsetattr(descriptor, termios.TCSANOW, found)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program through its ``finally`` clauses."""
    before = {number: signal.signal(number, _exit) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _: Any) -> NoReturn:
    sys.exit(128 + number)  # as shells have it
