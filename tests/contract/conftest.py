"""One suite for both kinds of manager: what a test makes with ``manager`` is made of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import redis

from circman_redis import StateManager
from tests.contract.waiting import WaitingManagers
from tests.servers import Server

Managers: TypeAlias = Callable[..., StateManager]


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    """Which kind of manager the test is about."""
    return str(request.param)


@pytest.fixture
def manager(mode: str) -> Iterator[Managers]:
    """Makes managers: StateManager, or one that waits for the answers of an AsyncStateManager."""
    if mode == "sync":
        yield StateManager
        return
    managers = WaitingManagers()
    try:
        yield managers
    finally:
        managers.close()


@pytest.fixture
def open_twin(manager: Managers, server: Server, twin_id: str) -> Managers:
    """Makes managers of the test's twin."""
    return partial(manager, twin_id, url=server.url)


@pytest.fixture
def twin(open_twin: Managers, tmp_path: Path) -> Iterator[StateManager]:
    """A manager of a new twin."""
    with open_twin(results=tmp_path / "results") as one:
        yield one


@pytest.fixture
def other_process(manager: Managers, server: Server, twin_id: str) -> Managers:
    """Makes managers as another process would have them: ones that are not shared with the test's own."""

    def make(**arguments: Any) -> StateManager:
        return manager(twin_id, client=server.client(), **arguments)

    return make


@pytest.fixture
def raw(server: Server) -> Iterator[redis.Redis]:
    """A bare client that reads bytes."""
    with server.client() as one:
        yield one


@pytest.fixture
def writer(server: Server, twin_id: str) -> Iterator[StateManager]:
    """Somebody else who writes to the twin meanwhile."""
    with StateManager(twin_id, client=server.client()) as one:
        yield one
