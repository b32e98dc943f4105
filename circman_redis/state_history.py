"""The past states of a twin as a sequence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import Any, overload

from circman_redis import reads
from circman_redis.driver import Driver
from circman_redis.flows import Twin
from circman_redis.link import Link
from circman_redis.results import State


class StateHistory(Sequence[State]):
    """The past states of a twin, oldest first; each access reads from Redis.

    Args:
        driver: the way to the twin.
        twin: the twin.
    """

    def __init__(self, driver: Driver, twin: Twin) -> None:
        self._driver = driver
        self._twin = twin

    def __len__(self) -> int:
        return self._driver.drive_reading(reads.past_size(self._twin.keys))

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> list[State]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._driver.drive_reading(reads.past(self._twin, index))

    def __iter__(self) -> Iterator[State]:
        return iter(self[:])

    def __repr__(self) -> str:
        return f"<{len(self)} past states of twin {self._twin.keys.twin!r}, oldest first>"


class AsyncStateHistory:
    """The same for asyncio: ``await history[-1]``, ``await history[1:3]``, ``async for``, ``await history.length()``.

    Args:
        link: the way to the twin.
        twin: the twin.
    """

    def __init__(self, link: Link, twin: Twin) -> None:
        self._link = link
        self._twin = twin

    async def length(self) -> int:
        """How many there are."""
        return await self._link.drive_reading(reads.past_size(self._twin.keys))

    @overload
    def __getitem__(self, index: int) -> Awaitable[State]: ...
    @overload
    def __getitem__(self, index: slice) -> Awaitable[list[State]]: ...
    def __getitem__(self, index: int | slice) -> Awaitable[Any]:
        return self._link.drive_reading(reads.past(self._twin, index))

    async def __aiter__(self) -> AsyncIterator[State]:
        for state in await self[:]:
            yield state

    def __repr__(self) -> str:
        return f"<past states of twin {self._twin.keys.twin!r}, oldest first>"
