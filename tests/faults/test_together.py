"""What tasks send in one tick shares a connection, and nothing else: each has its own reply, error and fate."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from circman_redis import AsyncStateManager, Commit, InvalidJSON, StateConflict, StoreUnavailable
from circman_redis.sending import MOST_BYTES, MOST_TOGETHER
from tests.servers import Server


@asynccontextmanager
async def counting(url: str, twin_id: str, **options: Any) -> AsyncIterator[AsyncStateManager]:
    """A twin at version 1, with a number to add to."""
    async with AsyncStateManager(twin_id, url=f"{url}?client_name={twin_id}", **options) as twin:
        await twin.set_state({"n": 0})
        yield twin


async def outcomes(calls: list[Awaitable[Any]]) -> list[Any]:
    """What became of calls that were made in one tick."""
    return await asyncio.gather(*calls, return_exceptions=True)


def connections(server: Server, twin_id: str) -> set[str]:
    """The ids of a manager's connections."""
    with server.client(decode_responses=True) as beside:
        return {one["id"] for one in beside.client_list() if one["name"] == twin_id}


def test_one_tick_is_one_connection(server: Server, twin_id: str) -> None:
    """However many tasks there are, up to the size of a batch; and in the order in which they called."""

    async def main() -> None:
        async with counting(server.url, twin_id) as twin:
            before = connections(server, twin_id)
            commits = await outcomes([twin.adjust({"/n": 1}) for _ in range(MOST_TOGETHER)])
            assert [commit.version for commit in commits] == list(range(2, MOST_TOGETHER + 2))
            assert connections(server, twin_id) == before
            await outcomes([twin.adjust({"/n": 1}) for _ in range(MOST_TOGETHER + 1)])
            assert len(connections(server, twin_id)) == len(before) + 1

    asyncio.run(main())


def test_a_thousand_tasks_get_a_commit_each(server: Server, twin_id: str) -> None:
    """Each task its own, in its own order, and the sum is right."""

    async def work(twin: AsyncStateManager, commit_id: str) -> list[int]:
        commits = [await twin.adjust({"/n": 1}, commit_id=f"{commit_id}-{n}") for n in range(3)]
        again = await twin.adjust({"/n": 1}, commit_id=f"{commit_id}-1")
        assert (again.duplicate, again.version) == (True, commits[1].version)
        return [commit.version for commit in commits]

    async def main() -> None:
        async with counting(server.url, twin_id) as twin:
            all_versions = await asyncio.gather(*(work(twin, f"task-{n}") for n in range(1000)))
            assert all(versions == sorted(versions) for versions in all_versions)
            assert sorted(version for versions in all_versions for version in versions) == list(range(2, 3002))
            assert (await twin.get_current_state())["n"] == 3000

    asyncio.run(main())


def test_an_error_is_told_to_its_own_task_only(server: Server, twin_id: str) -> None:
    """One that the script refuses, and one that is refused before it is sent."""

    async def main() -> None:
        async with counting(server.url, twin_id) as twin:
            calls: list[Awaitable[Any]] = [twin.adjust({"/n": 1}) for _ in range(20)]
            calls[5:5] = [twin.adjust({"/n": 1}, expected_version=99), twin.update_state({"x": float("nan")})]
            came = await outcomes(calls)
            assert [type(one) for one in came[5:7]] == [StateConflict, InvalidJSON]
            assert [one.version for one in came[:5] + came[7:]] == list(range(2, 22))

    asyncio.run(main())


def test_who_is_cancelled_leaves_the_others_their_replies(own_server: Server, twin_id: str) -> None:
    """While the server is stopped with all of them under way: their connection is used on."""

    async def main() -> None:
        async with counting(own_server.url, twin_id) as twin:
            before = connections(own_server, twin_id)
            with own_server.stopped():
                tasks = [asyncio.create_task(twin.adjust({"/n": 1}, commit_id=f"c-{n}")) for n in range(30)]
                await asyncio.sleep(0.05)
                for task in tasks[::3]:
                    task.cancel()
                await asyncio.sleep(0.05)
            came = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in came[::3])
            assert all(isinstance(one, Commit) for n, one in enumerate(came) if n % 3)
            assert connections(own_server, twin_id) == before
            again = await outcomes([twin.adjust({"/n": 1}, commit_id=f"c-{n}") for n in range(30)])
            assert [one.version for one in again] == list(range(2, 32))

    asyncio.run(main())


def test_a_connection_that_nobody_waits_for_is_given_up(own_server: Server, twin_id: str) -> None:
    """All of a batch were cancelled: it may be dead, and whoever comes next is not to find out."""

    async def main() -> None:
        async with counting(own_server.url, twin_id) as twin:
            before = connections(own_server, twin_id)
            with own_server.stopped():
                tasks = [asyncio.create_task(twin.adjust({"/n": 1}, commit_id=f"c-{n}")) for n in range(5)]
                await asyncio.sleep(0.05)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            again = await outcomes([twin.adjust({"/n": 1}, commit_id=f"c-{n}") for n in range(5)])
            assert sorted(one.version for one in again) == list(range(2, 7))
            assert not connections(own_server, twin_id) & before

    asyncio.run(main())


def test_who_is_cancelled_before_the_tick_is_over_sends_nothing(server: Server, twin_id: str) -> None:
    """Alone or among others."""

    async def main() -> None:
        async with counting(server.url, twin_id) as twin:
            for others in (0, 3):
                tasks = [asyncio.create_task(twin.adjust({"/n": 1})) for _ in range(1 + others)]
                await asyncio.sleep(0)
                tasks[0].cancel()
                came = await asyncio.gather(*tasks, return_exceptions=True)
                assert isinstance(came[0], asyncio.CancelledError)
                assert (await twin.get_current_state())["n"] == others

    asyncio.run(main())


@asynccontextmanager
async def losing_replies(server: Server, folder: Path, commits: int) -> AsyncIterator[str]:
    """The URL of a way to the server that ends after so many replies of a batch, all of which was committed."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(str(server.socket))
        while request := await reader.read(1 << 20):
            to_server.write(request)
            reply = await from_server.read(1 << 20)
            if request.count(b"merge") > 1 and (replies := reply.split(b"*5\r\n")[1:]):
                writer.write(b"".join(b"*5\r\n" + one for one in replies[:commits]))
                await writer.drain()
                break
            writer.write(reply)
        writer.close()
        to_server.close()

    way = await asyncio.start_unix_server(forward, folder / "way")
    async with way:
        yield f"unix://{folder / 'way'}"


def test_a_connection_that_dies_in_the_middle_tells_each_its_outcome(
    server: Server, twin_id: str, tmp_path: Path
) -> None:
    """Those before it have their commits, to those after it that is not known; said again, each is made once."""

    async def main() -> None:
        async with losing_replies(server, tmp_path, 4) as url, counting(url, twin_id, retries=0) as twin:
            calls = [twin.update_state({f"k{n}": n}, commit_id=f"c-{n}") for n in range(10)]
            came = await outcomes(calls)
            assert [one.version for one in came[:4]] == [2, 3, 4, 5]
            assert all(isinstance(one, StoreUnavailable) for one in came[4:])
            assert [one.commit_id for one in came[4:]] == [f"c-{n}" for n in range(4, 10)]
            for n in range(10):
                again = await twin.update_state({f"k{n}": n}, commit_id=f"c-{n}")
                assert (again.version, again.duplicate) == (n + 2, True)

    asyncio.run(main())


def test_a_connection_that_dies_in_the_middle_is_made_up_for(server: Server, twin_id: str, tmp_path: Path) -> None:
    """By each task for itself: all were committed, and are recognised."""

    async def main() -> None:
        async with losing_replies(server, tmp_path, 4) as url, counting(url, twin_id, retries=50) as twin:
            came = await outcomes([twin.update_state({f"k{n}": n}) for n in range(10)])
            assert [one.version for one in came] == list(range(2, 12))
            assert [one.duplicate for one in came] == [False] * 4 + [True] * 6

    asyncio.run(main())


def test_a_server_that_is_gone_is_told_to_each_with_its_own_commit_id(own_server: Server, twin_id: str) -> None:
    """Once it is back, all of them can be said again."""

    async def main() -> None:
        async with counting(own_server.url, twin_id, retries=0, timeout=1) as twin:
            own_server.kill()
            came = await outcomes([twin.adjust({"/n": 1}, commit_id=f"c-{n}") for n in range(100)])
            assert [one.commit_id for one in came] == [f"c-{n}" for n in range(100)]
            own_server.start()
            await outcomes([twin.adjust({"/n": 1}, commit_id=f"c-{n}") for n in range(100)])
            assert (await twin.get_current_state())["n"] == 100

    asyncio.run(main())


def test_large_beside_small(server: Server, twin_id: str) -> None:
    """Replies and commits of many sizes at once: each task gets what it asked for."""
    sizes = [10, MOST_BYTES - 100, MOST_BYTES + 1, 500_000, 10]

    async def main() -> None:
        async with counting(server.url, twin_id) as twin:
            for n, size in enumerate(sizes):
                assert (await twin.set_state({"n": n, "text": "x" * size})).version == n + 2
            for _ in range(5):
                calls = [twin.get_state_at_version(2 + n % len(sizes)) for n in range(50)]
                came = await outcomes(calls)
                assert [(one["n"], len(one["text"])) for one in came] == [*enumerate(sizes)] * 10
            commits = await outcomes([twin.update_state({f"k{n}": "y" * sizes[n % 3]}) for n in range(12)])
            assert sorted(one.version for one in commits) == list(range(7, 19))
            state = await twin.get_current_state()
            assert [len(state[f"k{n}"]) for n in range(12)] == sizes[:3] * 4

    asyncio.run(main())


def test_a_flushed_script_is_loaded_for_each_command_of_a_batch(server: Server, twin_id: str) -> None:
    """Each meets NOSCRIPT on its own, and none is lost or made twice; reads among them."""

    async def main() -> None:
        async with counting(server.url, twin_id) as twin:
            with server.client() as beside:
                for _ in range(5):
                    beside.script_flush()
                    calls: list[Awaitable[Any]] = [twin.adjust({"/n": 1}) for _ in range(100)]
                    await asyncio.gather(*calls, *(twin.snapshot() for _ in range(20)))
            assert (await twin.get_current_state())["n"] == 500

    asyncio.run(main())


def test_a_script_that_is_flushed_again_at_once_brings_its_text_along(server: Server, twin_id: str) -> None:
    """Between SCRIPT LOAD and the EVALSHA that follows."""

    async def main() -> None:
        async with counting(server.url, twin_id) as twin:
            driver = await twin._link.ready()
            send = driver.store.send

            async def flushed(*command: Any, **how: Any) -> Any:
                if command[0] == "EVALSHA":
                    await send("SCRIPT", "FLUSH")
                return await send(*command, **how)

            driver.store = replace(driver.store, send=flushed)
            came = await outcomes([twin.adjust({"/n": 1}) for _ in range(10)])
            assert sorted(one.version for one in came) == list(range(2, 12))

    asyncio.run(main())


def test_the_end_of_a_loop_ends_what_is_under_way(own_server: Server, twin_id: str) -> None:
    """Nothing hangs, and nothing is complained of: whether sent already or not."""

    async def main() -> None:
        twin = AsyncStateManager(twin_id, url=own_server.url)
        await twin.set_state({"n": 0})
        os.kill(own_server.process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        sent = [asyncio.create_task(twin.adjust({"/n": 1})) for _ in range(5)]
        await asyncio.sleep(0.05)
        sent += [asyncio.create_task(twin.adjust({"/n": 1})) for _ in range(5)]
        await asyncio.sleep(0)

    try:
        asyncio.run(main())
    finally:
        os.kill(own_server.process.pid, signal.SIGCONT)  # type: ignore[union-attr]
