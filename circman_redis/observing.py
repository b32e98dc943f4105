"""Where an observer of this package's work is kept: while there is none, whoever works looks at one attribute.

`telemetry.instrument` puts one here. Nothing that works imports OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Run = Callable[[Any], Any]
AsyncRun = Callable[[Any], Awaitable[Any]]


class Observer(Protocol):
    """What is told of the work; nothing that it does may change it."""

    def watched(self, run: Run, store: Any, twin: str) -> Run:
        """The same way to make a call, observed.

        Args:
            run: makes a `protocol.Call`, retries included, and returns its value.
            store: the server that it goes to.
            twin: the twin's id.
        """

    def watched_async(self, run: AsyncRun, store: Any, twin: str) -> AsyncRun:
        """The same for asyncio."""

    def counted(self, call: Any, send: Callable[[], Any]) -> Callable[[], Any]:
        """The same way to send a call once, counted: whatever comes after the first time is a retry."""

    def handed_out(self, event: Any) -> None:
        """A subscription hands out an event."""

    def reconnected(self) -> None:
        """A subscription that had lost its connection has another one."""


observer: Observer | None = None
