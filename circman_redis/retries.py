"""How a call is sent again: redis-py's retries, which do not multiply, and give up on a refused user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from redis import retry
from redis.asyncio import retry as async_retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

T = TypeVar("T")
IsRetryable = Callable[[Exception], bool]

_TRANSIENT = (RedisConnectionError, RedisTimeoutError, BusyLoadingError)

_within: ContextVar[bool] = ContextVar("_within", default=False)


@contextmanager
def one_try() -> Iterator[None]:
    """Whatever this thread or task sends within is sent once: somebody above sees to it being sent again."""
    before = _within.set(True)
    try:
        yield
    finally:
        _within.reset(before)


def is_refused(error: BaseException) -> bool:
    """Whether the server does not want this user, which does not get better.

    Where it connects to a unix socket for asyncio, redis-py wraps that in a ConnectionError.
    """
    return any(isinstance(one, AuthenticationError | AuthorizationError) for one in (error, error.__cause__))


def _is_not_refused(error: Exception) -> bool:
    return not is_refused(error)


def _worth_it(is_retryable: IsRetryable | None) -> IsRetryable:
    if is_retryable is None:
        return _is_not_refused
    return lambda error: not is_refused(error) and is_retryable(error)


class Retry(retry.Retry):
    """redis-py's, but for threads that retry already there is one try."""

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: IsRetryable | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """What ``do`` returns, after as many tries as it takes."""
        if _within.get():
            return self._once(do, fail, with_failure_count)
        _within.set(True)  # as one_try() does, which costs more than the rest of this
        try:
            return super().call_with_retry(do, fail, _worth_it(is_retryable), with_failure_count)
        finally:
            _within.set(False)

    def _once(self, do: Callable[[], T], fail: Callable[..., Any], with_failure_count: bool) -> T:
        try:
            return do()
        except self._supported_errors as error:
            fail(error, 1) if with_failure_count else fail(error)
            raise


class AsyncRetry(async_retry.Retry):
    """The same for tasks."""

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: IsRetryable | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """What ``do`` returns, after as many tries as it takes."""
        if _within.get():
            return await self._once(do, fail, with_failure_count)
        _within.set(True)
        try:
            return await super().call_with_retry(do, fail, _worth_it(is_retryable), with_failure_count)
        finally:
            _within.set(False)

    async def _once(self, do: Callable[[], Awaitable[T]], fail: Callable[..., Any], with_failure_count: bool) -> T:
        try:
            return await do()
        except self._supported_errors as error:
            await (fail(error, 1) if with_failure_count else fail(error))
            raise


# Safe to send again: every write carries its commit id. Eight times is some six seconds: a server restarts.


def retry_of(retries: int) -> Retry:
    """The retries of a client, and of a commit."""
    return Retry(ExponentialWithJitterBackoff(cap=2.0, base=0.05), retries, _TRANSIENT)


def async_retry_of(retries: int) -> AsyncRetry:
    """The same for asyncio."""
    return AsyncRetry(ExponentialWithJitterBackoff(cap=2.0, base=0.05), retries, _TRANSIENT)


NO_RETRY = retry.Retry(NoBackoff(), 0)
NO_ASYNC_RETRY = async_retry.Retry(NoBackoff(), 0)
