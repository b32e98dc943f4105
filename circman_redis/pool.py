"""The connections that the tasks of one event loop share, any of which may be cancelled at any moment."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

SHARED = 16
"""Connections per manager: more do not make a server faster that runs one command at a time."""


class Pool(redis.asyncio.ConnectionPool):
    """redis-py's pool, of connections that do not lose a cancellation.

    Args:
        connection_class: as for any pool of redis-py.
        options: the same.
    """

    def __init__(self, connection_class: type[AbstractConnection] = Connection, **options: Any) -> None:
        kind = type(connection_class.__name__, (_Cancellable, connection_class), {})
        super().__init__(connection_class=kind, **options)


class SharedPool(Pool):
    """A pool in which whoever finds all connections in use waits for one, in turn and for as long as it takes.

    redis-py's BlockingConnectionPool waits on an asyncio.Condition. Before Python 3.13 a waiter that is cancelled
    just as it is woken takes that with it (gh-112202), and the next one waits on beside a free connection.

    Args:
        options: as for any pool of redis-py; ``max_connections`` is SHARED where it is not given.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_connections": SHARED, **options})
        self._slots = asyncio.Semaphore(self.max_connections)
        self._ended = False

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """A connection that is ready to be used."""
        await self._slots.acquire()
        # What goes wrong from here on ends in release(), which gives the slot back.
        connection: AbstractConnection = await super().get_connection()  # type: ignore[no-untyped-call]
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Takes a connection back. Nothing here waits, so that to be cancelled cannot keep it."""
        try:
            if self._ended:
                await connection.disconnect(nowait=True)
            await super().release(connection)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Ends it: connections that are in use are closed now, and those made by retries when they come back."""
        self._ended = True
        await super().aclose()


class SentinelPool(Pool, SentinelConnectionPool):
    """Connections to the master that Sentinels name, or to its replicas."""

    def __init__(self, *, ssl: bool = False, **options: Any) -> None:
        kind = SentinelManagedSSLConnection if ssl else SentinelManagedConnection
        super().__init__(connection_class=kind, **options)


class SharedSentinelPool(SharedPool, SentinelPool):
    """The same, shared."""


class _Cancellable(AbstractConnection):
    """A connection that does not lose a cancellation.

    redis-py sends within asyncio.wait_for, which before Python 3.12 goes on where it is cancelled just as the sending
    is done (gh-86296): the task would wait for a reply that nobody wants.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Sends, and ends where the task was cancelled meanwhile."""
        if self._writer and self._writer.transport.is_closing():
            await self.disconnect(nowait=True)  # it was reset; uvloop raises a RuntimeError for a write to it
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > before:
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError
