"""How often a call is tried: until its deadline, and no more than once within another call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from circman_redis import retries
from circman_redis.retries import FOR_EVER, AsyncRetry, Retry, one_try, seconds_left

LOST = redis.ConnectionError("nobody there")


class Calls:
    """Fails so often, then returns how often it was called."""

    def __init__(self, failures: int, error: Exception = LOST) -> None:
        self.count = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> int:
        self.count += 1
        if self.count <= self._failures:
            raise self._error
        return self.count

    async def later(self) -> int:
        return self()


Do = Callable[[Calls, int | None, float], int]


def _sync(calls: Calls, most: int | None, timeout: float) -> int:
    return Retry(most, timeout).call_with_retry(calls, lambda _: None)


def _async(calls: Calls, most: int | None, timeout: float) -> int:
    async def nothing(_: Exception) -> None:
        pass

    return asyncio.run(AsyncRetry(most, timeout).call_with_retry(calls.later, nothing))


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def do(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Do:
    """Without the rests between the tries."""

    async def no_rest(_: float) -> None:
        pass

    monkeypatch.setattr(retries.time, "sleep", lambda _: None)
    monkeypatch.setattr(retries.asyncio, "sleep", no_rest)
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_what_passes_is_tried_again(do: Do, failures: int) -> None:
    assert do(Calls(failures), None, 1000.0) == failures + 1


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_often_than_asked_for(do: Do, most: int) -> None:
    calls = Calls(10)
    with pytest.raises(redis.ConnectionError):
        do(calls, most, 1000.0)
    assert calls.count == most + 1


def test_no_try_begins_after_the_deadline(do: Do) -> None:
    """Nor where the rest before it would end after it."""
    calls = Calls(10**9)
    with pytest.raises(redis.ConnectionError):
        do(calls, None, 1e-9)
    assert calls.count == 1


@pytest.mark.parametrize(
    "error", [redis.ResponseError("WRONGTYPE x"), redis.AuthenticationError("no"), ValueError("ours")]
)
def test_what_stays_is_not_tried_again(do: Do, error: Exception) -> None:
    calls = Calls(10, error)
    with pytest.raises(type(error)):
        do(calls, None, 1000.0)
    assert calls.count == 1


def test_within_another_call_there_is_one_try(do: Do) -> None:
    calls = Calls(10)
    with one_try(), pytest.raises(redis.ConnectionError):
        do(calls, None, 1000.0)
    assert calls.count == 1


def test_what_is_called_knows_how_much_time_is_left() -> None:
    """And nobody else does: not afterwards, not in another thread."""
    seen: list[float] = []

    def look() -> None:
        seen.append(seconds_left())
        other = threading.Thread(target=lambda: seen.append(seconds_left()))
        other.start()
        other.join()

    Retry(None, 1000.0).call_with_retry(look, lambda _: None)
    assert 900 < seen[0] <= 1000
    assert seen[1] == seconds_left() == FOR_EVER
    with pytest.raises(ZeroDivisionError):
        Retry(None, 5.0).call_with_retry(lambda: 1 // 0, lambda _: None)
    assert seconds_left() == FOR_EVER


def test_tasks_have_deadlines_of_their_own() -> None:
    async def nothing(_: Exception) -> None:
        pass

    async def look() -> float:
        await asyncio.sleep(0)
        return seconds_left()

    async def main() -> list[Any]:
        calls = (AsyncRetry(None, timeout).call_with_retry(look, nothing) for timeout in (10.0, 1000.0))
        return [*await asyncio.gather(*calls), seconds_left()]

    short, long, none = asyncio.run(main())
    assert short <= 10
    assert 900 < long <= 1000
    assert none == FOR_EVER


def test_rests_grow_and_stay_short() -> None:
    """Whoever waits for a failover notices soon that it is over; many who wait do not come at once."""
    tries = retries._Tries(None, time.monotonic() + 1e9)
    rests = [tries.rest(LOST) for _ in range(200)]
    assert max(rests) <= retries.LONGEST_REST
    assert len({round(rest, 6) for rest in rests}) > 100
