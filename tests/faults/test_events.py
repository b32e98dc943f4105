"""A stream without holes, out of pub/sub that has holes: on both servers, for threads and for tasks."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from circman_redis import AsyncStateManager, StateManager, patch
from circman_redis.events import HistoryGap, StateEvent, StateRolledBack
from tests.faults.following import Cutter, Follower, Writers
from tests.servers import Server, lanes, wait_until

MODES = ["sync", "async"]
SOURCES = ["channel", "keyspace"]


@pytest.fixture
def harsh_server(lane: str) -> Iterator[Server]:
    """Loses nothing when it is killed, has keyspace notifications, and cuts off subscribers that are slow."""
    options = ("--appendonly", "yes", "--appendfsync", "always", "--notify-keyspace-events", "K$lhg")
    limit = ("--client-output-buffer-limit", "pubsub", "16kb", "0", "0")
    one = Server(lanes()[lane], options + limit)
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("mode", MODES)
def test_ten_thousand_commits_through_cuts(
    harsh_server: Server, twin_id: str, tmp_path: Path, mode: str, source: str
) -> None:
    """Killed connections, an overflowing buffer, a server killed with -9: 1 to 10,000 came, in order, each once."""
    with (
        StateManager(twin_id, url=harsh_server.url, history_length=20_000) as twin,
        Follower(mode, harsh_server.url, twin_id, source=source) as follower,
        Writers(harsh_server, twin_id, tmp_path, commits=10, size=2000) as writers,
    ):
        channel = twin.keys.events if source == "channel" else f"__keyspace@0__:{twin.keys.state}"
        cutter = Cutter(harsh_server, follower, channel, writers)
        for _ in range(25):
            cutter.round()
        follower.wait_for(10_000)
    assert follower.versions == list(range(1, 10_001))
    assert len(follower.events) == 10_000
    for before, after in pairwise(follower.events):
        assert isinstance(before, StateEvent)
        assert isinstance(after, StateEvent)
        assert after.previous is before.state
        assert patch.same(after.state, patch.merge(before.state, after.patch))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("mode", MODES)
def test_a_history_shorter_than_the_outage(server: Server, twin_id: str, mode: str, source: str) -> None:
    """One gap that names exactly the lost versions, and the oldest state to go on from; then all that are left."""
    with (
        StateManager(twin_id, url=server.url, history_length=50) as twin,
        server.client() as client,
        Follower(mode, server.url, twin_id, source=source) as follower,
    ):
        twin.update_many([{"n": n} for n in range(1, 11)])
        follower.wait_for(10)
        follower.stop_reading()
        twin.update_state({"n": 11})
        follower.wait_for(11)  # and now it is busy with that
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        twin.update_many([{"n": n} for n in range(12, 301)])
        follower.go_on()
        follower.wait_for(11 + 1 + 51)
        kinds = [event.kind for event in follower.events]
        assert kinds == ["commit"] * 11 + ["gap"] + ["commit"] * 51
        gap = next(event for event in follower.events if isinstance(event, HistoryGap))
        received = set(follower.versions)
        assert received.isdisjoint(gap.lost)
        assert received | set(gap.lost) == set(range(1, 301))
        assert gap.lost[-1] == 249
        assert (gap.version, gap.snapshot.version, gap.snapshot.state["n"]) == (250, 250, 250)


SUBSCRIBERS, COMMITS = 200, 60


def follow_in_threads(url: str, twin_id: str, standing: threading.Semaphore, got: list[list[int]]) -> None:
    def follow(number: int) -> None:
        with StateManager(twin_id, url=url) as twin, twin.subscribe() as subscription:
            standing.release()
            got[number] = [event.version for event in itertools.islice(subscription, COMMITS)]

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(SUBSCRIBERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)


def follow_in_tasks(url: str, twin_id: str, standing: threading.Semaphore, got: list[list[int]]) -> None:
    async def follow(twin: AsyncStateManager, number: int) -> None:
        async with twin.subscribe() as subscription:
            standing.release()
            while len(got[number]) < COMMITS:
                got[number].append((await anext(subscription)).version)

    async def follow_all() -> None:
        async with AsyncStateManager(twin_id, url=url) as twin:
            await asyncio.gather(*(follow(twin, number) for number in range(SUBSCRIBERS)))

    asyncio.run(follow_all())


@pytest.mark.parametrize("follow", [follow_in_threads, follow_in_tasks])
def test_two_hundred_subscribers(server: Server, twin_id: str, follow: Any) -> None:
    """Each gets every commit, in order, also when all of their connections are cut at once."""
    got: list[list[int]] = [[] for _ in range(SUBSCRIBERS)]
    standing = threading.Semaphore(0)
    thread = threading.Thread(target=follow, args=(server.url, twin_id, standing, got))
    with StateManager(twin_id, url=server.url) as twin, server.client() as client:
        thread.start()
        for _ in range(SUBSCRIBERS):
            assert standing.acquire(timeout=100)
        for n in range(COMMITS):
            twin.update_state({"n": n})
            if n == COMMITS // 2:
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        thread.join(150)
    assert got == [list(range(1, COMMITS + 1))] * SUBSCRIBERS


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("mode", MODES)
def test_a_twin_deleted_and_made_again(server: Server, twin_id: str, mode: str, source: str) -> None:
    """While it is followed, and while the follower is away: each time a rollback to nothing, then what came after."""
    with (
        StateManager(twin_id, url=server.url) as twin,
        server.client() as client,
        Follower(mode, server.url, twin_id, source=source) as follower,
    ):
        first = twin.set_state({"n": 1})
        follower.wait_for(1)
        twin.delete()
        follower.wait_for(2)
        twin.set_state({"n": 2})
        twin.update_state({"n": 3})
        follower.wait_for(4)
        follower.stop_reading()
        twin.update_state({"n": 4})
        follower.wait_for(5)
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        twin.delete()
        twin.set_state({"n": 5})
        twin.update_state({"n": 6})
        follower.go_on()
        follower.wait_for(8)
    assert [(event.kind, event.version) for event in follower.events] == [
        ("commit", 1),
        ("rollback", 0),
        ("commit", 1),
        ("commit", 2),
        ("commit", 3),
        ("rollback", 0),
        ("commit", 1),
        ("commit", 2),
    ]
    rollback = follower.events[1]
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_epoch, rollback.previous_version) == (first.epoch, 1)
    assert (rollback.epoch, rollback.snapshot.state) == ("", {})
    epochs = [event.epoch for event in follower.events if event.kind == "commit"]
    assert len(set(epochs)) == 3
    assert epochs == sorted(epochs, key=epochs.index)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", SOURCES)
def test_an_older_copy_of_the_twin(server: Server, twin_id: str, mode: str, source: str) -> None:
    """As a failover to a replica that had not everything leaves it: the same epoch, other commits.

    The rollback names the last commit that both have; the commits of the new line follow.
    """
    with (
        StateManager(twin_id, url=server.url) as twin,
        server.client() as client,
        Follower(mode, server.url, twin_id, source=source) as follower,
    ):
        twin.update_many([{"n": n} for n in range(1, 8)])
        copy = {key: client.dump(key) for key in client.scan_iter()}
        twin.update_many([{"n": n} for n in range(8, 13)])
        follower.wait_for(12)
        follower.stop_reading()
        twin.update_state({"n": 13})
        follower.wait_for(13)
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        with client.pipeline() as pipe:
            pipe.flushdb()
            for key, value in copy.items():
                pipe.restore(key, 0, value)
            pipe.execute()
        twin.update_many([{"other": n} for n in range(8, 21)])
        follower.go_on()
        follower.wait_for(13 + 1 + 13)
        assert [event.version for event in follower.events] == [*range(1, 14), 7, *range(8, 21)]
        rollback = follower.events[13]
        assert isinstance(rollback, StateRolledBack)
        assert (rollback.previous_version, rollback.version, rollback.snapshot.state["n"]) == (13, 7, 7)
        assert rollback.epoch == rollback.previous_epoch == follower.events[0].epoch
        assert follower.events[-1].state == twin.get_current_state()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_committed_while_it_begins_is_neither_lost_nor_doubled(
    server: Server, twin_id: str, tmp_path: Path, mode: str
) -> None:
    """`since` goes over to live without a seam: many subscriptions begin in the middle of the load."""
    with (
        StateManager(twin_id, url=server.url, history_length=20_000) as twin,
        Writers(server, twin_id, tmp_path, commits=5, size=10) as writers,
    ):
        twin.set_state({})
        writers.begin(60)
        with ExitStack() as stack:
            followers = [
                stack.enter_context(Follower(mode, server.url, twin_id, since=since))
                for since in [1, 1, 1, None, None, None]
            ]
            writers.finish()
            last = twin.snapshot().version
            for follower in followers:
                wait_until(lambda follower=follower: follower.versions[-1:] == [last])
    for follower in followers[:3]:
        assert follower.versions == list(range(2, last + 1))
    for follower in followers[3:]:
        assert follower.versions == list(range(follower.versions[0], last + 1))
