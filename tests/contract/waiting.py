"""What is asyncio's with the face that it has for threads, so that one test body serves both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import redis.asyncio

from circman_redis import AsyncHandle, AsyncMirror, AsyncStateManager, AsyncSubscription
from circman_redis.state_history import AsyncStateHistory


class Loop:
    """An event loop on a thread of its own, which goes on while the test does something else."""

    def __init__(self) -> None:
        self._running, self._ended = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._running.wait(60)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running.set()
        await self._ended.wait()

    def do(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a call in the loop returns, once it was awaited where it has to be."""

        async def done() -> Any:
            value = call(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value

        return self._faced(asyncio.run_coroutine_threadsafe(done(), self._loop).result())

    def _faced(self, value: Any) -> Any:
        if isinstance(value, AsyncStateHistory):
            return WaitingHistory(self, value)
        return Waiting(self, value) if isinstance(value, AsyncSubscription | AsyncHandle | AsyncMirror) else value

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()


class Waiting:
    """Waits for each answer of an asyncio object."""

    def __init__(self, loop: Loop, target: Any) -> None:
        vars(self).update(_do=loop.do, _target=target)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.isroutine(value):
            return lambda *args, **kwargs: self._do(value, *args, **kwargs)
        waits = inspect.isawaitable(value) or isinstance(value, AsyncStateHistory)
        return self._do(lambda: value) if waits else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in {"history", "history_length"}:
            raise AttributeError(name)
        getattr(self, f"set_{name}")(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._target.__aexit__)

    def __iter__(self) -> Iterator[Any]:
        items = aiter(self._target)
        while True:
            try:
                yield self._do(anext, items)
            except StopAsyncIteration:
                return

    def __repr__(self) -> str:
        return repr(self._target).replace("Async", "")


class WaitingHistory(Waiting):
    """The past states, as a sequence."""

    def __len__(self) -> int:
        return self._do(self._target.length)

    def __getitem__(self, index: Any) -> Any:
        return self._do(self._target.__getitem__, index)


class WaitingManagers:
    """Makes managers for one test, all on one event loop; called like StateManager, and as good as that."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._made: dict[AsyncStateManager, Waiting] = {}
        self._clients: list[redis.asyncio.Redis | redis.asyncio.RedisCluster] = []

    def __call__(self, *args: Any, client: Any = None, **arguments: Any) -> Waiting:
        if isinstance(client, redis.Redis | redis.RedisCluster):
            client = self._adopted(client)

        async def make() -> AsyncStateManager:
            return await AsyncStateManager(*args, client=client, **arguments).__aenter__()

        made = self._loop.do(make)
        return self._made.setdefault(made, Waiting(self._loop, made))

    def _adopted(self, client: redis.Redis | redis.RedisCluster) -> redis.asyncio.Redis | redis.asyncio.RedisCluster:
        """An asyncio client of the same server and user."""
        if isinstance(client, redis.RedisCluster):
            node = client.get_primaries()[0]
            self._clients.append(redis.asyncio.RedisCluster(node.host, node.port))
            return self._clients[-1]
        facts = client.connection_pool.connection_kwargs
        known = {name: facts[name] for name in ("username", "password", "decode_responses") if name in facts}
        self._clients.append(redis.asyncio.Redis(unix_socket_path=facts["path"], **known))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            self._loop.do(client.aclose)
        self._loop.end()
