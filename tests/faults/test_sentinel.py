"""Replicas with Sentinels: a master that is killed, or cut off, under writers and subscribers; what is confirmed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from circman_redis import AsyncStateManager, AuditReport, Commit, StateManager, StateRolledBack, Unconfirmed
from circman_redis.events import HistoryGap, StateEvent
from tests.faults.following import Follower
from tests.faults.journaled import Writer, check, start
from tests.servers import lanes, wait_until
from tests.topology import Namespaces, Node, ReplicaSet
from tests.topology.replicas import role

pytestmark = pytest.mark.xdist_group("sentinels")

WRITERS: dict[str, dict[str, Any]] = {
    "one": {"mode": "sync", "work": "adjust"},
    "two": {"mode": "sync", "work": "mixed"},
    "three": {"mode": "async", "work": "adjust"},
    "four": {"mode": "async", "work": "mixed"},
}
LONG = 100_000
"""Commits of history: so that all of a run is there to be looked at."""

FOUND_AMONG = 1024
"""Commits that a subscriber goes back at most; further back it goes on from the newest state (docs/delivery.md)."""


def opened(servers: ReplicaSet, twin_id: str, **how: Any) -> StateManager:
    return StateManager(twin_id, url=servers.url, **how)


@contextmanager
def writing(
    servers: ReplicaSet, twin_id: str, folder: Path, actors: Iterable[str] = WRITERS, **how: Any
) -> Iterator[list[Writer]]:
    """Processes that commit: two of the four by async managers."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        yield [
            stack.enter_context(Writer(servers.url, twin_id, actor, folder, timeout=3, **WRITERS[actor], **how))
            for actor in actors
        ]


@contextmanager
def following(servers: ReplicaSet, twin_id: str) -> Iterator[tuple[Follower, Follower]]:
    with Follower("sync", servers.url, twin_id) as one, Follower("async", servers.url, twin_id) as other:
        yield one, other


def wait_for_all(writers: Sequence[Writer], more: int) -> None:
    for writer in writers:
        writer.wait_for(more)


def stop(writers: Sequence[Writer]) -> list[Path]:
    """Ends them; their journals."""
    for writer in writers:
        writer.stop()
    return [writer.journal for writer in writers]


def assert_follows(follower: Follower, twin: StateManager) -> None:
    """It comes to hold what stands in Redis, and has said on the way whatever was not simply the next commit."""
    wait_until(lambda: follower.events and follower.events[-1].position == twin.snapshot().position)
    assert follower.events[-1].state == twin.snapshot().state
    version, epoch = follower.events[0].version - 1, follower.events[0].epoch
    line: dict[int, Any] = {}
    for event in follower.events:
        assert not isinstance(event, HistoryGap)
        assert event.epoch == epoch
        assert isinstance(event, StateRolledBack) or event.version == version + 1
        version = event.version
        if isinstance(event, StateRolledBack):  # what was handed out before is over, but for what both lines have
            line = {}
        line[version] = event.committed_at
    made = {entry.version: entry.committed_at for entry in twin.get_commits()}
    assert line.items() <= made.items()


def rolled_back(follower: Follower) -> list[StateRolledBack]:
    return [event for event in list(follower.events) if isinstance(event, StateRolledBack)]


def stop_replicating(master: Node) -> None:
    """From now on it has commits that nobody else has."""
    with master.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")


def check_lossy(twin: StateManager, journals: Sequence[Path]) -> AuditReport:
    """What holds although acknowledged commits were lost: all that is there is whole, and there once."""
    assert twin.verify() == []
    report = twin.audit(journals)
    assert report.doubled == 0
    return report


# --- a master that is killed -----------------------------------------------------------------------------------------


def test_a_killed_master_loses_nothing_that_was_confirmed(lane: str, twin_id: str, tmp_path: Path) -> None:
    """Row: master killed, Sentinel fails over, 4 writers; each commit waits for a replica."""
    with (
        ReplicaSet(lanes()[lane]) as servers,
        opened(servers, twin_id, durability="replicas:1", history_length=LONG) as twin,
    ):
        start(twin, WRITERS)
        with following(servers, twin_id) as followers:
            with writing(servers, twin_id, tmp_path, durability="replicas:1") as writers:
                wait_for_all(writers, 10)
                servers.wait_for_failover(servers.kill_master())
                wait_for_all(writers, 10)
                journals = stop(writers)
            report = check(twin, journals)
            assert report.acknowledged >= 80
            for follower in followers:
                assert_follows(follower, twin)


def test_what_a_killed_master_had_alone_is_rolled_back_and_said(lane: str, twin_id: str, tmp_path: Path) -> None:
    """Row: the same, with commits that are acknowledged at once, and replicas that do not get the last of them."""
    with ReplicaSet(lanes()[lane]) as servers, opened(servers, twin_id, history_length=LONG) as twin:
        start(twin, WRITERS)
        with following(servers, twin_id) as followers:
            with writing(servers, twin_id, tmp_path) as writers:
                wait_for_all(writers, 10)
                kept = twin.adjust({"/n": 0}, commit_id="kept", durability="replicas:2")
                stop_replicating(servers.master())
                wait_for_all(writers, 10)
                lost = twin.adjust({"/n": 0}, commit_id="lost")
                wait_until(lambda: all(lost.version in follower.versions for follower in followers))
                servers.wait_for_failover(servers.kill_master())
                wait_for_all(writers, 10)
                journals = stop(writers)
            assert check_lossy(twin, journals).lost > 0
            for follower in followers:
                assert_follows(follower, twin)
                (back,) = rolled_back(follower)
                assert kept.version <= back.version
                assert lost.version <= back.previous_version
                assert back.version < lost.version or back.previous_version - kept.version > FOUND_AMONG
        assert twin.adjust({"/n": 0}, commit_id="kept") == Commit(*kept_facts(kept), duplicate=True)
        assert not twin.adjust({"/n": 0}, commit_id="lost").duplicate
        assert twin.adjust({"/n": 0}, commit_id="lost").duplicate


def kept_facts(commit: Commit) -> tuple[Any, ...]:
    return commit.version, commit.epoch, commit.timestamp, commit.committed_at


# --- a master that is cut off ----------------------------------------------------------------------------------------


def test_a_master_that_is_cut_off(lane: str, twin_id: str, tmp_path: Path) -> None:
    """Row: cut off by the network for 7 s while clients still reach it. One twin is safe, one is not."""
    safe, unsafe = f"{twin_id}-safe", f"{twin_id}-unsafe"
    with Namespaces() as network, ReplicaSet(lanes()[lane], network=network) as servers, ExitStack() as stack:
        first = servers.master()
        confirmed = stack.enter_context(opened(servers, safe, durability="replicas:1", history_length=LONG))
        hasty = stack.enter_context(opened(servers, unsafe))
        for twin in (confirmed, hasty):
            start(twin, WRITERS)
        followers = {
            confirmed: stack.enter_context(following(servers, safe)),
            hasty: stack.enter_context(following(servers, unsafe)),
        }
        writers = stack.enter_context(writing(servers, safe, tmp_path, durability="replicas:1"))
        wait_for_all(writers, 10)
        cut_off(network, first, servers)
        healed_at = time.monotonic() + 7
        lost = [hasty.adjust({"/n": 1}, commit_id=f"lost{n}") for n in range(20)][-1]  # they reach it, and it takes it
        wait_until(lambda: all(lost.version in follower.versions for follower in followers[hasty]))
        servers.wait_for_failover(first)
        assert role(first) == "master"
        asyncio.run(newcomer(servers, unsafe))
        time.sleep(max(0.0, healed_at - time.monotonic()))
        network.heal()
        wait_until(lambda: role(first) == "slave")
        wait_for_all(writers, 10)
        check(confirmed, stop(writers))
        assert [entry.id for entry in hasty.get_commits()] == ["kept", "start"]
        assert hasty.verify() == []
        assert not hasty.adjust({"/n": 1}, commit_id="lost0").duplicate
        assert hasty.adjust({"/n": 1}, commit_id="lost0").duplicate
        for twin, each in followers.items():
            for follower in each:
                assert_follows(follower, twin)
        for follower in followers[hasty]:
            (back,) = rolled_back(follower)
            assert (back.version, back.previous_version) == (1, lost.version)


async def newcomer(servers: ReplicaSet, twin_id: str) -> None:
    """Asks the Sentinels anew: this process's other managers have their connections."""
    async with AsyncStateManager(twin_id, url=servers.url) as twin:
        assert not (await twin.adjust({"/n": 0}, commit_id="kept")).duplicate


def cut_off(network: Namespaces, master: Node, servers: ReplicaSet) -> None:
    """From all others at once: while one replica is cut off and another is not, the one would confirm, and the other
    be elected."""
    with master.stopped():
        network.cut(master, *(node for node in servers.everything if node is not master))


# --- what is confirmed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_commit_said_again_is_confirmed_by_replicas_that_have_it(lane: str, twin_id: str, mode: str) -> None:
    """Over a new connection, too, where WAIT has no write to wait for but the answer itself."""
    with ReplicaSet(lanes()[lane], sentinels=1, down_after=60_000) as servers:
        with opened(servers, twin_id) as twin:
            twin.set_state({"n": 0}, durability="replicas:2")
        again = said_in(mode, servers, twin_id)
        with ExitStack() as paused:
            for replica in servers.replicas():
                paused.enter_context(replica.stopped())
            with pytest.raises(Unconfirmed) as first:
                again("c")
            assert not first.value.commit.duplicate
            with pytest.raises(Unconfirmed, match="was committed") as second:
                again("c")
            assert second.value.commit.duplicate
            assert second.value.commit.version == first.value.commit.version
        made = again("c", timeout=30.0)
        assert made.duplicate
        for replica in servers.replicas():
            with replica.client() as client:
                assert json.loads(client.get(f"circman:{{{twin_id}}}:state"))["n"] == 1


def said_in(mode: str, servers: ReplicaSet, twin_id: str) -> Callable[..., Commit]:
    """Adjusts by 1 with a commit id, over a manager of its own, and waits for a replica."""

    def say(commit_id: str, timeout: float = 1.0) -> Commit:
        with opened(servers, twin_id, timeout=timeout, durability="replicas:1") as twin:
            return twin.adjust({"/n": 1}, commit_id=commit_id)

    def say_async(commit_id: str, timeout: float = 1.0) -> Commit:
        async def main() -> Commit:
            how: dict[str, Any] = {"timeout": timeout, "durability": "replicas:1"}
            async with AsyncStateManager(twin_id, url=servers.url, **how) as twin:
                return await twin.adjust({"/n": 1}, commit_id=commit_id)

        return asyncio.run(main())

    return say if mode == "sync" else say_async


def test_a_commit_said_again_to_a_server_that_takes_no_writes_is_not_confirmed(lane: str, twin_id: str) -> None:
    """Nothing can be written that a WAIT would wait for; without one the answer is as ever."""
    with ReplicaSet(lanes()[lane], sentinels=1, down_after=60_000) as servers, opened(servers, twin_id) as twin:
        twin.set_state({"n": 0})
        made = twin.adjust({"/n": 1}, commit_id="c")
        with servers.master().client() as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(Unconfirmed, match="takes no writes"):
                twin.adjust({"/n": 1}, commit_id="c", durability="replicas:1")
            assert twin.adjust({"/n": 1}, commit_id="c").version == made.version
            client.config_set("maxmemory", 0)
        assert twin.adjust({"/n": 1}, commit_id="c", durability="replicas:1").duplicate


# --- reading from replicas -------------------------------------------------------------------------------------------


def test_reads_go_to_replicas_and_on_when_one_dies(lane: str, twin_id: str) -> None:
    """Commits go to the master all the same."""
    with (
        ReplicaSet(lanes()[lane], sentinels=1) as servers,
        opened(servers, twin_id, read_from="replica", durability="replicas:2") as twin,
    ):
        made = twin.set_state({"n": 0})
        before = scripts_run(servers.master())
        for _ in range(10):
            snapshot = twin.snapshot()
            assert (snapshot.read_from, snapshot.version) == ("replica", made.version)
            assert twin.get_current_state()["n"] == 0
        assert scripts_run(servers.master()) == before
        assert sum(map(scripts_run, servers.replicas())) > 0
        killed = next(node for node in servers.replicas() if scripts_run(node))  # one that is in use
        killed.kill()
        for n in range(1, 11):
            made = twin.adjust({"/n": 1}, durability="replicas:1")
            assert twin.snapshot().read_from == "replica"
            wait_until(lambda version=made.version: twin.snapshot().version == version)
            assert twin.get_current_state()["n"] == n


def scripts_run(node: Node) -> int:
    """How many of the scripts that only read it has run."""
    with node.client() as client:
        return int(client.info("commandstats").get("cmdstat_evalsha_ro", {"calls": 0})["calls"])


def test_events_are_in_order_whatever_reads_from_replicas(lane: str, twin_id: str) -> None:
    """A subscription goes by the master, also of a manager that reads from replicas, which may be behind."""
    with (
        ReplicaSet(lanes()[lane], sentinels=1, down_after=60_000) as servers,
        opened(servers, twin_id, read_from="replica") as twin,
    ):
        twin.set_state({"n": 0}, durability="replicas:2")
        with ExitStack() as paused:
            for replica in servers.replicas():
                paused.enter_context(replica.stopped())
            with twin.subscribe(since=0, timeout=30) as events:
                twin.adjust({"/n": 1})
                got = [next(events), next(events)]
            assert [event.version for event in got if isinstance(event, StateEvent)] == [1, 2]
