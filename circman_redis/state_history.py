"""The past states of a twin as a sequence."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import overload

from circman_redis import protocol
from circman_redis.driver import Driver
from circman_redis.keys import TwinKeys
from circman_redis.results import State


class StateHistory(Sequence[State]):
    """The past states of a twin, oldest first; each access reads from Redis.

    Args:
        driver: the way to the twin.
        keys: the twin's.
    """

    def __init__(self, driver: Driver, keys: TwinKeys) -> None:
        self._driver = driver
        self._keys = keys

    def __len__(self) -> int:
        return self._driver.run(protocol.history_size(self._keys))

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> list[State]: ...
    def __getitem__(self, index: int | slice) -> State | list[State]:
        if isinstance(index, slice):
            return self._all()[index]
        # The list in Redis has the newest first: -1 here is 0 there.
        there = -1 - operator.index(index)
        found = self._driver.run(protocol.history(self._keys, there, there))
        if not found:
            raise IndexError(f"twin {self._keys.twin!r} has no past state {index}")
        return found[0]

    def __iter__(self) -> Iterator[State]:
        return iter(self._all())

    def __repr__(self) -> str:
        return f"<{len(self)} past states of twin {self._keys.twin!r}, oldest first>"

    def _all(self) -> list[State]:
        return self._driver.run(protocol.history(self._keys, 0, -1))
