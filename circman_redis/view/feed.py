"""The events of a subscription, taken in on a thread of their own: whoever draws never waits for a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

from circman_redis.events import Heartbeat

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


class Events(Protocol[E_co]):
    """What a feed needs of a subscription."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens."""
        ...

    def __iter__(self) -> Iterator[E_co]:
        """The events."""
        ...

    def close(self) -> None:
        """Ends them."""
        ...


class Feed(Generic[E]):
    """Events with the time that they came.

    Args:
        events: a subscription; it is closed with the feed.
    """

    def __init__(self, events: Events[E]) -> None:
        self._events = events
        self._came: SimpleQueue[tuple[float, datetime, E]] = SimpleQueue()
        self._error: Exception | None = None
        # A daemon: it may be waiting for a connection when nobody looks any more.
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens."""
        return self._events.connected

    def take(self) -> Iterator[tuple[float, datetime, E]]:
        """What has come since: by the clock ``time.monotonic``, by the calendar, and what.

        Raises:
            Exception: what ended the subscription, once all that came before was taken.
        """
        over = not self._thread.is_alive()
        while True:
            try:
                yield self._came.get_nowait()
            except Empty:
                break
        if over and self._error is not None:
            raise self._error

    def close(self) -> None:
        """Ends it. What came until then may still be taken."""
        self._events.close()

    def _listen(self) -> None:
        try:
            for event in self._events:
                if not isinstance(event, Heartbeat):
                    self._came.put((time.monotonic(), datetime.now(UTC).astimezone(), event))
        except Exception as error:  # noqa: BLE001 - raised again where the events are taken
            self._error = error
