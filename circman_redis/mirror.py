"""A local copy of a twin's state, for reading only, that the event stream keeps current."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, NamedTuple, Self, TypeVar

from circman_redis import patch as patches
from circman_redis.callbacks import AsyncHandle, Handle
from circman_redis.driver import AsyncDriver, Driver
from circman_redis.errors import StaleMirror, UsageError, WaitTimeout
from circman_redis.events import Event, ForeignWrite, FrozenState, HistoryGap, StateEvent, StateRolledBack
from circman_redis.frozen import EMPTY
from circman_redis.keys import TwinKeys
from circman_redis.patch import NO_DEFAULT
from circman_redis.stream import PULSE, Stream, Wish, is_seconds
from circman_redis.subscription import AsyncSubscription, Subscription

H = TypeVar("H", Handle, AsyncHandle)
Predicate = Callable[[FrozenState], object]


class _Held(NamedTuple):
    """What a mirror shows, replaced as a whole."""

    epoch: str
    version: int
    state: FrozenState


class _Mirrored(Generic[H]):
    """What both mirrors are made of. A read is a look at an attribute; nothing is copied, and nobody is asked."""

    _stream: Stream
    _held: _Held | None = None
    _handle: H | None = None

    def __init__(self, max_age: float | None) -> None:
        if max_age is not None and not (is_seconds(max_age) and max_age > 0):
            raise UsageError(f"max_age={max_age!r}: use a number of seconds above 0")
        self._max_age = max_age
        self._wish = Wish(pulse=min(PULSE, 1.0 if max_age is None else max_age / 3))

    @property
    def state(self) -> FrozenState:
        """The state; it cannot be changed, at any depth. ``copy.deepcopy`` makes a dict of one's own of it.

        Raises:
            StaleMirror: it is older than ``max_age``.
        """
        if self._max_age is not None:
            self._check_age(self._max_age)
        return self._now.state

    def get(self, pointer: str, default: Any = NO_DEFAULT) -> Any:
        """The value at a JSON Pointer (RFC 6901), such as ``/production_line/temperature``.

        Args:
            pointer: where to look; the empty string is the whole state.
            default: what to return where nothing stands there; without it, that is an error.

        Raises:
            UsageError: it is no JSON Pointer.
            PointerError: nothing stands there, and there is no default.
            StaleMirror: it is older than ``max_age``.
        """
        return patches.resolve(self.state, pointer, default)

    @property
    def version(self) -> int:
        """The version of the state; 0 before the first commit."""
        return self._now.version

    @property
    def epoch(self) -> str:
        """The epoch of the state; empty before the first commit."""
        return self._now.epoch

    @property
    def age(self) -> float:
        """Seconds since it was last known to be current."""
        current_at = self._stream.current_at
        return float("inf") if current_at is None else max(0.0, time.monotonic() - current_at)

    @property
    def connected(self) -> bool:
        """Whether it is being kept current; False while there is no connection, and once it is closed."""
        return self._handle is not None and self._handle.connected

    @property
    def _now(self) -> _Held:
        if self._held is None:
            twin = self._stream.twin
            raise UsageError(f"the mirror of twin {twin!r} does not stand yet: await it, or use async with")
        return self._held

    def _check_age(self, max_age: float) -> None:
        age = self.age
        if age > max_age:
            why = "the connection is slow" if self.connected else "there is no connection"
            raise StaleMirror(
                f"twin {self._stream.twin!r}: the mirror is {age:.3g} s old, over its max_age of {max_age:g} s: {why}"
            )

    def _stand(self, stream: Stream) -> None:
        timeline = stream.timeline
        self._stream = stream
        self._held = _Held(timeline.epoch, timeline.version or 0, timeline.state or EMPTY)

    def _take(self, event: Event) -> None:
        match event:
            case StateEvent(epoch=epoch, version=version, state=state):
                self._held = _Held(epoch, version, state)
            case HistoryGap(epoch=epoch, version=version, snapshot=snapshot) if snapshot.version:
                self._held = _Held(epoch, version, snapshot.state)
            case StateRolledBack(epoch=epoch, version=version, snapshot=snapshot):
                self._held = _Held(epoch, version, snapshot.state)
            case ForeignWrite(epoch=epoch, version=version, state=state) if state is not None:
                self._held = _Held(epoch, version, state)

    def _fitting(self, predicate: Predicate | None, version: int | None) -> _Held | None:
        """What it holds, where that is what is waited for."""
        if self._stream.closed:
            raise self._closed()
        held = self._now
        fits = (version is None or held.version >= version) and (predicate is None or predicate(held.state))
        return held if fits else None

    def _not_in_time(self, version: int | None, timeout: float | None) -> WaitTimeout:
        wanted = "no state that fits" if version is None else f"no version {version}"
        return WaitTimeout(
            f"twin {self._stream.twin!r}: {wanted} within {timeout} s; the mirror is at version {self.version}"
        )

    def _closed(self) -> StaleMirror:
        return StaleMirror(f"the mirror of twin {self._stream.twin!r} is closed: make another with mirror()")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._stream.twin!r} at version {self.version}>"


class Mirror(_Mirrored[Handle]):
    """A local copy of a twin's state, kept current by a thread; made by ``StateManager.mirror``.

    Any number of threads may read it. It is current from the moment that it is made.

    Args:
        driver: the way to the twin.
        keys: the twin's.
        patience: seconds to wait for an answer before a connection counts as dead.
        max_age: how old, in seconds, what is read may be; None for any age.

    Raises:
        StoreUnavailable: no answer from the server.
    """

    def __init__(self, driver: Driver, keys: TwinKeys, patience: float, max_age: float | None) -> None:
        super().__init__(max_age)
        subscription = Subscription(driver, keys, self._wish, patience)
        self._changed = threading.Condition()
        self._stand(subscription.stream)
        self._handle = Handle(subscription, self._update)

    def wait_for(
        self, predicate: Predicate | None = None, *, version: int | None = None, timeout: float | None = None
    ) -> FrozenState:
        """Waits until the state is at a version, or fits; returns it.

        Args:
            predicate: gets the state; it is asked about the newest one, not about each that was passed through.
            version: this one or a later one.
            timeout: seconds; None for ever.

        Raises:
            WaitTimeout: (a TimeoutError) not in time.
            StaleMirror: it was closed.
        """
        with self._changed:
            held = self._changed.wait_for(lambda: self._fitting(predicate, version), timeout)
        if held is None:
            raise self._not_in_time(version, timeout)
        return held.state

    def close(self) -> None:
        """Ends it; what it holds can be read on, but grows old."""
        if self._handle is not None:
            self._handle.close()
        with self._changed:
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _update(self, event: Event) -> None:
        with self._changed:
            self._take(event)
            self._changed.notify_all()


class AsyncMirror(_Mirrored[AsyncHandle]):
    """The same for asyncio, kept current by a task; made by ``AsyncStateManager.mirror``.

    It is current once it was entered (``async with``) or awaited.
    """

    def __init__(
        self, opened: Callable[[], Awaitable[AsyncDriver]], keys: TwinKeys, patience: float, max_age: float | None
    ) -> None:
        super().__init__(max_age)
        self._subscription = AsyncSubscription(opened, keys, self._wish, patience)
        self._stream = self._subscription.stream
        self._news = asyncio.Event()

    async def wait_for(
        self, predicate: Predicate | None = None, *, version: int | None = None, timeout: float | None = None
    ) -> FrozenState:
        """As `Mirror.wait_for`."""
        await self._begin()
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while (held := self._fitting(predicate, version)) is None:
                    await self._news.wait()
        except TimeoutError as error:
            if not limit.expired():
                raise  # the predicate's own
            raise self._not_in_time(version, timeout) from error
        return held.state

    async def close(self) -> None:
        """Ends it; what it holds can be read on, but grows old."""
        if self._handle is not None:
            await self._handle.close()
        await self._subscription.close()
        self._wake()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _begin(self) -> Self:
        await self._subscription
        if self._handle is None:
            self._stand(self._stream)
            self._handle = AsyncHandle(self._subscription, self._update)
        return self

    def _update(self, event: Event) -> None:
        self._take(event)
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
