"""Branches and roles for the tasks of an event loop: the same, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from circman_redis import AsyncStateManager, BranchConflict, LeaseLost, NoState, StateConflict, StateManager
from circman_redis.twin.branches import AsyncBranch, async_branches, async_fork
from circman_redis.twin.leases import AsyncLease, async_holders
from tests.servers import Server

Opened = Callable[[], Any]


@pytest.fixture
def opened(server: Server, twin_id: str) -> Opened:
    """Opens the twin, with a state."""

    @asynccontextmanager
    async def make() -> AsyncIterator[AsyncStateManager]:
        async with AsyncStateManager(twin_id, url=server.url) as manager:
            await manager.set_state({"n": 0, "m": 0})
            yield manager

    return make


def run(opened: Opened, test: Callable[[AsyncStateManager], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened() as twin:
            await test(twin)

    asyncio.run(main())


def test_a_branch_is_made_and_merged_back(opened: Opened) -> None:
    """And cannot be, where the twin was changed in the same places."""

    async def test(twin: AsyncStateManager) -> None:
        branch = await async_fork(twin, "b", actor="me")
        async with branch.manager as manager:
            await manager.adjust({"/n": 5})
            await twin.adjust({"/m": 1})
            assert [change.pointer for change in await branch.diff_to_origin()] == ["/n"]
            assert (await branch.origin).version == 1
            commit = await branch.merge_back(actor="planner")
            assert commit is not None
            assert commit.version == 3
            state = await twin.get_current_state()
            assert (state["n"], state["m"]) == (5, 1)
            await manager.adjust({"/m": 5})
            with pytest.raises(BranchConflict, match="/m"):
                await branch.merge_back()
            with pytest.raises(StateConflict):
                await async_fork(twin, "b")

    run(opened, test)


def test_a_twin_goes_with_its_branches(opened: Opened) -> None:
    async def test(twin: AsyncStateManager) -> None:
        for name in ("a", "b"):
            await async_fork(twin, name)
        assert await async_branches(twin) == [f"{twin.twin}@a", f"{twin.twin}@b"]
        assert await twin.delete(branches=False) == 1
        assert len(await async_branches(twin)) == 2
        assert await twin.delete() == 0
        assert await async_branches(twin) == []

    run(opened, test)


def test_what_is_no_branch(opened: Opened) -> None:
    async def test(twin: AsyncStateManager) -> None:
        async with twin.branch("nothing") as nothing:
            with pytest.raises(NoState, match=r"make it with fork\(\)"):
                await AsyncBranch(nothing, twin).merge_back()

    run(opened, test)


def test_a_manager_made_before_the_loop_has_a_branch_of_its_own(server: Server, twin_id: str) -> None:
    """It is not taken for the one of threads."""
    twin = AsyncStateManager(twin_id, url=server.url)
    with StateManager(f"{twin_id}@b", url=server.url) as other:
        branch = twin.branch("b")
        assert isinstance(branch, AsyncStateManager)
        with StateManager(f"{twin_id}@b", url=server.url) as again:
            assert again is other


def test_a_role_is_kept_and_given_back(opened: Opened) -> None:
    """What the block's task commits, and the tasks that it makes, is the role's; what others do is not."""

    async def test(twin: AsyncStateManager) -> None:
        asked, done = asyncio.Event(), asyncio.Event()

        async def outside() -> None:
            await asked.wait()
            await twin.adjust({"/n": 1})
            done.set()

        other = asyncio.create_task(outside())
        async with AsyncLease(twin, "line", "a", ttl=0.2) as lease:
            until = (await async_holders(twin))[0].until
            while (await async_holders(twin))[0].until == until:
                await asyncio.sleep(0.01)
            assert lease.held
            assert not await AsyncLease(twin, "line", "b").take(timeout=0.05)
            assert await AsyncLease(twin, "line", "a").take()  # the same worker, started again
            with pytest.raises(LeaseLost, match="'a' has it now"):
                await twin.adjust({"/n": 1})
            with pytest.raises(LeaseLost):
                await asyncio.create_task(twin.adjust({"/n": 1}))
            asked.set()
            await done.wait()
        await other
        await twin.adjust({"/n": 1})
        assert (await twin.get_current_state())["n"] == 2

    run(opened, test)


def test_a_role_is_waited_for(opened: Opened) -> None:
    """Who waits has it as soon as it is free; who held it is told."""

    async def test(twin: AsyncStateManager) -> None:
        first, second = AsyncLease(twin, "line", "a"), AsyncLease(twin, "line", "b", ttl=0.3)
        assert await first.take()
        waiting = asyncio.create_task(second.take(timeout=None))
        await asyncio.sleep(0)
        assert not second.held
        await first.release()
        assert await waiting
        with pytest.raises(LeaseLost, match="'b' has it now"):
            await first.keep()
        await second.release()
        assert [one.holder for one in await async_holders(twin)] == [""]

    run(opened, test)


def test_a_block_that_is_cancelled_gives_the_role_back(opened: Opened) -> None:
    async def test(twin: AsyncStateManager) -> None:
        inside = asyncio.Event()

        async def work() -> None:
            async with AsyncLease(twin, "line", "a"):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert [one.holder for one in await async_holders(twin)] == [""]

    run(opened, test)
