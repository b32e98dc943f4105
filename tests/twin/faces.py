"""Interfaces of both kinds, with one face: those of an asynchronous manager wait for their answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from circman_redis import AsyncStateManager, StateManager
from circman_redis.twin.interface import AsyncHumanInterface, HumanInterface
from tests.contract.waiting import Loop, Waiting


class Faces:
    """Makes managers, mirrors and interfaces of one kind.

    Args:
        loop: where asynchronous ones live; None for synchronous ones.
    """

    def __init__(self, loop: Loop | None) -> None:
        self._loop = loop
        self._open: list[Any] = []

    def manager(self, *args: Any, **arguments: Any) -> Any:
        """A manager, open and as it is: an asynchronous one has to be awaited."""
        if self._loop is None:
            made: Any = StateManager(*args, **arguments)
        else:

            async def make() -> Any:
                return await AsyncStateManager(*args, **arguments).__aenter__()

            made = self._loop.do(make)
        self._open.append(made)
        return made

    def mirror(self, manager: Any, **arguments: Any) -> Any:
        """A mirror of a manager's twin, which stands."""
        if self._loop is None:
            return manager.mirror(**arguments)

        async def make() -> Any:
            return [await manager.mirror(**arguments)]

        return self._loop.do(make)[0]

    def of(self, twin: Any, **arguments: Any) -> Any:
        """The interface, made by the name that there is for both; what it answers is waited for."""
        made = HumanInterface(twin, **arguments)
        if self._loop is None:
            assert type(made) is HumanInterface
            return made
        assert type(made) is AsyncHumanInterface
        return Waiting(self._loop, made)

    def do(self, call: Any, *args: Any, **arguments: Any) -> Any:
        """What a manager's call returns."""
        return self._loop.do(call, *args, **arguments) if self._loop else call(*args, **arguments)

    def close(self) -> None:
        for one in self._open:
            self.do(one.close)


@contextmanager
def faces_of(kind: str) -> Iterator[Faces]:
    """Those of a kind, closed at the end."""
    loop = Loop() if kind == "async" else None
    faces = Faces(loop)
    try:
        yield faces
    finally:
        faces.close()
        if loop:
            loop.end()
