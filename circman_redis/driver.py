"""Sends calls, and drives flows. The only place where errors of redis-py become ours."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

import redis
from redis.exceptions import NoScriptError, ResponseError

from circman_redis import observing, protocol, refusals, scripts
from circman_redis.attempts import Attempts, Unsure
from circman_redis.connection import AsyncStore, Store
from circman_redis.errors import CircmanError, NotPermitted, StoreUnavailable, Unconfirmed, UsageError
from circman_redis.flows import Flow
from circman_redis.keys import TwinKeys
from circman_redis.protocol import Call
from circman_redis.retries import one_try, seconds_left
from circman_redis.sending import Answered, Command
from circman_redis.upstream import is_lost, is_passing, kind_of, said

T = TypeVar("T")
S = TypeVar("S", Store, AsyncStore)

MOST_SECONDS = 3600.0
"""That a commit waits to be confirmed at most."""


class _NotConfirmedError(Exception):
    """A commit was made, and what was to confirm it says that it did not.

    Attributes:
        reply: to the commit.
        behind: to what was to confirm it.
    """

    def __init__(self, reply: Any, behind: Any) -> None:
        super().__init__(f"not confirmed: {behind!r}")
        self.reply = reply
        self.behind = behind


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
        self.store: S = store.at(keys.state) if store.at else store
        self._keys = keys
        self._shas = {name: scripts.load(name).sha for name in scripts.NAMES}
        self._closed = False
        self._unsure = unsure or Unsure()
        self._reading = "EVALSHA_RO"

    def error(self, error: redis.RedisError, target: str, commit_id: str | None = None) -> CircmanError:
        """What an error of redis-py is to our callers.

        Args:
            error: what redis-py raised.
            target: the script or the command, for the message.
            commit_id: of the commit that was under way.
        """
        ours = refusals.error_of(str(error), self._keys)
        if ours:
            return ours
        kind = kind_of(error)
        place = f"twin {self._keys.twin!r}: {self.store.name}"
        if commit_id and (is_lost(error) or self._unsure.first_sent(commit_id) is not None):
            unsure = f"whether it was committed is not known: say it again with commit_id={commit_id!r}"
            return StoreUnavailable(f"{place}: {said(error)}; {unsure}", commit_id)
        if kind is StoreUnavailable:
            return StoreUnavailable(f"{place}: {said(error)}")
        if kind is NotPermitted and not isinstance(error, ResponseError):
            return NotPermitted(f"{place}: {error}; see to the user and the password")
        return kind(f"{place}: {target}: {error}")

    def unconfirmed(self, call: Call[Any], error: _NotConfirmedError) -> Unconfirmed:
        """What it is to our callers that a commit was made, and not confirmed.

        Args:
            call: the commit.
            error: what came of it.
        """
        commits = protocol.parse(call, error.reply, self._keys)
        made = f"version {commits[-1].version} was committed, and is not known to be durable"
        advice = f"say it again with commit_id={call.commit_id!r} to wait for that again"
        why = call.durability.missing(error.behind)
        message = f"twin {self._keys.twin!r}: {self.store.name}: {made}: {why}; {advice}"
        return Unconfirmed(message, commits, call.commit_id or "")

    def _confirmed(self, call: Call[Any], answered: Answered) -> Any:
        """The reply to a commit that is as durable as asked for."""
        if protocol.is_unwritten(answered.reply):
            raise _NotConfirmedError(answered.reply, redis.ResponseError("the server takes no writes now"))
        if call.durability.is_confirmed(answered.behind):
            return answered.reply
        if is_passing(answered.behind):
            # It became a replica while the commit waited: whether the next master has it, sending it again tells.
            raise redis.ConnectionError(str(answered.behind)) from answered.behind
        raise _NotConfirmedError(answered.reply, answered.behind)

    def _how(self, call: Call[Any], sha: str, attempts: Attempts | None) -> dict[str, Any]:
        """How a script is sent: what it costs nothing to leave out is left out."""
        how: dict[str, Any] = {}
        if attempts is not None and call.args[protocol.AGE] != 0:
            # What tells the age of a commit that is sent again, at the moment when it is written.
            how["renew"] = lambda: _evalsha("EVALSHA", sha, attempts.again())
        if call.durability.kind != "none":
            # The deadline is this call's; whoever writes it may do so for others too.
            until = time.monotonic() + min(seconds_left(), MOST_SECONDS)
            how["behind"] = lambda: call.durability.command(until - time.monotonic())
        return how

    def _script_command(self, call: Call[Any]) -> str:
        return self._reading if call.is_reading else "EVALSHA"

    def _cannot_read_only(self, error: ResponseError) -> bool:
        """Whether the server is older than EVALSHA_RO: then EVALSHA has to do."""
        if self._reading == "EVALSHA" or not str(error).lower().startswith("unknown command"):
            return False
        self._reading = "EVALSHA"
        return True

    def _check(self) -> None:
        if self._closed:
            raise is_closed(self._keys, self.manager)


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
        self._check()
        try:
            reply = self._once(call) if once else self._ask(call)
        except redis.RedisError as error:
            raise self.error(error, call.target, call.commit_id) from error
        except _NotConfirmedError as error:
            raise self.unconfirmed(call, error) from error
        return protocol.parse(call, reply, self._keys)

    def read(self, call: Call[T]) -> T:
        """One round trip of a call that only reads: to a replica, where the manager is to read from one."""
        if self.store.read is None:
            return self.run(call)
        self._check()
        try:
            reply = self._with_retries(call, partial(self._send, call, send=self.store.read))
        except redis.RedisError as error:
            raise self.error(error, call.target) from error
        return protocol.parse(call, reply, self._keys)

    def drive(self, flow: Flow[T]) -> T:
        """Runs a flow to its end: sends it the value of each call, or throws the call's error in."""
        return drive(flow, self._watched(self.run))

    def drive_reading(self, flow: Flow[T]) -> T:
        """Runs a flow to its end whose calls only read, as `read`."""
        return drive(flow, self._watched(self.read))

    def _watched(self, run: Callable[[Call[Any]], Any]) -> Callable[[Call[Any]], Any]:
        observer = observing.observer
        return observer.watched(run, self.store, self._keys.twin) if observer else run

    def close(self) -> None:
        """Gives back the connections; a second time it does nothing."""
        if not self._closed:
            self._closed = True
            self.store.close()

    def _once(self, call: Call[Any]) -> Any:
        with one_try():
            return self._ask(call)

    def _ask(self, call: Call[Any]) -> Any:
        if call.commit_id is None:
            return self._with_retries(call, partial(self._send, call))
        with self._unsure.attempts(call) as attempts:
            return self._with_retries(call, lambda: self._try(attempts))

    def _try(self, attempts: Attempts) -> Any:
        try:
            return self._send(attempts.next(), attempts)
        except BaseException as error:
            attempts.failed(error)
            raise

    def _with_retries(self, call: Call[Any], send: Callable[[], Any]) -> Any:
        if observer := observing.observer:
            send = observer.counted(call, send)
        return self.store.retry.call_with_retry(send, lambda _: None)

    def _send(self, call: Call[Any], attempts: Attempts | None = None, send: Callable[..., Any] | None = None) -> Any:
        send = send or self.store.send
        sha = self._shas.get(call.target)
        if sha is None:
            return send(call.target, *call.keys, *call.args)
        how = self._how(call, sha, attempts)
        try:
            reply = send(*_evalsha(self._script_command(call), sha, call), **how)
        except NoScriptError:
            reply = self._load_and_send(attempts.again() if attempts else call, send, how)
        except ResponseError as error:
            if not self._cannot_read_only(error):
                raise
            reply = self._send(call, attempts, send)
        return self._confirmed(call, reply) if isinstance(reply, Answered) else reply

    def _load_and_send(self, call: Call[Any], send: Callable[..., Any], how: dict[str, Any]) -> Any:
        script = scripts.load(call.target)
        send("SCRIPT", "LOAD", script.text)
        try:
            return send(*_evalsha(self._script_command(call), script.sha, call), **how)
        except NoScriptError:  # flushed again, just now, or of a slot on its way elsewhere: EVAL brings the text along
            return send(*_eval(self._script_command(call), script.text, call), **_unrenewed(how))


class AsyncDriver(_Wire[AsyncStore]):
    """The way to one twin, for the tasks of one event loop."""

    manager = "AsyncStateManager"

    async def run(self, call: Call[T], *, once: bool = False) -> T:
        """One round trip; arguments and errors are those of `Driver.run`."""
        self._check()
        try:
            reply = await (self._once(call) if once else self._ask(call))
        except redis.RedisError as error:
            raise self.error(error, call.target, call.commit_id) from error
        except _NotConfirmedError as error:
            raise self.unconfirmed(call, error) from error
        return protocol.parse(call, reply, self._keys)

    async def read(self, call: Call[T]) -> T:
        """One round trip of a call that only reads, as `Driver.read`."""
        if self.store.read is None:
            return await self.run(call)
        self._check()
        try:
            reply = await self._with_retries(call, partial(self._send, call, send=self.store.read))
        except redis.RedisError as error:
            raise self.error(error, call.target) from error
        return protocol.parse(call, reply, self._keys)

    def drive(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        """Runs a flow to its end, as `Driver.drive`."""
        return drive_async(flow, self._watched(self.run))

    def drive_reading(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        """Runs a flow to its end whose calls only read, as `read`."""
        return drive_async(flow, self._watched(self.read))

    def _watched(self, run: Callable[[Call[Any]], Awaitable[Any]]) -> Callable[[Call[Any]], Awaitable[Any]]:
        observer = observing.observer
        return observer.watched_async(run, self.store, self._keys.twin) if observer else run

    async def close(self) -> None:
        """Gives back the connections; a second time it does nothing."""
        if not self._closed:
            self._closed = True
            await self.store.close()

    async def _once(self, call: Call[Any]) -> Any:
        with one_try():
            return await self._ask(call)

    async def _ask(self, call: Call[Any]) -> Any:
        if call.commit_id is None:
            return await self._with_retries(call, partial(self._send, call))
        with self._unsure.attempts(call) as attempts:
            return await self._with_retries(call, lambda: self._try(attempts))

    async def _try(self, attempts: Attempts) -> Any:
        try:
            return await self._send(attempts.next(), attempts)
        except BaseException as error:
            attempts.failed(error)
            raise

    def _with_retries(self, call: Call[Any], send: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        if observer := observing.observer:
            send = observer.counted(call, send)
        return self.store.retry.call_with_retry(send, _nothing)

    async def _send(
        self, call: Call[Any], attempts: Attempts | None = None, send: Callable[..., Awaitable[Any]] | None = None
    ) -> Any:
        send = send or self.store.send
        sha = self._shas.get(call.target)
        if sha is None:
            return await send(call.target, *call.keys, *call.args)
        how = self._how(call, sha, attempts)
        try:
            reply = await send(*_evalsha(self._script_command(call), sha, call), **how)
        except NoScriptError:
            reply = await self._load_and_send(attempts.again() if attempts else call, send, how)
        except ResponseError as error:
            if not self._cannot_read_only(error):
                raise
            reply = await self._send(call, attempts, send)
        return self._confirmed(call, reply) if isinstance(reply, Answered) else reply

    async def _load_and_send(self, call: Call[Any], send: Callable[..., Awaitable[Any]], how: dict[str, Any]) -> Any:
        script = scripts.load(call.target)
        await send("SCRIPT", "LOAD", script.text)
        try:
            return await send(*_evalsha(self._script_command(call), script.sha, call), **how)
        except NoScriptError:
            return await send(*_eval(self._script_command(call), script.text, call), **_unrenewed(how))


def _evalsha(command: str, sha: str, call: Call[Any]) -> Command:
    return (command, sha, len(call.keys), *call.keys, *call.args)


def _eval(command: str, text: str, call: Call[Any]) -> Command:
    return (command.replace("EVALSHA", "EVAL"), text, len(call.keys), *call.keys, *call.args)


def _unrenewed(how: dict[str, Any]) -> dict[str, Any]:
    # That would make an EVALSHA of it again. It was renewed just now.
    return {name: value for name, value in how.items() if name != "renew"}


async def _nothing(_: Exception) -> None:
    pass


def drive(generator: Generator[Any, Any, T], do: Callable[[Any], Any]) -> T:
    """Does what a generator asks for, step by step, and returns what it returns.

    It is sent what came of each step, or has the error thrown in.
    """
    try:
        step = next(generator)
        while True:
            try:
                came = do(step)
            except CircmanError as error:
                step = generator.throw(error)
            else:
                step = generator.send(came)
    except StopIteration as done:
        result: T = done.value
        return result


async def drive_async(generator: Generator[Any, Any, T], do: Callable[[Any], Awaitable[Any]]) -> T:
    """The same for asyncio."""
    try:
        step = next(generator)
        while True:
            try:
                came = await do(step)
            except CircmanError as error:
                step = generator.throw(error)
            else:
                step = generator.send(came)
    except StopIteration as done:
        result: T = done.value
        return result
