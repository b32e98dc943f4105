"""Callbacks for the events of a twin: by a thread, or by a task."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Self

from circman_redis.errors import CircmanError
from circman_redis.events import Event
from circman_redis.subscription import AsyncSubscription, Subscription

log = logging.getLogger("circman_redis")

CLOSING = 5.0
"""Seconds that closing waits for a callback that is under way."""

AGAIN = 1.0
"""Seconds until callbacks go on after the server refused something, a right that was taken away for example."""


class Handle:
    """Calls back for each event, on a thread of its own; made by ``StateManager.on_change``.

    Args:
        subscription: where the events come from; closed with the handle.
        callback: what is called. What it raises is logged, and the next event comes all the same.
    """

    def __init__(self, subscription: Subscription, callback: Callable[[Event], object]) -> None:
        self._subscription = subscription
        self._callback = callback
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{subscription.stream.twin} events", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens, and a thread that calls back."""
        return self._subscription.connected and self._thread.is_alive()

    def close(self) -> None:
        """Ends it: no call is begun any more. One that is under way is waited for, but not for ever."""
        self._over.set()
        self._subscription.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._subscription.stream.closed:
            try:
                for event in self._subscription:
                    if self._over.is_set():
                        break
                    self._call(event)
            except CircmanError:
                if not self._subscription.stream.closed:
                    log.exception("the events of a twin cannot be had; trying again")
                    self._over.wait(AGAIN)
        self._subscription.close()

    def _call(self, event: Event) -> None:
        try:
            self._callback(event)
        except Exception:
            log.exception("a callback for events failed at %s of twin %r", event.position, event.twin)


class AsyncHandle:
    """The same in a task of its own; made by ``AsyncStateManager.on_change``.

    Args:
        subscription: where the events come from; closed with the handle.
        callback: a function or a coroutine function.
    """

    def __init__(self, subscription: AsyncSubscription, callback: Callable[[Event], object]) -> None:
        self._subscription = subscription
        self._callback = callback
        self._task = asyncio.create_task(self._run(), name=f"{subscription.stream.twin} events")

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens, and a task that calls back."""
        return self._subscription.connected and not self._task.done()

    async def close(self) -> None:
        """Ends it; a callback that is under way is cancelled."""
        if asyncio.current_task() is not self._task:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSING)
        await self._subscription.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self) -> None:
        while not self._subscription.stream.closed:
            try:
                async for event in self._subscription:
                    await self._call(event)
            except CircmanError:
                if not self._subscription.stream.closed:
                    log.exception("the events of a twin cannot be had; trying again")
                    await asyncio.sleep(AGAIN)

    async def _call(self, event: Event) -> None:
        try:
            came = self._callback(event)
            if inspect.isawaitable(came):
                await came
        except Exception:
            log.exception("a callback for events failed at %s of twin %r", event.position, event.twin)
