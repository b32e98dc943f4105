"""How a call is sent again, until its deadline: what is safe to send again, with backoff and jitter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from redis import retry
from redis.asyncio import retry as async_retry
from redis.backoff import EqualJitterBackoff, NoBackoff

from circman_redis.upstream import is_passing

T = TypeVar("T")

FOR_EVER = float("inf")
LONGEST_REST = 1.0
"""Seconds between two tries at most: whoever waits for a failover should notice soon that it is over."""

_deadline: ContextVar[float | None] = ContextVar("_deadline", default=None)


@contextmanager
def one_try() -> Iterator[None]:
    """Whatever this thread or task sends within is sent once: somebody above sees to it being sent again."""
    before = _deadline.set(FOR_EVER)
    try:
        yield
    finally:
        _deadline.reset(before)


def seconds_left() -> float:
    """Seconds until the call that is under way has to be over; more than anybody waits where nobody said."""
    deadline = _deadline.get()
    return FOR_EVER if deadline is None else deadline - time.monotonic()


class _Tries:
    """The tries of one call.

    Args:
        retries: how often it may be sent again; None for as often as there is time.
        deadline: when it has to be over.
    """

    def __init__(self, retries: int | None, deadline: float) -> None:
        self._retries = retries
        self._deadline = deadline
        self._backoff = EqualJitterBackoff(cap=LONGEST_REST, base=0.05)
        self.failures = 0

    def rest(self, error: Exception) -> float:
        """Seconds to wait before the next try, after one that failed.

        Raises:
            Exception: the error, where there is no next one.
        """
        self.failures += 1
        over = self._retries is not None and self.failures > self._retries
        rest = self._backoff.compute(min(self.failures, 30))
        if over or not is_passing(error) or time.monotonic() + rest >= self._deadline:
            raise error
        return rest


class Retry(retry.Retry):
    """redis-py's, but until a deadline; and for threads that retry already there is one try.

    Args:
        retries: how often a call may be sent again; None for as often as there is time.
        timeout: seconds that a call may take, all in all.
    """

    def __init__(self, retries: int | None, timeout: float) -> None:
        super().__init__(NoBackoff(), -1 if retries is None else retries)
        self._most = retries
        self._timeout = timeout

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        _is_retryable: object = None,
        with_failure_count: bool = False,
    ) -> T:
        """What ``do`` returns, after as many tries as it takes."""
        if _deadline.get() is not None:
            return self._once(do, fail, with_failure_count)
        deadline, tries = time.monotonic() + self._timeout, None
        _deadline.set(deadline)  # as one_try() does, which costs more than the rest of this
        try:
            while True:
                try:
                    return do()
                except Exception as error:  # noqa: BLE001 - what is not worth another try is raised again
                    tries = tries or _Tries(self._most, deadline)
                    if isinstance(error, self._supported_errors):
                        fail(error, tries.failures + 1) if with_failure_count else fail(error)
                    rest = tries.rest(error)
                time.sleep(rest)
        finally:
            _deadline.set(None)

    def _once(self, do: Callable[[], T], fail: Callable[..., Any], with_failure_count: bool) -> T:
        try:
            return do()
        except self._supported_errors as error:
            fail(error, 1) if with_failure_count else fail(error)
            raise


class AsyncRetry(async_retry.Retry):
    """The same for tasks."""

    def __init__(self, retries: int | None, timeout: float) -> None:
        super().__init__(NoBackoff(), -1 if retries is None else retries)
        self._most = retries
        self._timeout = timeout

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        _is_retryable: object = None,
        with_failure_count: bool = False,
    ) -> T:
        """What ``do`` returns, after as many tries as it takes."""
        if _deadline.get() is not None:
            return await self._once(do, fail, with_failure_count)
        deadline, tries = time.monotonic() + self._timeout, None
        _deadline.set(deadline)
        try:
            while True:
                try:
                    return await do()
                except Exception as error:  # noqa: BLE001 - what is not worth another try is raised again
                    tries = tries or _Tries(self._most, deadline)
                    if isinstance(error, self._supported_errors):
                        await (fail(error, tries.failures + 1) if with_failure_count else fail(error))
                    rest = tries.rest(error)
                await asyncio.sleep(rest)
        finally:
            _deadline.set(None)

    async def _once(self, do: Callable[[], Awaitable[T]], fail: Callable[..., Any], with_failure_count: bool) -> T:
        try:
            return await do()
        except self._supported_errors as error:
            await (fail(error, 1) if with_failure_count else fail(error))
            raise


NO_RETRY = retry.Retry(NoBackoff(), 0)
NO_ASYNC_RETRY = async_retry.Retry(NoBackoff(), 0)
