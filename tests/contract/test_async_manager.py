"""What is AsyncStateManager's alone: opening, event loops, what is awaited. All else it shares with StateManager."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis

from circman_redis import AsyncStateManager, StateManager, StoreError, StoreUnavailable, UsageError, link, registry
from circman_redis.flows import Flow, Twin
from tests.servers import Server, wait_until

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def url(server: Server, twin_id: str) -> str:
    """The server, for connections that can be told from others."""
    return f"{server.url}?client_name={twin_id}"


@pytest.fixture
def connections(server: Server, twin_id: str) -> Callable[[], int]:
    """How many connections there are to ``url``."""

    def count() -> int:
        with server.client(decode_responses=True) as client:
            return sum(one["name"] == twin_id for one in client.client_list())

    return count


def test_to_make_one_sends_nothing() -> None:
    """Neither does it need an event loop, nor a server that answers; what is wrong is said at once all the same."""
    twin = AsyncStateManager("x", url=NOWHERE)
    assert (twin.twin, twin.keys.state) == ("x", "circman:{x}:state")
    assert repr(twin) == f"<AsyncStateManager 'x' at {NOWHERE}>"
    with pytest.raises(UsageError, match="not open yet"):
        _ = twin.client
    for wrong in ({"history_length": 0}, {"url": "http://host"}, {"client": redis.Redis()}):
        with pytest.raises(UsageError):
            AsyncStateManager("x", **wrong)


def test_a_hundred_first_calls_open_it_once(server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them does, the others wait for that."""
    opened: list[Twin] = []
    really_open = Twin.open

    def count(twin: Twin) -> Flow[None]:
        opened.append(twin)
        return really_open(twin)

    async def main() -> None:
        twin = AsyncStateManager(twin_id, url=server.url)
        await asyncio.gather(*(twin.snapshot() for _ in range(100)))
        await twin.close()

    monkeypatch.setattr(Twin, "open", count)
    asyncio.run(main())
    assert len(opened) == 1


def test_where_opening_fails_the_next_call_tries_again(own_server: Server, twin_id: str) -> None:
    """It is not given up for good; nor is it where the call that opens is cancelled."""

    async def main() -> None:
        own_server.kill()
        twin = AsyncStateManager(twin_id, url=own_server.url, retries=0)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await twin.snapshot()
        own_server.start()
        first, second = asyncio.create_task(twin.snapshot()), asyncio.create_task(twin.snapshot())
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).version == 0
        assert first.cancelled()
        await twin.close()

    asyncio.run(main())


def test_one_that_cannot_be_opened_is_left_behind(twin_id: str) -> None:
    """The with statement that failed to begin is no user of it any more."""

    async def main() -> None:
        with pytest.raises(StoreUnavailable):
            async with AsyncStateManager(twin_id, url=NOWHERE, retries=0):
                raise AssertionError("not reached")
        assert not [key for key in registry._managers if key[-1] == twin_id]

    asyncio.run(main())


def test_within_a_loop_the_same_call_gives_the_same_object(server: Server, twin_id: str) -> None:
    """In another one, and outside of any, it is another; and always another than the sync one."""

    async def make() -> AsyncStateManager:
        twin = AsyncStateManager(twin_id, url=server.url)
        assert AsyncStateManager(twin_id, url=server.url) is twin
        assert AsyncStateManager(twin_id, url=server.url, prefix="other") is not twin
        return twin

    made = [asyncio.run(make()), asyncio.run(make()), *(AsyncStateManager(twin_id, url=server.url) for _ in "ab")]
    with StateManager(twin_id, url=server.url) as sync:
        assert len({*map(id, made), id(sync)}) == 5


def test_what_is_not_open_yet_cannot_be_compared(server: Server, twin_id: str) -> None:
    """What was not asked for is the twin's, and is not known before: to ask for it then is refused."""

    async def main() -> None:
        twin = AsyncStateManager(twin_id, url=server.url, validation="standard", actor="me")
        assert AsyncStateManager(twin_id, url=server.url, validation="standard", actor="me") is twin
        with pytest.raises(UsageError, match=r"max_bytes=1048576 \(it is 'whatever the twin has'\)"):
            AsyncStateManager(twin_id, url=server.url, max_bytes=1_048_576)
        await twin.snapshot()
        assert AsyncStateManager(twin_id, url=server.url, max_bytes=1_048_576) is twin
        await twin.close()

    asyncio.run(main())


def test_a_differing_history_length_is_changed_by_the_next_call(server: Server, twin_id: str) -> None:
    """As a constructor cannot wait."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url, history_length=10) as twin:
            assert AsyncStateManager(twin_id, url=server.url, history_length=5) is twin
            assert await twin.history_length == 5
            await twin.set_history_length(7)
            assert await twin.history_length == 7
            await twin.close()

    asyncio.run(main())


def test_one_loop_after_the_other(url: str, twin_id: str, connections: Callable[[], int]) -> None:
    """Made inside, made outside, never closed: each loop has its own connections, and none outlives it."""
    outside = AsyncStateManager(twin_id, url=url)
    listening = []

    async def main() -> int:
        inside = AsyncStateManager(twin_id, url=url)
        listening.append(await inside.subscribe())
        commits = await asyncio.gather(inside.update_state({"a": 1}), outside.update_state({"b": 1}))
        return max(commit.version for commit in commits)

    assert [asyncio.run(main()) for _ in range(3)] == [2, 4, 6]
    wait_until(lambda: connections() == 0)
    assert not [key for key in registry._managers if key[0] is not None and not key[0].is_closed()]


def test_what_is_forgotten_is_closed(url: str, twin_id: str, connections: Callable[[], int]) -> None:
    """With its loop, also where that ends at the same moment."""
    for _ in range(3):
        assert asyncio.run(AsyncStateManager(twin_id, url=url).snapshot()).version == 0
        wait_until(lambda: connections() == 0)
    assert not link._open


def test_two_loops_at_a_time_need_two(server: Server, twin_id: str) -> None:
    """The connections of one cannot be used in the other: that is said, instead of failing somehow."""
    with asyncio.Runner() as one, asyncio.Runner() as other:
        twin = AsyncStateManager(twin_id, url=server.url)
        one.run(twin.snapshot())
        with pytest.raises(UsageError, match="make one in each"):
            other.run(twin.snapshot())
        other.run(twin.close())
        with pytest.raises(UsageError, match="is closed"):
            one.run(twin.snapshot())


def test_threads_with_a_loop_each(server: Server, twin_id: str) -> None:
    """Each makes its own; what they commit comes together in the twin."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            await asyncio.gather(*(twin.modify(lambda state: {"n": state.get("n", 0) + 1}) for _ in range(10)))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with StateManager(twin_id, url=server.url) as twin:
        assert (twin.get_current_state()["n"], twin.snapshot().version) == (40, 40)


def test_a_closed_one_says_so(url: str, twin_id: str, connections: Callable[[], int]) -> None:
    """To every call; whoever asks for the twin gets another. To close again does nothing."""

    async def main() -> None:
        twin = AsyncStateManager(twin_id, url=url)
        await asyncio.gather(*(twin.snapshot() for _ in range(5)))
        assert connections() > 0
        await asyncio.gather(twin.close(), twin.close())
        assert connections() == 0
        for call in (twin.snapshot, twin.state_history.length, lambda: twin.config, lambda: twin.update_state({})):
            with pytest.raises(UsageError, match="is closed"):
                await call()
        async with AsyncStateManager(twin_id, url=url) as again:
            assert again is not twin
        never_opened = AsyncStateManager(twin_id, url=url)
        await never_opened.close()
        with pytest.raises(UsageError, match="is closed"):
            await never_opened.snapshot()

    asyncio.run(main())


def test_closed_while_it_is_used(url: str, twin_id: str, connections: Callable[[], int]) -> None:
    """What is under way comes to an end, one way or another, and no connection is left."""

    async def main() -> None:
        twin = AsyncStateManager(twin_id, url=url)
        calls = [asyncio.create_task(twin.adjust({"/n": 1})) for _ in range(100)]
        await twin.update_state({"n": 0})
        await twin.close()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert len(ended) == 100
        while connections():
            await asyncio.sleep(0.01)

    asyncio.run(main())


def test_what_reads_without_a_call_is_awaited_too(server: Server, twin_id: str) -> None:
    """The properties, and the past states by index, by slice and one after the other."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            await twin.update_many([{"n": n} for n in range(5)])
            assert (await twin.current_state)["n"] == 4
            assert (await twin.config).model == "TwinState"
            assert (await twin.schema)["title"] == "TwinState"
            history = twin.state_history
            assert await history.length() == 4
            assert (await history[0])["n"] == 0
            assert (await history[-1])["n"] == 3
            assert [state["n"] for state in await history[1:3]] == [1, 2]
            assert [state["n"] async for state in history] == [0, 1, 2, 3]
            with pytest.raises(IndexError):
                await history[4]
            assert twin_id in repr(history)

    asyncio.run(main())


def test_files_do_not_hold_up_other_tasks(server: Server, twin_id: str, tmp_path: Path) -> None:
    """They are written and read on a thread."""
    threads: list[threading.Thread] = []

    class Host:
        def folder(self) -> Path:
            threads.append(threading.current_thread())
            return tmp_path

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url, results=Host()) as twin:
            await twin.set_state({"a": 1})
            await twin.export_state()
            await twin.import_state(next(tmp_path.iterdir()).name)

    asyncio.run(main())
    assert threads
    assert threading.main_thread() not in threads


def test_modify_takes_plain_functions(server: Server, twin_id: str) -> None:
    """One that would have to be awaited is refused, before anything is read."""

    async def change(state: dict[str, Any]) -> None:
        raise AssertionError("not reached")

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            with pytest.raises(UsageError, match="a plain function"):
                await twin.modify(change)

    asyncio.run(main())


def test_it_is_not_copied() -> None:
    """It would be another one on the same connections."""
    twin = AsyncStateManager("x", url=NOWHERE)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"AsyncStateManager\(\.\.\.\)"):
            attempt(twin)


def test_a_client_of_the_callers_own(server: Server, twin_id: str) -> None:
    """The caller closes it."""

    async def main() -> None:
        async with redis.asyncio.Redis(unix_socket_path=str(server.socket)) as client:
            async with AsyncStateManager(twin_id, client=client) as twin:
                assert twin.client is client
                await twin.set_state({"n": 0})
                await asyncio.gather(*(twin.adjust({"/n": 1}) for _ in range(5)))
                assert (await twin.get_current_state())["n"] == 5
                await client.delete(twin.keys.history)
                await client.set(twin.keys.history, "x")
                with pytest.raises(StoreError, match="WRONGTYPE"):
                    await twin.get_history()
            assert await client.ping()

    asyncio.run(main())


def test_fakeredis_will_do_for_unit_tests_of_callers() -> None:
    """Nothing to start."""

    async def main() -> None:
        async with fakeredis.FakeAsyncRedis() as fake, AsyncStateManager("fake", client=fake) as twin:
            await twin.set_state({"a": {"b": 1}})
            await twin.adjust({"/a/b": 2})
            assert (await twin.get_current_state())["a"] == {"b": 3}

    asyncio.run(main())


def test_closing_from_within_a_callback(url: str, twin_id: str) -> None:
    """Neither a thread nor a task waits for itself."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=url) as twin:
            over = asyncio.Event()

            async def callback(_: object) -> None:
                await handle.close()
                over.set()

            handle = await twin.on_change(callback)
            await twin.set_state({"n": 1})
            await over.wait()
            assert not handle.connected

    asyncio.run(main())
    with StateManager(twin_id, url=url) as twin:
        over = threading.Event()
        handle = twin.on_change(lambda _: (handle.close(), over.set()))
        twin.set_state({"n": 2})
        assert over.wait(60)
        assert not handle.connected


def test_a_mirror_that_nobody_awaited(url: str, twin_id: str) -> None:
    """Says so, rather than showing nothing; to wait for something is to await it. Two tasks may do so at once."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=url) as twin:
            await twin.set_state({"n": 1})
            mirror = twin.mirror()
            for read in (lambda: mirror.state, lambda: mirror.version, lambda: mirror.get("/n")):
                with pytest.raises(UsageError, match="await"):
                    read()
            found = await asyncio.gather(*(mirror.wait_for(lambda state: state["n"] == 1) for _ in range(5)))
            assert [state["n"] for state in found] == [1] * 5
            tasks = [task for task in asyncio.all_tasks() if task.get_name() == f"{twin_id} events"]
            assert len(tasks) == 1
            with pytest.raises(TimeoutError, match="the predicate's own"):
                await mirror.wait_for(predicate_that_fails, timeout=60)
            await mirror.close()

    asyncio.run(main())


def predicate_that_fails(_: object) -> bool:
    raise TimeoutError("the predicate's own")


async def follow_and_break(twin: AsyncStateManager) -> int:
    async for event in twin.subscribe(since=0):
        return event.version
    raise AssertionError("no event")


def test_a_subscription_that_is_left_gives_its_connection_back(
    url: str, twin_id: str, connections: Callable[[], int]
) -> None:
    """By a break, or when its time is up; without a warning."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=url) as twin:
            await twin.set_state({"n": 1})
            before = connections()
            assert await follow_and_break(twin) == 1
            async for _ in twin.subscribe(since=0, timeout=0.01):
                pass
            while connections() > before:
                await asyncio.sleep(0.01)

    asyncio.run(main())
