"""Domain events for tasks: the same events, said and followed from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from circman_redis import AsyncStateManager, StateManager, UsageError
from circman_redis.events import Heartbeat
from circman_redis.twin.async_domain import AsyncDomainEvents
from circman_redis.twin.domain import DomainEvent, DomainEvents
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.thresholds import Thresholds
from tests.servers import Server, contents


@asynccontextmanager
async def opened(server: Server, twin_id: str) -> AsyncIterator[AsyncDomainEvents]:
    async with AsyncStateManager(twin_id, url=server.url) as twin, AsyncDomainEvents(twin) as events:
        yield events


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_said_by_a_task_and_seen_by_a_thread(server: Server, twin_id: str) -> None:
    """And the other way round; resumed at a position."""

    async def tasks() -> None:
        async with opened(server, twin_id) as events:
            async with events.subscribe(timeout=0.5) as following:
                first = await events.publish("error", {"n": 1}, actor="ada")
                with StateManager(twin_id, url=server.url) as twin, DomainEvents(twin) as others:
                    others.publish("error", {"n": 2})
                    assert [one.data["n"] for one in others.get_events()] == [1, 2]
                    assert [one.actor for one in others.get_events(1)] != ["ada"]
                came = [one async for one in following]
            assert [(one.kind, one.data["n"]) for one in came if isinstance(one, DomainEvent)] == [
                ("error", 1),
                ("error", 2),
            ]
            again = [one async for one in events.subscribe(since=first.position, timeout=0.2)]
            assert again == came[1:]
            assert await events.get_events() == came

    run(tasks())


def test_a_decision_is_made_once(server: Server, twin_id: str) -> None:
    """By whichever task."""

    async def tasks() -> None:
        async with opened(server, twin_id) as events:

            async def decide(number: int) -> None:
                change = {"n": number, "events": [{"kind": "error", "data": {"n": number}}]}
                await events.decide(lambda state: None if state.get("n", -1) >= number else change)

            for number in range(3):
                await asyncio.gather(*(decide(number) for _ in range(4)))
            assert [one.data["n"] for one in await events.get_events()] == [0, 1, 2]
            assert (await events.state())["n"] == 2

    run(tasks())


def test_thresholds_come_to_tasks_too(server: Server, twin_id: str) -> None:
    """Several events of one commit one by one, and only the kinds that were asked for."""

    async def tasks() -> None:
        async with opened(server, twin_id) as events:
            both = [{"kind": kind, "data": {}} for kind in ("error", "threshold_breached")]
            async with events.subscribe(kinds=["threshold_breached"], heartbeat=0.05) as following:
                assert following.connected
                await events.decide(lambda state: {"events": both})
                breached = await anext(following)
                assert isinstance(breached, DomainEvent)
                assert isinstance(await anext(following), Heartbeat)
            assert [one.kind for one in await events.get_events()] == ["error", "threshold_breached"]

    run(tasks())


def test_to_look_leaves_no_trace(server: Server, twin_id: str) -> None:
    async def tasks() -> None:
        async with opened(server, twin_id) as events:
            assert (await events.get_events(), await events.state()) == ([], {})

    with server.client() as client:
        before = contents(client)
        run(tasks())
        assert contents(client) == before


def test_what_is_none(server: Server, twin_id: str) -> None:
    """A branch has no domain events, and nothing of its own is a kind."""

    async def tasks() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            with pytest.raises(UsageError, match="branches have no domain events"):
                AsyncDomainEvents(twin.branch("b"))
            async with AsyncDomainEvents(twin) as events:
                with pytest.raises(UsageError, match="use some of"):
                    events.subscribe(kinds=["nonsense"])  # type: ignore[list-item]

    run(tasks())


def test_rules_set_by_threads_are_seen(server: Server, twin_id: str) -> None:
    """They stand in Redis."""
    rule = ThresholdRule(name="hot", pointer="/t", comparison="greater_than", value=80.0)
    with StateManager(twin_id, url=server.url) as twin, DomainEvents(twin) as others:
        Thresholds(twin, others).set(rule)

    async def tasks() -> None:
        async with opened(server, twin_id) as events:
            assert list((await events.state())["rules"]) == ["hot"]

    run(tasks())
