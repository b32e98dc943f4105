"""How commands go out, once each: one by one for threads, and for tasks those of one tick together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

import redis
import redis.asyncio
from hiredis import pack_command
from redis.exceptions import ResponseError

from circman_redis import redis_metrics
from circman_redis.retries import one_try

MOST_TOGETHER = 64
"""Commands in one batch, so that large replies do not pile up in the server for one reader."""

MOST_BYTES = 64 * 1024
"""Bytes in one batch of more than one command: what is larger goes beside it, over a connection of its own."""

PLENTY = 16
"""A pool of fewer connections is one that somebody counts."""

Command = tuple[Any, ...]
"""The parts of a command, its name first."""


class Sender:
    """Sends a command over one of a client's connections, and reads its reply.

    ``Redis.execute_command`` does the same within its own retries and callbacks, which take as long again as the
    command on a socket of the same machine. Whoever calls sees to the retries (`retries.Retry`).

    Args:
        client: whose pool has the connections.
        keeps: whether it may keep one of them between calls: not where the pool is somebody else's too.
    """

    def __init__(self, client: redis.Redis, *, keeps: bool = True) -> None:
        self._pool: Any = client.connection_pool
        self._keeps = keeps and self._pool.max_connections >= PLENTY
        # The connection that was used last. To have one from the pool and to give it back costs a fifth of a read.
        self._kept: list[Any] = []
        self._closed = False

    def __call__(self, *command: Any, renew: Callable[[], Command] | None = None) -> Any:
        """The reply to a command.

        Args:
            command: its parts, its name first.
            renew: makes it anew as soon as it can be written: one that says how old it is must not wait after that.

        Raises:
            redis.RedisError: as from a client of redis-py.
        """
        connection = self._take()
        if redis_metrics.are_on():
            with redis_metrics.timed(connection, command[0]):
                return self._exchange(connection, command, renew)
        return self._exchange(connection, command, renew)

    def _exchange(self, connection: Any, command: Command, renew: Callable[[], Command] | None) -> Any:
        try:
            if renew:
                connection.check_health()
                command = renew()
            connection.send_packed_command([pack_command(command)])
            return connection.read_response()
        except ResponseError:
            raise  # an answer
        except BaseException as error:
            connection.disconnect()  # or its next user would be given this reply
            if self._closed and not isinstance(error, redis.RedisError):
                raise redis.ConnectionError(f"closed while a call was under way: {error}") from error
            raise
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Gives the connections back for good: those that are in use are closed when they come back."""
        self._closed = True
        while self._kept:
            self._give_back(self._kept.pop())

    def _take(self) -> Any:
        try:
            connection = self._kept.pop()  # one thread has it
        except IndexError:
            return self._pool.get_connection()
        if _is_ready(connection):
            return connection
        self._pool.release(connection)
        return self._pool.get_connection()

    def _give_back(self, connection: Any) -> None:
        if self._closed:
            connection.disconnect()
        if self._closed or self._kept or not self._keeps:
            self._pool.release(connection)
        else:
            self._kept.append(connection)


def _is_ready(connection: Any) -> bool:
    """Whether a connection is this process's, open, and has nothing to say: the checks that a pool makes."""
    try:
        return connection.pid == os.getpid() and connection.is_connected and not connection.can_read()
    except (redis.RedisError, OSError, AttributeError, TypeError, ValueError):  # closed by another thread just now
        return False


class AsyncSender:
    """The same for tasks: what they send in one tick of the event loop is one write, over one connection.

    Args:
        client: whose pool has the connections.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._batch: _Batch | None = None

    async def __call__(self, *command: Any, renew: Callable[[], Command] | None = None) -> Any:
        """The reply to a command; arguments and errors are those of `Sender`."""
        packed = pack_command(command)
        if self._batch is None or not self._batch.takes(packed):
            self._batch = _Batch(self._client)
        batch = self._batch
        reply = batch.add(packed, renew)
        try:
            return await reply
        except asyncio.CancelledError:
            batch.give_up(reply)
            raise


class _Batch:
    """Commands that share a write, and the task that sends them and hands out the replies, each as it is read.

    A task that is cancelled leaves the others their replies. What breaks the connection is told to all who have none
    yet: each of them knows whether it may be sent again.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._open = True
        self._room = MOST_BYTES
        self._commands: list[tuple[bytes, Callable[[], Command] | None]] = []
        self._replies: list[asyncio.Future[Any]] = []
        self._task: asyncio.Task[None] | None = None

    def takes(self, command: bytes) -> bool:
        """Whether there is room for one more."""
        return self._open and len(self._commands) < MOST_TOGETHER and len(command) <= self._room

    def add(self, command: bytes, renew: Callable[[], Command] | None) -> asyncio.Future[Any]:
        """Where its reply will be."""
        self._room -= len(command)
        self._commands.append((command, renew))
        self._replies.append(reply := asyncio.get_running_loop().create_future())
        if self._task is None:
            # It begins in the next tick: until then whoever sends something joins.
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._end)
        return reply

    def give_up(self, reply: asyncio.Future[Any]) -> None:
        """Nobody waits for a reply any more; nor for the connection, where it was the last one."""
        if reply.done() and not reply.cancelled():
            reply.exception()  # or asyncio complains that nobody took it
        if self._task and not self._open and all(one.done() for one in self._replies):
            self._task.cancel()

    async def _run(self) -> None:
        self._open = False
        if not self._wanted():
            return
        pool = self._client.connection_pool
        with one_try():
            connection = await pool.get_connection()
            try:
                await connection.check_health()
                # All that may take long is done: who gave up meanwhile sends nothing, and ages are told as they are.
                if wanted := self._wanted():
                    commands = [pack_command(renew()) if renew else packed for (packed, renew), _ in wanted]
                    replies = [reply for _, reply in wanted]
                    if redis_metrics.are_on():
                        redis_metrics.watch(connection, commands, replies)
                    await self._exchange(connection, commands, replies)
            except BaseException:
                await connection.disconnect(nowait=True)  # or its next user would be given these replies
                raise
            finally:
                await pool.release(connection)

    def _wanted(self) -> list[tuple[tuple[bytes, Callable[[], Command] | None], asyncio.Future[Any]]]:
        return [one for one in zip(self._commands, self._replies, strict=True) if not one[1].done()]

    async def _exchange(
        self, connection: Any, commands: Iterable[bytes], replies: Iterable[asyncio.Future[Any]]
    ) -> None:
        await connection.send_packed_command(commands)
        for reply in replies:
            try:
                value = await connection.read_response()
            except ResponseError as error:  # an answer, to this one alone
                if not reply.done():
                    reply.set_exception(error)
                continue
            if not reply.done():
                reply.set_result(value)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._open = False  # cancelled by the end of its loop, it has not even begun
        # Who did not cancel it is not cancelled by it.
        error = redis.ConnectionError("the sending was cancelled") if task.cancelled() else task.exception()
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(error or redis.ConnectionError("the sending ended"))
        self._commands, self._replies = [], []  # which may be large, and the last batch is kept
