"""A local copy of a twin's state, for reading only, that the event stream keeps current."""

from __future__ import annotations

import asyncio
import os
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
from circman_redis.results import Commit
from circman_redis.stream import Stream
from circman_redis.subscription import AsyncSubscription, Subscription
from circman_redis.wish import PULSE, Wish, is_seconds

H = TypeVar("H", Handle, AsyncHandle)
Predicate = Callable[[FrozenState], object]


class _Held(NamedTuple):
    """What a mirror shows, replaced as a whole."""

    epoch: str
    version: int
    state: FrozenState
    foreign: bool = False


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
    def twin(self) -> str:
        """The twin's id."""
        return self._stream.twin

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
    def foreign(self) -> bool:
        """Whether what it shows was not committed: something else wrote it to Redis, after `version`."""
        return self._now.foreign

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
            why = self._stream.refusal or ("no answer yet" if self._stream.connected else "there is no connection")
            raise StaleMirror(
                f"twin {self._stream.twin!r}: the mirror is {age:.3g} s old, over its max_age of {max_age:g} s: {why}"
            )

    def _stand(self, stream: Stream) -> None:
        timeline = stream.timeline
        self._stream = stream
        self._held = _Held(timeline.epoch, timeline.version or 0, timeline.state or EMPTY)

    def _update(self, event: Event) -> None:
        self._take(event)
        self._wake()

    def _wake(self) -> None:
        """Has those look who wait for something."""
        raise NotImplementedError

    def _take(self, event: Event) -> None:
        match event:
            case StateEvent(epoch=epoch, version=version, state=state):
                self._held = _Held(epoch, version, state)
            case HistoryGap(epoch=epoch, version=version, snapshot=snapshot) if snapshot.version:
                self._held = _Held(epoch, version, snapshot.state)
            case StateRolledBack(epoch=epoch, version=version, snapshot=snapshot):
                self._held = _Held(epoch, version, snapshot.state)
            case ForeignWrite(epoch=epoch, version=version, state=state) if state is not None:
                self._held = _Held(epoch, version, state, foreign=True)

    def _fitting(self, wanted: Predicate | Commit | None, version: int | None) -> _Held | None:
        """What it holds, where that is what is waited for."""
        if self._stream.closed:
            raise self._closed()
        held = self._now
        if isinstance(wanted, Commit):
            fits = held.epoch == wanted.epoch and held.version >= wanted.version
        else:
            fits = wanted is None or bool(wanted(held.state))
        return held if fits and (version is None or held.version >= version) else None

    @staticmethod
    def _check_wanted(wanted: object, version: object) -> None:
        if wanted is None and version is None:
            raise UsageError("wait_for(): a commit, a function that gets the state, or a version is wanted")
        if not (wanted is None or callable(wanted) or isinstance(wanted, Commit)):
            raise UsageError(f"wait_for({wanted!r}): a commit, or a function that gets the state, is wanted")

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
        self._process = os.getpid()
        self._news = threading.Event()  # set, and replaced by a new one, when something changed
        self._stand(subscription.stream)
        self._handle = Handle(subscription, self._update)

    def wait_for(
        self, wanted: Predicate | Commit | None = None, *, version: int | None = None, timeout: float | None = None
    ) -> FrozenState:
        """Waits until the state is at a commit or a version, or fits; returns it.

        Args:
            wanted: a commit: that one or a later one of its epoch. Or a function that gets the state: it is asked
                about the newest one, not about each that was passed through.
            version: this one or a later one, of whichever epoch.
            timeout: seconds; None for ever.

        Raises:
            UsageError: nothing is asked for.
            WaitTimeout: (a TimeoutError) not in time.
            StaleMirror: it is closed, or belongs to another process.
        """
        self._check_wanted(wanted, version)
        if os.getpid() != self._process:
            raise StaleMirror(f"the mirror of twin {self._stream.twin!r} is kept current in the process that made it")
        give_up = None if timeout is None else time.monotonic() + timeout
        while True:
            # Asked without a lock: who is slow to answer must not hold up the events.
            news = self._news
            held = self._fitting(wanted, version)
            if held is not None:
                return held.state
            if not news.wait(None if give_up is None else give_up - time.monotonic()):
                raise self._not_in_time(version, timeout)

    def stop(self) -> None:
        """Has it end, without waiting for that."""
        if self._handle is not None:
            self._handle.stop()

    def close(self) -> None:
        """Ends it; what it holds can be read on, but grows old."""
        if self._handle is not None:
            self._handle.close()
        if os.getpid() == self._process:
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        news, self._news = self._news, threading.Event()
        news.set()


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
        self, wanted: Predicate | Commit | None = None, *, version: int | None = None, timeout: float | None = None
    ) -> FrozenState:
        """As `Mirror.wait_for`."""
        self._check_wanted(wanted, version)
        await self._begin()
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while (held := self._fitting(wanted, version)) is None:
                    await self._news.wait()
        except TimeoutError as error:
            if not limit.expired():
                raise  # the predicate's own
            raise self._not_in_time(version, timeout) from error
        return held.state

    def stop(self) -> None:
        """Has it end, without waiting for that."""
        self._subscription.stop()

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

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
