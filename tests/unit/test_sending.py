"""What a driver remembers of commits without an answer, and what a connection does with a lost cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import redis
from redis.asyncio.connection import AbstractConnection

from circman_redis import attempts, protocol
from circman_redis.attempts import Unsure
from circman_redis.keys import TwinKeys
from circman_redis.pool import Pool
from circman_redis.protocol import AGE, Call


def commit(commit_id: str) -> Call[Any]:
    return protocol.commit(TwinKeys("x"), "set", [b"{}"], commit_id=commit_id)


def age(unsure: Unsure, commit_id: str, error: BaseException | None = None) -> int:
    """The age that the next attempt tells; it ends with the error."""
    with suppress(BaseException), unsure.attempts(commit(commit_id)) as attempts:
        sent = attempts.next()
        if error:
            attempts.failed(error)
            raise error
    assert isinstance(sent.args[AGE], int)
    return sent.args[AGE]


@pytest.mark.parametrize("lost", [redis.ConnectionError(), redis.TimeoutError(), asyncio.CancelledError()])
def test_a_commit_without_an_answer_has_an_age(lost: BaseException) -> None:
    """Until it gets one."""
    unsure = Unsure()
    assert age(unsure, "mine", lost) == 0
    assert age(unsure, "another") == 0
    assert age(unsure, "mine", lost) > 0
    assert age(unsure, "mine") > 0
    assert age(unsure, "mine") == 0


def test_a_refusal_is_an_answer() -> None:
    """What the script says was not lost."""
    unsure = Unsure()
    assert age(unsure, "mine", redis.ResponseError("CIRCMAN_CONFLICT {}")) == 0
    assert age(unsure, "mine") == 0


@pytest.mark.parametrize(
    "refusal",
    [
        redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        redis.ResponseError("BUSY Redis is busy running a script."),
        redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        redis.AuthenticationError("invalid username-password pair"),
    ],
)
def test_a_commit_that_was_refused_is_new_when_it_is_sent_again(refusal: Exception) -> None:
    """However often; unless the answer to one of its attempts was lost."""
    unsure = Unsure()
    with suppress(redis.RedisError), unsure.attempts(commit("mine")) as attempts:
        for _ in range(3):
            assert attempts.next().args[AGE] == 0
            attempts.failed(refusal)
        raise refusal
    assert unsure.first_sent("mine") is None
    with suppress(redis.RedisError), unsure.attempts(commit("mine")) as attempts:
        attempts.next()
        attempts.failed(redis.TimeoutError())
        assert int(str(attempts.next().args[AGE])) > 0
        attempts.failed(refusal)
        raise refusal
    assert unsure.first_sent("mine") is not None


def test_what_was_never_sent_has_no_age() -> None:
    """Where it failed before its first attempt."""
    unsure = Unsure()
    with pytest.raises(redis.ConnectionError), unsure.attempts(commit("mine")):
        raise redis.ConnectionError
    assert age(unsure, "mine") == 0


def test_not_all_of_them_are_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten first."""
    monkeypatch.setattr(attempts, "REMEMBERED", 2)
    unsure = Unsure()
    for commit_id in ("a", "b", "c"):
        age(unsure, commit_id, redis.ConnectionError())
    assert (age(unsure, "a") == 0, age(unsure, "b") > 0, age(unsure, "c") > 0) == (True, True, True)


def test_a_connection_does_not_lose_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which asyncio.wait_for does, before Python 3.12, where it comes just as the sending is done."""

    async def send_and_lose_it(*_: Any) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    async def main() -> None:
        connection = Pool().make_connection()
        sending = asyncio.create_task(connection.send_packed_command(b""))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    monkeypatch.setattr(AbstractConnection, "send_packed_command", send_and_lose_it)
    asyncio.run(main())
