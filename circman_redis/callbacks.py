"""Callbacks for the events of a twin: by a thread, or by a task."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
from collections.abc import Callable
from typing import Self

from circman_redis.errors import CircmanError, UsageError
from circman_redis.events import Event
from circman_redis.subscription import AsyncSubscription, Subscription

log = logging.getLogger("circman_redis")

CLOSING = 5.0
"""Seconds that closing waits for a callback that is under way."""

AGAIN = 1.0
"""Seconds until callbacks go on after the server refused something, a right that was taken away for example."""

_TRYING_AGAIN = "twin %r: its events cannot be had for callbacks; trying again"
_FAILED = "a callback failed at %s of twin %r"


def check_callback(callback: object) -> None:
    """Refuses what cannot be called.

    Raises:
        UsageError: it is no function.
    """
    if not callable(callback):
        raise UsageError(f"callback={callback!r}: a function that gets an event is wanted")


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
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name=f"{subscription.stream.twin} events", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens, and a thread that calls back."""
        return self._subscription.connected and self._thread.is_alive()

    def stop(self) -> None:
        """Has it end, without waiting for that: no call is begun any more."""
        self._subscription.stop()
        if os.getpid() == self._process:
            self._over.set()

    def close(self) -> None:
        """Ends it: no call is begun any more. One that is under way is waited for, but not for ever."""
        self.stop()
        self._subscription.close()
        if os.getpid() == self._process and threading.current_thread() is not self._thread:
            self._thread.join(CLOSING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._subscription!r}>"

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._follow()
        finally:
            self._subscription.close()

    def _follow(self) -> None:
        try:
            for event in self._subscription:
                if self._over.is_set():
                    break
                self._call(event)
            self._over.set()  # it was closed
        except CircmanError:
            if not self._over.is_set():
                log.exception(_TRYING_AGAIN, self._subscription.stream.twin)
                self._over.wait(AGAIN)

    def _call(self, event: Event) -> None:
        try:
            self._callback(event)
        except BaseException:
            log.exception(_FAILED, event.position, event.twin)


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

    def stop(self) -> None:
        """Has it end, without waiting for that: no call is begun any more."""
        self._subscription.stop()

    async def close(self) -> None:
        """Ends it; a callback that is under way is cancelled."""
        self.stop()
        here = self._task.get_loop() is asyncio.get_running_loop()
        if here and asyncio.current_task() is not self._task:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSING)
        await self._subscription.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._subscription!r}>"

    async def _run(self) -> None:
        while not self._subscription.stream.closed:
            try:
                async for event in self._subscription:
                    await self._call(event)
            except CircmanError:
                if not self._subscription.stream.closed:
                    log.exception(_TRYING_AGAIN, self._subscription.stream.twin)
                    await asyncio.sleep(AGAIN)

    async def _call(self, event: Event) -> None:
        try:
            came = self._callback(event)
            if inspect.isawaitable(came):
                await came
        except BaseException:
            if _is_cancelled():
                raise
            log.exception(_FAILED, event.position, event.twin)


def _is_cancelled() -> bool:
    """Whether it is the task itself that shall end, and not something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
