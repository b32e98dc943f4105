"""Subscriptions: ``stream.py`` says what to do next, here it is done, for threads and for tasks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

import redis
import redis.asyncio.client
import redis.client

from circman_redis import redis_metrics
from circman_redis.driver import AsyncDriver, Driver, drive, drive_async
from circman_redis.errors import CircmanError, StoreError, StoreUnavailable, UsageError
from circman_redis.events import Event
from circman_redis.keys import TwinKeys
from circman_redis.protocol import Call
from circman_redis.stream import Action, Join, Leave, Ping, Read, Rest, Stream
from circman_redis.upstream import is_passing, said
from circman_redis.wish import Wish

D = TypeVar("D", Driver, AsyncDriver)


class _Subscribed(Generic[D]):
    """What both subscriptions are made of."""

    _driver: D

    def __init__(self, keys: TwinKeys, wish: Wish, patience: float) -> None:
        self.stream = Stream(keys, wish, patience=patience)

    def _use(self, driver: D) -> None:
        self._driver = driver
        self.stream.database, self.stream.sharded = driver.store.db, driver.store.sharded

    @property
    def position(self) -> str:
        """What was handed out last: ``subscribe(since=...)`` goes on from here."""
        return self.stream.position

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens, and nothing is refused."""
        return self.stream.connected and self.stream.refusal is None and not self.stream.closed

    def stop(self) -> None:
        """Has it end, without waiting for that."""
        self.stream.closed = True

    def __repr__(self) -> str:
        how = "closed" if self.stream.closed else "connected" if self.connected else "not connected"
        return f"<{type(self).__name__} to {self.stream.twin!r} at version {self.stream.timeline.version}, {how}>"

    def _error(self, error: Exception) -> CircmanError:
        # A reply that is no reply is the end of its connection, not the server's word.
        if is_passing(error) or not isinstance(error, redis.RedisError) or isinstance(error, redis.InvalidResponse):
            return StoreUnavailable(f"{self._driver.store.name}: {said(error)}")
        return self._driver.error(error, "SUBSCRIBE")


@contextmanager
def _waited_out() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        if is_passing(error.__cause__):
            raise StoreUnavailable(str(error)) from error
        raise


class Subscription(_Subscribed[Driver], Iterator[Event]):
    """The events of a twin, in the order of their versions; made by ``StateManager.subscribe``.

    It stands from the moment that it is made. After its time-out it may be iterated again, and goes on where it was.

    Args:
        driver: the way to the twin.
        keys: the twin's.
        wish: what is asked for.
        patience: seconds to wait for an answer before a connection counts as dead.

    Raises:
        StoreUnavailable: no answer from the server.
        StoreError: what the server refused.
        CorruptTwin: the twin is not what commits made.
    """

    def __init__(self, driver: Driver, keys: TwinKeys, wish: Wish, patience: float) -> None:
        super().__init__(keys, wish, patience)
        self._use(driver)
        self._patience = patience
        self._pubsub: redis.client.PubSub | None = None
        self._alone = threading.Lock()
        self._thread = 0  # the one that waits for an event
        self._process = os.getpid()
        try:
            drive(self.stream.begin(), self._do)
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Event:
        self._check_caller()
        try:
            with self._alone:
                event = self._next()
        finally:
            if self.stream.closed:
                self.close()  # whoever closed it meanwhile could not
        if event is None:
            raise StopIteration
        return event

    def _next(self) -> Event | None:
        self._thread = threading.get_ident()
        try:
            return drive(self.stream.next(), self._do)
        except Exception:
            if self.stream.closed:
                return None  # whatever it was: its connections were closed under it
            raise
        except BaseException:
            # A signal's handler, Ctrl-C's for instance, may raise anywhere: also between a read and a hand-out.
            self._leave()
            self.stream.rewind()
            raise
        finally:
            self._thread = 0

    def _check_caller(self) -> None:
        twin = self.stream.twin
        if os.getpid() != self._process:
            raise UsageError(f"the subscription to twin {twin!r} belongs to the process that made it: make another")
        if self._thread == threading.get_ident():
            raise UsageError(f"the subscription to twin {twin!r} is waiting for an event already, in this very thread")

    def close(self) -> None:
        """Ends it; whoever waits in another thread is let go within a quarter of a second of a server's answer."""
        self.stop()
        if os.getpid() == self._process and self._alone.acquire(blocking=False):
            try:
                self._leave()
            finally:
                self._alone.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, action: Action | Call[Any]) -> Any:
        if isinstance(action, Call):
            with _waited_out():
                return self._driver.run(action, once=True)
        try:
            return self._act(action)
        except (redis.RedisError, OSError) as error:
            raise self._error(error) from error

    def _act(self, action: Action) -> Any:
        match action:
            case Read(seconds):  # first, for it is asked for with each event
                return self._read(_there(self._pubsub), seconds)
            case Join(channel, sharded):
                self._leave()
                self._pubsub = self._driver.store.pubsub()
                self._pubsub.ssubscribe(channel) if sharded else self._pubsub.subscribe(channel)
            case Leave():
                self._leave()
            case Rest(seconds):
                time.sleep(seconds)
            case Ping():
                _there(self._pubsub).ping()
        return None

    def _read(self, pubsub: redis.client.PubSub, seconds: float) -> tuple[str, Any] | None:
        # First whether there is something: a message that has begun to come may take longer than that to end.
        connection: Any = pubsub.connection
        if not connection.can_read(timeout=seconds):
            return None
        # What get_message() does but for looking once more, and for connecting anew, which is up to the stream.
        said = connection.read_response(timeout=self._patience, disconnect_on_error=False, push_request=True)
        if said[0] in {b"message", b"smessage"}:
            if redis_metrics.are_on():
                redis_metrics.message_received(said[1])
            return "message", said[2]
        return _typed(pubsub.handle_message(said))  # type: ignore[no-untyped-call]

    def _leave(self) -> None:
        pubsub, self._pubsub, self.stream.connected = self._pubsub, None, False
        if pubsub is not None:
            pubsub.close()


class AsyncSubscription(_Subscribed[AsyncDriver], AsyncIterator[Event]):
    """The same for asyncio; made by ``AsyncStateManager.subscribe``.

    It stands from the first event that is awaited, or from ``async with``, or once it was awaited itself. To give up
    waiting for an event (a time-out around it, a cancelled task) loses none.

    Args:
        opened: the way to the twin, once it is open.
        keys: the twin's.
        wish: what is asked for.
        patience: seconds to wait for an answer before a connection counts as dead.
    """

    _pubsub: redis.asyncio.client.PubSub | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _waiting: asyncio.Future[Event | None] | None = None

    def __init__(
        self, opened: Callable[[], Awaitable[AsyncDriver]], keys: TwinKeys, wish: Wish, patience: float
    ) -> None:
        super().__init__(keys, wish, patience)
        self._opened = opened
        self._alone = asyncio.Lock()
        self._begun = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    async def __anext__(self) -> Event:
        await self._begin()
        async with self._alone:
            event = await self._next()
            if event is None:
                await self._leave()  # nobody may come again; if somebody does, it connects again
                raise StopAsyncIteration
            return event

    async def _next(self) -> Event | None:
        # A task of its own: who gives up waiting breaks nothing off, and who comes next goes on waiting for the same.
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(drive_async(self.stream.next(), self._do))
        waiting = self._waiting
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not waiting.cancelled() or (task is not None and task.cancelling()):
                raise  # whoever waits here gave up; what comes is kept for the next one
        except Exception:  # noqa: BLE001, S110 - raised below
            pass
        self._waiting = None
        if waiting.cancelled() or (self.stream.closed and waiting.exception()):
            return None
        return waiting.result()

    def __del__(self) -> None:
        # Left in the middle, by a break: garbage cannot wait until a connection is closed, but its loop can.
        pubsub, loop = self._pubsub, self._loop
        if pubsub is not None and loop is not None and loop.is_running():
            loop.call_soon_threadsafe(lambda: loop.create_task(_drop(pubsub)))

    async def close(self) -> None:
        """Ends it; a task that waits for an event is let go."""
        self.stop()
        if self._is_elsewhere():
            self._pubsub = self._waiting = None  # their loop has ended, or will do it
            return
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
        await self._leave()

    def _is_elsewhere(self) -> bool:
        return self._loop is not None and self._loop is not asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _begin(self) -> Self:
        if self._is_elsewhere():
            raise UsageError(f"the subscription to twin {self.stream.twin!r} belongs to another event loop")
        if self._begun:
            return self
        async with self._alone:
            if not self._begun:
                self._use(await self._opened())
                self._loop = asyncio.get_running_loop()
                try:
                    await drive_async(self.stream.begin(), self._do)
                except BaseException:
                    await self._leave()
                    raise
                self._begun = True
        return self

    async def _do(self, action: Action | Call[Any]) -> Any:
        if isinstance(action, Call):
            with _waited_out():
                return await self._driver.run(action, once=True)
        try:
            return await self._act(action)
        except (redis.RedisError, OSError) as error:
            raise self._error(error) from error

    async def _act(self, action: Action) -> Any:
        match action:
            case Join(channel, sharded):
                await self._leave()
                self._pubsub = await self._driver.store.pubsub()
                await (self._pubsub.ssubscribe(channel) if sharded else self._pubsub.subscribe(channel))
            case Leave():
                await self._leave()
            case Rest(seconds):
                await asyncio.sleep(seconds)
            case Ping():
                await _there(self._pubsub).ping()
            case Read(seconds):
                # Not 0: then asyncio would not look at the socket at all.
                return _typed(await _there(self._pubsub).get_message(timeout=max(seconds, 0.001)))
        return None

    async def _leave(self) -> None:
        pubsub, self._pubsub, self.stream.connected = self._pubsub, None, False
        if pubsub is not None:
            await _drop(pubsub)


async def _drop(pubsub: redis.asyncio.client.PubSub) -> None:
    await pubsub.aclose()  # type: ignore[no-untyped-call]


P = TypeVar("P")


def _there(pubsub: P | None) -> P:
    if pubsub is None:
        raise StoreUnavailable("the connection that listens was dropped")
    return pubsub


def _typed(message: Any) -> tuple[str, Any] | None:
    return None if message is None else (message["type"], message["data"])
