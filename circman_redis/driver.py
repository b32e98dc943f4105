"""Sends calls over a thread-safe client, and drives flows. The only place where errors of redis-py become ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.exceptions import AuthenticationError, AuthorizationError, NoScriptError

from circman_redis import protocol, scripts
from circman_redis.connection import Store
from circman_redis.errors import CircmanError, StoreError, StoreUnavailable, UsageError
from circman_redis.flows import Flow
from circman_redis.keys import TwinKeys
from circman_redis.protocol import Call

T = TypeVar("T")


class Driver:
    """The way to one twin.

    Args:
        store: the server.
        keys: the twin's, for messages.
    """

    def __init__(self, store: Store, keys: TwinKeys) -> None:
        self.store = store
        self._keys = keys
        self._scripts = {name: store.client.register_script(scripts.load(name).text) for name in scripts.NAMES}
        self._closed = False
        self._unsure: dict[str, float] = {}  # commit id -> when it was first sent, where no answer came

    def run(self, call: Call[T]) -> T:
        """One round trip.

        Raises:
            StateError: what the script refused.
            StoreUnavailable: no answer within the retries.
            StoreError: what the server refused.
            CorruptTwin: a reply that no writer of ours can have left.
            UsageError: after `close`.
        """
        if self._closed:
            raise UsageError(f"the manager of twin {self._keys.twin!r} is closed: make another with StateManager(...)")
        try:
            reply = self._send_commit(call) if call.commit_id else self._send(call)
        except redis.RedisError as error:
            raise self._error(error, call) from error
        return protocol.parse(call, reply, self._keys)

    def drive(self, flow: Flow[T]) -> T:
        """Runs a flow to its end: sends it the value of each call, or throws the call's error in."""
        try:
            call = next(flow)
            while True:
                try:
                    value = self.run(call)
                except CircmanError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(value)
        except StopIteration as done:
            result: T = done.value
            return result

    def close(self) -> None:
        """Gives back the connections; a second time it does nothing."""
        if not self._closed:
            self._closed = True
            self.store.close()

    def _send_commit(self, call: Call[Any]) -> Any:
        """Sends a commit, and again where no answer came; then with its age.

        Without the age, one whose id was forgotten in the meantime would be applied twice.
        """
        commit_id = call.commit_id or ""
        first_sent = self._unsure.get(commit_id)

        def send() -> Any:
            nonlocal first_sent
            if first_sent is None:
                first_sent = time.monotonic()
                return self._send(call)
            return self._send(protocol.sent_again(call, int((time.monotonic() - first_sent) * 1000) + 1))

        try:
            reply = self._with_retries(send)
        except (redis.ConnectionError, redis.TimeoutError):
            if first_sent is not None:
                self._unsure[commit_id] = first_sent
            raise
        self._unsure.pop(commit_id, None)
        return reply

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
            text = scripts.load(call.target).text
            return client.eval(text, len(call.keys), *call.keys, *call.args)

    def _error(self, error: redis.RedisError, call: Call[Any]) -> CircmanError:
        place = f"twin {self._keys.twin!r}: {self.store.name}"
        if isinstance(error, AuthenticationError | AuthorizationError):
            return StoreError(f"{place}: {error}; see to the user and the password in the URL")
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            unsure = ""
            if call.commit_id:
                unsure = f"; whether it was committed is not known: say it again with commit_id={call.commit_id!r}"
            return StoreUnavailable(f"{place}: {error}{unsure}", call.commit_id)
        return protocol.error_of(str(error), self._keys) or StoreError(f"{place}: {call.target}: {error}")
