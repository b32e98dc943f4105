"""Pure: what is known of a commit while it is sent, and of those that no answer came for."""

from __future__ import annotations

import time
from typing import Any

import redis

from circman_redis import protocol, refusals
from circman_redis.protocol import Call
from circman_redis.upstream import is_lost

REMEMBERED = 10_000
"""Of how many commits that no answer came for a driver knows when they were first sent."""


class Unsure:
    """When the commits were first sent that no answer came for: sent again, a commit says how old it is.

    Without its age, one whose id was forgotten in the meantime would be applied twice.
    """

    def __init__(self) -> None:
        self._first_sent: dict[str, float] = {}

    def attempts(self, call: Call[Any]) -> Attempts:
        """While a commit is sent: makes the call for the next attempt."""
        return Attempts(self, call)

    def first_sent(self, commit_id: str) -> float | None:
        """When a commit without an answer was first sent, by the clock that only goes forward."""
        return self._first_sent.get(commit_id)

    def forget(self, commit_id: str) -> None:
        """There was an answer."""
        self._first_sent.pop(commit_id, None)

    def remember(self, commit_id: str, first_sent: float) -> None:
        """There was none."""
        self._first_sent[commit_id] = first_sent
        while len(self._first_sent) > REMEMBERED:
            self._first_sent.pop(next(iter(self._first_sent)), None)


class Attempts:
    """One commit while it is sent. A class, for contextlib's generators cost a commit as much as all of this.

    Args:
        unsure: where it is remembered that no answer came.
        call: the commit.
    """

    __slots__ = ("_call", "_commit_id", "_first_sent", "_lost", "_unsure")

    def __init__(self, unsure: Unsure, call: Call[Any]) -> None:
        self._unsure = unsure
        self._call = call
        self._commit_id = call.commit_id or ""
        self._first_sent = unsure.first_sent(self._commit_id)
        self._lost = self._first_sent is not None

    def __enter__(self) -> Attempts:
        return self

    def next(self) -> Call[Any]:
        """The call as it is sent now."""
        if self._lost:
            return self.again()
        # Whatever was sent before was refused: this is as good as the first time.
        self._first_sent = time.monotonic()
        return self._call

    def failed(self, error: BaseException) -> None:
        """What became of an attempt: also a call that is cancelled may have been sent, and have no answer."""
        self._lost = self._lost or not isinstance(error, redis.RedisError) or is_lost(error)

    def again(self) -> Call[Any]:
        """The same attempt, where it waited since: with the age that it has now."""
        first_sent = time.monotonic() if self._first_sent is None else self._first_sent
        return protocol.sent_again(self._call, int((time.monotonic() - first_sent) * 1000) + 1)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._unsure.forget(self._commit_id)
        elif self._lost and self._first_sent is not None and not refusals.is_ours(str(error)):
            # What the server says answers no other attempt, whose answer was lost; what the script says does.
            self._unsure.remember(self._commit_id, self._first_sent)
