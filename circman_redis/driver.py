"""Sends calls, and drives flows. The only place where errors of redis-py become ours."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Generic, TypeVar

import redis
from redis.exceptions import NoScriptError, ResponseError

from circman_redis import protocol, scripts
from circman_redis.connection import AsyncStore, Store
from circman_redis.errors import CircmanError, StoreError, StoreUnavailable, UsageError
from circman_redis.flows import Flow
from circman_redis.keys import TwinKeys
from circman_redis.protocol import Call
from circman_redis.retries import is_refused, one_try

T = TypeVar("T")
S = TypeVar("S", Store, AsyncStore)

REMEMBERED = 10_000
"""Of how many commits that no answer came for a driver knows when they were first sent."""


class Unsure:
    """When the commits were first sent that no answer came for: sent again, a commit says how old it is.

    Without its age, one whose id was forgotten in the meantime would be applied twice.
    """

    def __init__(self) -> None:
        self._first_sent: dict[str, float] = {}

    @contextmanager
    def attempts(self, call: Call[Any]) -> Iterator[Callable[[], Call[Any]]]:
        """While a commit is sent: makes the call for the next attempt."""
        commit_id = call.commit_id or ""
        first_sent = self._first_sent.get(commit_id)

        def attempt() -> Call[Any]:
            nonlocal first_sent
            if first_sent is None:
                first_sent = time.monotonic()
                return call
            return protocol.sent_again(call, int((time.monotonic() - first_sent) * 1000) + 1)

        try:
            yield attempt
        except ResponseError:
            raise  # an answer
        except BaseException:  # whatever it is: also a call that is cancelled may have been sent
            if first_sent is not None:
                self._remember(commit_id, first_sent)
            raise
        self._first_sent.pop(commit_id, None)

    def _remember(self, commit_id: str, first_sent: float) -> None:
        self._first_sent[commit_id] = first_sent
        while len(self._first_sent) > REMEMBERED:
            self._first_sent.pop(next(iter(self._first_sent)), None)


class _Wire(Generic[S]):
    """What both drivers are made of: all that does not wait.

    Attributes:
        manager: who drives it, for messages.

    Args:
        store: the server.
        keys: the twin's, for messages.
        unsure: what a driver before this one did not know.
    """

    manager = "StateManager"

    def __init__(self, store: S, keys: TwinKeys, unsure: Unsure | None = None) -> None:
        self.store: S = store
        self._keys = keys
        register: Any = store.client.register_script
        self._scripts = {name: register(scripts.load(name).text) for name in scripts.NAMES}
        self._closed = False
        self._unsure = unsure or Unsure()

    def error(self, error: redis.RedisError, target: str, commit_id: str | None = None) -> CircmanError:
        """What an error of redis-py is to our callers.

        Args:
            error: what redis-py raised.
            target: the script or the command, for the message.
            commit_id: of the commit that was under way.
        """
        place = f"twin {self._keys.twin!r}: {self.store.name}"
        if is_refused(error):
            return StoreError(f"{place}: {error}; see to the user and the password in the URL")
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            unsure = ""
            if commit_id:
                unsure = f"; whether it was committed is not known: say it again with commit_id={commit_id!r}"
            return StoreUnavailable(f"{place}: {error}{unsure}", commit_id)
        return protocol.error_of(str(error), self._keys) or StoreError(f"{place}: {target}: {error}")

    @contextmanager
    def _under_way(self, call: Call[Any], once: bool) -> Iterator[None]:
        if self._closed:
            raise is_closed(self._keys, self.manager)
        with one_try() if once else nullcontext():
            try:
                yield
            except redis.RedisError as error:
                raise self.error(error, call.target, call.commit_id) from error


def is_closed(keys: TwinKeys, manager: str) -> UsageError:
    """The error of a call after close()."""
    return UsageError(f"the manager of twin {keys.twin!r} is closed: make another with {manager}(...)")


class Driver(_Wire[Store]):
    """The way to one twin, over a thread-safe client."""

    def run(self, call: Call[T], *, once: bool = False) -> T:
        """One round trip.

        Args:
            call: what to send.
            once: send it once, without retries of ours: the caller sees to that.

        Raises:
            StateError: what the script refused.
            StoreUnavailable: no answer within the retries.
            StoreError: what the server refused.
            CorruptTwin: a reply that no writer of ours can have left.
            UsageError: after `close`.
        """
        with self._under_way(call, once):
            reply = self._send_commit(call) if call.commit_id else self._send(call)
        return protocol.parse(call, reply, self._keys)

    def drive(self, flow: Flow[T]) -> T:
        """Runs a flow to its end: sends it the value of each call, or throws the call's error in."""
        return drive(flow, self.run)

    def close(self) -> None:
        """Gives back the connections; a second time it does nothing."""
        if not self._closed:
            self._closed = True
            self.store.close()

    def _send_commit(self, call: Call[Any]) -> Any:
        with self._unsure.attempts(call) as attempt:
            return self._with_retries(lambda: self._send(attempt()))

    def _with_retries(self, send: Callable[[], Any]) -> Any:
        retry = self.store.retry
        return send() if retry is None else retry.call_with_retry(send, lambda _: None)

    def _send(self, call: Call[Any]) -> Any:
        client = self.store.client
        if call.target.isupper():
            return client.execute_command(call.target, *call.keys, *call.args)  # type: ignore[no-untyped-call]
        try:
            return self._scripts[call.target](keys=call.keys, args=call.args)
        except NoScriptError:
            # Flushed again between redis-py's SCRIPT LOAD and its EVALSHA: EVAL brings the text along.
            return client.eval(scripts.load(call.target).text, len(call.keys), *call.keys, *call.args)


class AsyncDriver(_Wire[AsyncStore]):
    """The way to one twin, for the tasks of one event loop."""

    manager = "AsyncStateManager"

    async def run(self, call: Call[T], *, once: bool = False) -> T:
        """One round trip; arguments and errors are those of `Driver.run`."""
        with self._under_way(call, once):
            reply = await (self._send_commit(call) if call.commit_id else self._send(call))
        return protocol.parse(call, reply, self._keys)

    async def drive(self, flow: Flow[T]) -> T:
        """Runs a flow to its end, as `Driver.drive`."""
        return await drive_async(flow, self.run)

    async def close(self) -> None:
        """Gives back the connections; a second time it does nothing."""
        if not self._closed:
            self._closed = True
            await self.store.close()

    async def _send_commit(self, call: Call[Any]) -> Any:
        with self._unsure.attempts(call) as attempt:
            return await self._with_retries(lambda: self._send(attempt()))

    async def _with_retries(self, send: Callable[[], Awaitable[Any]]) -> Any:
        retry = self.store.retry
        return await (send() if retry is None else retry.call_with_retry(send, _nothing))

    async def _send(self, call: Call[Any]) -> Any:
        client = self.store.client
        if call.target.isupper():
            return await client.execute_command(call.target, *call.keys, *call.args)  # type: ignore[no-untyped-call]
        try:
            return await self._scripts[call.target](keys=call.keys, args=call.args)
        except NoScriptError:
            return await client.eval(scripts.load(call.target).text, len(call.keys), *call.keys, *call.args)


async def _nothing(_: Exception) -> None:
    pass


def drive(generator: Generator[Any, Any, T], do: Callable[[Any], Any]) -> T:
    """Does what a generator asks for, step by step, and returns what it returns.

    It is sent what came of each step, or has the error thrown in.
    """
    came: Any = None
    error: CircmanError | None = None
    while True:
        try:
            step = _advance(generator, came, error)
        except StopIteration as done:
            result: T = done.value
            return result
        came = error = None
        try:
            came = do(step)
        except CircmanError as failure:
            error = failure


async def drive_async(generator: Generator[Any, Any, T], do: Callable[[Any], Awaitable[Any]]) -> T:
    """The same for asyncio."""
    came: Any = None
    error: CircmanError | None = None
    while True:
        try:
            step = _advance(generator, came, error)
        except StopIteration as done:
            result: T = done.value
            return result
        came = error = None
        try:
            came = await do(step)
        except CircmanError as failure:
            error = failure


def _advance(generator: Generator[Any, Any, Any], came: Any, error: CircmanError | None) -> Any:
    return generator.send(came) if error is None else generator.throw(error)
