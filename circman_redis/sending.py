"""How commands go out, once each: one by one for threads, and for tasks those of one tick together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import redis
import redis.asyncio
from hiredis import pack_command
from redis.exceptions import ReadOnlyError, ResponseError

from circman_redis import redis_metrics
from circman_redis.retries import FOR_EVER, one_try, seconds_left

MOST_TOGETHER = 64
"""Commands in one batch, so that large replies do not pile up in the server for one reader."""

MOST_BYTES = 64 * 1024
"""Bytes in one batch of more than one command: what is larger goes beside it, over a connection of its own."""

SHORTEST = 0.05
"""Seconds to wait for an answer at least, however near the deadline is."""

GRACE = 1.0
"""Seconds that the reply to a WAIT may take longer than the WAIT itself."""

PLENTY = 16
"""A pool of fewer connections is one that somebody counts."""

Command = tuple[Any, ...]
"""The parts of a command, its name first."""

ASKING = pack_command(("ASKING",))
"""What lets a node of a cluster answer for a slot that is on its way to it."""


class Answered(NamedTuple):
    """The reply to a command, and to what was asked right behind it over the same connection: maybe an error."""

    reply: Any
    behind: Any


class Sender:
    """Sends a command over one of a client's connections, and reads its reply.

    ``Redis.execute_command`` does the same within its own retries and callbacks, which take as long again as the
    command on a socket of the same machine. Whoever calls sees to the retries (`retries.Retry`).

    Args:
        pool: has the connections.
        keeps: whether it may keep one of them between calls: not where the pool is somebody else's too.
    """

    def __init__(self, pool: Any, *, keeps: bool = True) -> None:
        self._pool = pool
        self._keeps = keeps and self._pool.max_connections >= PLENTY
        # The connection that was used last. To have one from the pool and to give it back costs a fifth of a read.
        self._kept: list[Any] = []
        self._closed = False

    def __call__(
        self,
        *command: Any,
        renew: Callable[[], Command] | None = None,
        behind: Callable[[], Command] | None = None,
        asking: bool = False,
    ) -> Any:
        """The reply to a command.

        Args:
            command: its parts, its name first.
            renew: makes it anew as soon as it can be written: one that says how old it is must not wait after that.
            behind: makes what is asked next over the same connection (WAIT), if it was done: then it is `Answered`.
            asking: say ASKING before it.

        Raises:
            redis.RedisError: as from a client of redis-py.
        """
        connection = self._take()
        if redis_metrics.are_on():
            with redis_metrics.timed(connection, command[0]):
                return self._exchange(connection, command, renew, behind, asking)
        return self._exchange(connection, command, renew, behind, asking)

    def _exchange(
        self,
        connection: Any,
        command: Command,
        renew: Callable[[], Command] | None,
        behind: Callable[[], Command] | None,
        asking: bool,
    ) -> Any:
        try:
            if renew:
                connection.check_health()
                command = renew()
            connection.send_packed_command([ASKING, pack_command(command)] if asking else [pack_command(command)])
            if asking:
                _read(connection)
            reply = _read(connection)
            return Answered(reply, _ask_behind(connection, behind())) if behind else reply
        except ResponseError as error:
            if isinstance(error, ReadOnlyError):
                connection.disconnect()  # it leads to what was the master once
            raise  # an answer
        except BaseException as error:
            connection.disconnect()  # or its next user would be given this reply
            self._explain(error)
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
            return self._connect()
        if _is_ready(connection):
            return connection
        self._pool.release(connection)
        return self._connect()

    def _connect(self) -> Any:
        try:
            return self._pool.get_connection()
        except Exception as error:
            self._explain(error)
            raise

    def _explain(self, error: BaseException) -> None:
        """Another thread that closes takes the socket away: what comes of that is no error of ours, nor of redis-py."""
        if self._closed and not isinstance(error, redis.RedisError):
            raise redis.ConnectionError(f"closed while a call was under way: {error}") from error

    def _give_back(self, connection: Any) -> None:
        if self._closed:
            connection.disconnect()
        if self._closed or self._kept or not self._keeps:
            self._pool.release(connection)
        else:
            self._kept.append(connection)


def _read(connection: Any) -> Any:
    left = seconds_left()
    patience = connection.socket_timeout
    # Only where there is less time than that: it costs system calls.
    if patience is not None and left < patience:
        return connection.read_response(timeout=max(left, SHORTEST))
    return connection.read_response()


def _ask_behind(connection: Any, command: Command) -> Any:
    """The reply to a command that waits in the server, its last part the longest time in ms; an error is an answer."""
    connection.send_packed_command([pack_command(command)])
    try:
        return connection.read_response(timeout=command[-1] / 1000 + GRACE)
    except ResponseError as error:
        return error


def _is_ready(connection: Any) -> bool:
    """Whether a connection is this process's, open, and has nothing to say: the checks that a pool makes."""
    try:
        return connection.pid == os.getpid() and connection.is_connected and not connection.can_read()
    except (redis.RedisError, OSError, AttributeError, TypeError, ValueError):  # closed by another thread just now
        return False


class AsyncSender:
    """The same for tasks: what they send in one tick of the event loop is one write, over one connection.

    Args:
        pool: has the connections.
    """

    def __init__(self, pool: redis.asyncio.ConnectionPool) -> None:
        self._pool = pool
        self._patience = pool.connection_kwargs.get("socket_timeout") or FOR_EVER
        self._batch: _Batch | None = None

    async def __call__(
        self,
        *command: Any,
        renew: Callable[[], Command] | None = None,
        behind: Callable[[], Command] | None = None,
        asking: bool = False,
    ) -> Any:
        """The reply to a command; arguments and errors are those of `Sender`."""
        packed = (ASKING if asking else b"") + pack_command(command)
        if self._batch is None or not self._batch.takes(packed):
            self._batch = _Batch(self._pool)
        batch = self._batch
        reply = batch.add(_Sent(packed, asyncio.get_running_loop().create_future(), renew, behind, asking))
        left = seconds_left()
        try:
            if left >= self._patience or behind:
                return await reply
            # Only where there is less time than a connection has: it costs a timer.
            async with asyncio.timeout(max(left, SHORTEST)):
                return await reply
        except asyncio.CancelledError:
            batch.give_up(reply)
            raise
        except TimeoutError as error:
            batch.give_up(reply)
            raise redis.TimeoutError("no answer before the deadline of the call") from error


class _Sent(NamedTuple):
    """A command of a batch, and where its reply will be."""

    packed: bytes
    reply: asyncio.Future[Any]
    renew: Callable[[], Command] | None
    behind: Callable[[], Command] | None
    asking: bool

    def command(self) -> bytes:
        """As it is written now."""
        return (ASKING if self.asking else b"") + pack_command(self.renew()) if self.renew else self.packed


class _Batch:
    """Commands that share a write, and the task that sends them and hands out the replies, each as it is read.

    A task that is cancelled leaves the others their replies. What breaks the connection is told to all who have none
    yet: each of them knows whether it may be sent again.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._open = True
        self._room = MOST_BYTES
        self._all: list[_Sent] = []
        self._task: asyncio.Task[None] | None = None

    def takes(self, command: bytes) -> bool:
        """Whether there is room for one more."""
        return self._open and len(self._all) < MOST_TOGETHER and len(command) <= self._room

    def add(self, one: _Sent) -> asyncio.Future[Any]:
        """Where its reply will be."""
        self._room -= len(one.packed)
        self._all.append(one)
        if self._task is None:
            # It begins in the next tick: until then whoever sends something joins.
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._end)
        return one.reply

    def give_up(self, reply: asyncio.Future[Any]) -> None:
        """Nobody waits for a reply any more; nor for the connection, where it was the last one."""
        if reply.done() and not reply.cancelled():
            reply.exception()  # or asyncio complains that nobody took it
        if self._task and not self._open and all(one.reply.done() for one in self._all):
            self._task.cancel()

    async def _run(self) -> None:
        self._open = False
        if not self._wanted():
            return
        with one_try():
            connection = await self._pool.get_connection()
            try:
                await connection.check_health()
                # All that may take long is done: who gave up meanwhile sends nothing, and ages are told as they are.
                if wanted := self._wanted():
                    if redis_metrics.are_on():
                        redis_metrics.watch(connection, [one.packed for one in wanted], [one.reply for one in wanted])
                    await self._exchange(connection, wanted)
            except BaseException:
                await connection.disconnect(nowait=True)  # or its next user would be given these replies
                raise
            finally:
                await self._pool.release(connection)

    def _wanted(self) -> list[_Sent]:
        return [one for one in self._all if not one.reply.done()]

    async def _exchange(self, connection: Any, wanted: list[_Sent]) -> None:
        await connection.send_packed_command([one.command() for one in wanted])
        waiting = []
        demoted = False
        for one in wanted:
            try:
                if one.asking:
                    await connection.read_response()
                value = await connection.read_response()
            except ResponseError as error:  # an answer, to this one alone
                demoted = demoted or isinstance(error, ReadOnlyError)
                if not one.reply.done():
                    one.reply.set_exception(error)
                continue
            if one.behind and not one.reply.done():
                waiting.append((one, value))
            elif not one.reply.done():
                one.reply.set_result(value)
        for one, value in waiting:
            behind = await _ask_behind_async(connection, one.behind() if one.behind else ())
            if not one.reply.done():
                one.reply.set_result(Answered(value, behind))
        if demoted:
            await connection.disconnect(nowait=True)  # it leads to what was the master once

    def _end(self, task: asyncio.Task[None]) -> None:
        self._open = False  # cancelled by the end of its loop, it has not even begun
        # Who did not cancel it is not cancelled by it.
        error = redis.ConnectionError("the sending was cancelled") if task.cancelled() else task.exception()
        for one in self._all:
            if not one.reply.done():
                one.reply.set_exception(error or redis.ConnectionError("the sending ended"))
        self._all = []  # which may be large, and the last batch is kept


async def _ask_behind_async(connection: Any, command: Command) -> Any:
    await connection.send_packed_command([pack_command(command)])
    try:
        return await connection.read_response(timeout=command[-1] / 1000 + GRACE)
    except ResponseError as error:
        return error
