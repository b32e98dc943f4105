"""The two kinds of manager have the same names, arguments and results."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from circman_redis import AsyncStateManager, StateManager

WAITS_FOR_NOTHING = {"actor", "branch", "client", "flows", "keys", "mirror", "state_history", "subscribe", "twin"}


def public(manager: type) -> dict[str, Any]:
    """Its public names, with the functions behind them."""
    names = {name: inspect.getattr_static(manager, name) for name in dir(manager) if not name.startswith("_")}
    return {name: one.fget if isinstance(one, property) else one for name, one in names.items()}


def properties(manager: type) -> set[str]:
    return {name for name in dir(manager) if isinstance(inspect.getattr_static(manager, name), property)}


def signature(function: Any) -> str:
    """As text, without what tells the two kinds apart."""
    return str(inspect.signature(function)).replace("redis.asyncio.", "redis.").replace("Async", "")


NAMES = sorted(public(StateManager).keys() | public(AsyncStateManager).keys())


def test_both_have_the_same_names() -> None:
    """As methods and as properties."""
    assert public(StateManager).keys() == public(AsyncStateManager).keys()
    assert properties(StateManager) == properties(AsyncStateManager)


@pytest.mark.parametrize("name", [*NAMES, "__new__"])
def test_every_call_takes_and_returns_the_same(name: str) -> None:
    """Names, kinds, defaults and types of the arguments, and the type of the result."""
    assert signature(public(StateManager).get(name, StateManager.__new__)) == signature(
        public(AsyncStateManager).get(name, AsyncStateManager.__new__)
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_call_that_may_wait_is_awaited(name: str) -> None:
    """All but those that ask no server."""
    awaited = inspect.iscoroutinefunction(public(AsyncStateManager)[name])
    assert awaited is (name not in WAITS_FOR_NOTHING)
    assert not inspect.iscoroutinefunction(public(StateManager)[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_call_says_the_same_of_itself(name: str) -> None:
    """In its first line; the rest stands at StateManager's."""
    of_threads, of_tasks = (inspect.getdoc(public(one)[name]) for one in (StateManager, AsyncStateManager))
    assert of_threads
    assert of_tasks
    assert of_threads.splitlines()[0] == of_tasks.splitlines()[0].replace("Async", "")
