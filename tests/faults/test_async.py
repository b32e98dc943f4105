"""Many tasks on one manager: cancelled at any moment, over a server that stops, dies or loses replies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from circman_redis import AsyncStateManager, RetryExpired, StateManager, StoreUnavailable
from circman_redis.connection import connect_async
from circman_redis.pool import SHARED
from circman_redis.settings import Settings
from tests.servers import Server

VERSIONS = 50


@asynccontextmanager
async def numbered(server: Server, twin_id: str) -> AsyncIterator[AsyncStateManager]:
    """A twin whose state at version v is v, so that every reply tells which call it belongs to."""
    async with AsyncStateManager(twin_id, url=f"{server.url}?client_name={twin_id}") as twin:
        await twin.update_many([{"v": v} for v in range(1, VERSIONS + 1)])
        yield twin


async def ask(twin: AsyncStateManager, version: int) -> None:
    state = await twin.get_state_at_version(version)
    assert state is not None
    assert state["v"] == version


async def cancel_all(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancels those that are not done; every one of them has to end by that."""
    cancelled = [task for task in tasks if task.cancel()]
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in cancelled)


async def sixteen_at_a_time(twin: AsyncStateManager) -> None:
    """None of the connections is lost: so many calls can still be under way together."""
    async with asyncio.TaskGroup() as group:
        for _ in range(SHARED):
            group.create_task(twin.client.blpop(["no-list-yet"], timeout=60))
        with redis.Redis(unix_socket_path=twin.client.connection_pool.connection_kwargs["path"]) as beside:
            while beside.info("clients")["blocked_clients"] < SHARED:
                await asyncio.sleep(0.01)
            beside.rpush("no-list-yet", *range(SHARED))


def test_a_hundred_concurrent_updates_are_a_hundred_commits(server: Server, twin_id: str) -> None:
    """Of each kind; every one is a version of its own."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            await twin.set_state({"n": 0})
            adjusted = await asyncio.gather(*(twin.adjust({"/n": i}) for i in range(100)))
            assert sorted(commit.version for commit in adjusted) == list(range(2, 102))
            updated = await asyncio.gather(*(twin.update_state({f"key-{i}": i}) for i in range(100)))
            assert sorted(commit.version for commit in updated) == list(range(102, 202))
            state = await twin.get_current_state()
            assert state["n"] == sum(range(100))
            assert {f"key-{i}" for i in range(100)} <= state.keys()
            assert (await twin.snapshot()).version == 201

    asyncio.run(main())


def test_a_thousand_tasks_share_a_few_connections(server: Server, twin_id: str) -> None:
    """They wait for one in turn, and none fails for the lack of one."""

    async def main() -> None:
        async with numbered(server, twin_id) as twin:
            await asyncio.gather(*(ask(twin, 1 + i % VERSIONS) for i in range(1000)))
            with server.client(decode_responses=True) as beside:
                assert 1 < sum(one["name"] == twin_id for one in beside.client_list()) <= SHARED
            await sixteen_at_a_time(twin)

    asyncio.run(main())


def test_a_cancelled_call_leaves_no_reply_to_another(own_server: Server, twin_id: str) -> None:
    """It was sent, and given up while the server had not answered yet; then the server answers."""

    async def main() -> None:
        async with numbered(own_server, twin_id) as twin:
            for _ in range(5):
                with own_server.stopped():
                    for version in (1, 2, 3):
                        with pytest.raises(TimeoutError):
                            async with asyncio.timeout(0.05):
                                await ask(twin, version)
                    given_up = [asyncio.create_task(ask(twin, version)) for version in range(1, VERSIONS + 1)]
                    await asyncio.sleep(0.05)
                    await cancel_all(given_up)
                await asyncio.gather(*(ask(twin, version) for version in range(1, VERSIONS + 1)))
            await sixteen_at_a_time(twin)

    asyncio.run(main())


def test_calls_cancelled_at_any_moment_disturb_no_other(server: Server, twin_id: str) -> None:
    """Hundreds at once: waiting for a connection, connecting, sending, reading, giving back."""

    async def cancel_later(task: asyncio.Task[Any], chance: random.Random) -> None:
        await asyncio.sleep(chance.random() / 20)
        await cancel_all([task])

    async def main() -> None:
        chance = random.Random(7)
        async with numbered(server, twin_id) as twin:
            for _ in range(10):
                calls = [asyncio.create_task(ask(twin, 1 + i % VERSIONS)) for i in range(300)]
                await asyncio.gather(*(cancel_later(task, chance) for task in calls[::2]), *calls[1::2])
                assert not any(task.exception() for task in calls if not task.cancelled())
            await sixteen_at_a_time(twin)

    asyncio.run(main())


def test_a_waiter_that_is_cancelled_as_it_is_woken_wakes_the_next(server: Server) -> None:
    """The connection that it was about to get is not left lying."""

    async def main() -> None:
        store = await connect_async(Settings(redis_url=f"{server.url}?max_connections=1"))
        pool = store.client.connection_pool
        held = await pool.get_connection()
        woken, next_one = (asyncio.create_task(pool.get_connection()) for _ in range(2))
        await asyncio.sleep(0)
        await pool.release(held)
        woken.cancel()
        async with asyncio.timeout(30):
            await pool.release(await next_one)
        assert woken.cancelled()
        await store.close()

    asyncio.run(main())


def test_a_cancelled_commit_can_be_repeated(own_server: Server, twin_id: str) -> None:
    """With its commit id it is made once, wherever the cancellation met it."""

    async def insist(twin: AsyncStateManager, commit_id: str, chance: random.Random) -> int:
        while True:
            try:
                async with asyncio.timeout(chance.random() / 100):
                    return (await twin.adjust({"/n": 1}, commit_id=commit_id)).version
            except TimeoutError:
                await asyncio.sleep(chance.random() / 10)

    async def main() -> None:
        chance = random.Random(7)
        async with AsyncStateManager(twin_id, url=own_server.url) as twin:
            await twin.set_state({"n": 0})
            versions = await asyncio.gather(*(insist(twin, f"commit-{i}", chance) for i in range(100)))
            assert sorted(versions) == list(range(2, 102))
            assert (await twin.get_current_state())["n"] == 100

    asyncio.run(main())


def test_server_killed_and_restarted_under_tasks(own_server: Server, twin_id: str) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and the tasks go on by themselves."""
    acknowledged: dict[str, int] = {}

    async def work(twin: AsyncStateManager, worker: int, done: asyncio.Event) -> None:
        n = 0
        while not done.is_set():
            commit_id = f"{worker}-{(n := n + 1)}"
            acknowledged[commit_id] = (await twin.adjust({"/n": 1}, commit_id=commit_id)).version

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=own_server.url, retries=50, history_length=100_000) as twin:
            await twin.set_state({"n": 0}, commit_id="start")
            done = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for worker in range(40):
                    group.create_task(work(twin, worker, done))
                for _ in range(3):
                    seen = len(acknowledged)
                    while len(acknowledged) < seen + 200:
                        await asyncio.sleep(0.01)
                    own_server.kill()
                    await asyncio.to_thread(own_server.start)
                done.set()
            entries = await twin.get_commits()
            ids = Counter(entry.id for entry in entries)
            assert set(ids.values()) == {1}
            assert {entry.id: entry.version for entry in entries if entry.id != "start"} == acknowledged
            assert (await twin.get_current_state())["n"] == len(acknowledged) == len(entries) - 1

    asyncio.run(main())


def test_a_server_that_stays_away_is_told_with_the_commit_id(own_server: Server, twin_id: str) -> None:
    """Whether it was committed cannot be known; the same call with that id finds out."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=own_server.url, retries=1, timeout=1) as twin:
            await twin.set_state({"n": 0})
            own_server.kill()
            with pytest.raises(StoreUnavailable, match="not known") as caught:
                await twin.adjust({"/n": 1})
            assert caught.value.commit_id
            with pytest.raises(StoreUnavailable) as read:
                await twin.get_current_state()
            assert read.value.commit_id is None
            own_server.start()
            assert (await twin.adjust({"/n": 1}, commit_id=caught.value.commit_id)).version == 2
            assert (await twin.adjust({"/n": 1}, commit_id=caught.value.commit_id)).duplicate
            assert (await twin.get_current_state())["n"] == 1

    asyncio.run(main())


async def lose_one_reply(twin: AsyncStateManager, how: BaseException, meanwhile: Callable[[], Awaitable[Any]]) -> None:
    """The next commit is made, its reply is lost, and ``meanwhile`` happens before anything else does."""
    driver = await twin._link.ready()
    real = driver._send

    async def send(call: Any, attempts: Any = None) -> Any:
        reply = await real(call, attempts)
        if call.commit_id:
            driver._send = real  # type: ignore[method-assign]
            await meanwhile()
            raise how
        return reply

    driver._send = send  # type: ignore[method-assign]


def test_a_commit_whose_reply_was_lost_applies_once(server: Server, twin_id: str) -> None:
    """It is sent again, and recognised."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            await twin.set_state({"n": 0})
            await lose_one_reply(twin, redis.ConnectionError("the reply was lost"), lambda: asyncio.sleep(0))
            assert (await twin.adjust({"/n": 1})).duplicate
            assert (await twin.get_current_state())["n"] == 1

    asyncio.run(main())


@pytest.mark.parametrize("how", [redis.ConnectionError("the reply was lost"), asyncio.CancelledError()])
def test_a_commit_that_was_forgotten_meanwhile_is_not_applied_again(
    server: Server, twin_id: str, how: BaseException
) -> None:
    """Lost or cancelled, and repeated by the caller: the manager knows how long ago it was first sent."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url, retries=0) as twin:
            await twin.set_state({"n": 0})
            with StateManager(twin_id, client=server.client()) as other:

                async def forget() -> None:
                    for _ in range(2 * 2048 + 1):
                        other.update_state({})

                await lose_one_reply(twin, how, forget)
                with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
                    await twin.adjust({"/n": 1}, commit_id="mine")
            with pytest.raises(RetryExpired, match="mine"):
                await twin.adjust({"/n": 1}, commit_id="mine")
            assert (await twin.get_current_state())["n"] == 1

    asyncio.run(main())


def test_a_flushed_script_cache_goes_unnoticed(server: Server, twin_id: str) -> None:
    """In the middle of the load; every commit is made, once."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            await twin.set_state({"n": 0})
            with server.client() as beside:
                for _ in range(20):
                    beside.script_flush()
                    await asyncio.gather(*(twin.adjust({"/n": 1}) for _ in range(10)))
            assert (await twin.get_current_state())["n"] == 200

    asyncio.run(main())
