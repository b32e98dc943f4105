"""Faults of a cluster under load: a master killed, slots that move, scripts that are forgotten; on real nodes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest
from redis.crc import key_slot

from circman_redis import AuditReport, StateManager, local_cluster
from tests.contract.waiting import WaitingManagers
from tests.faults.following import Follower
from tests.faults.journaled import Writer, check, start
from tests.servers import lanes, wait_until
from tests.topology import Cluster, Node

pytestmark = pytest.mark.xdist_group("clusters")

ACTORS = {"w0": "sync", "w1": "sync", "w2": "async", "w3": "async"}


@pytest.fixture
def cluster(lane: str) -> Iterator[Cluster]:
    with Cluster(lanes()[lane], options=("--notify-keyspace-events", "K$lhg")) as one:
        yield one


@pytest.fixture
def twin(cluster: Cluster, twin_id: str) -> Iterator[StateManager]:
    """A twin whose history keeps the whole run."""
    with StateManager(twin_id, url=cluster.url, history_length=100_000, timeout=30) as one:
        start(one, ACTORS)
        yield one


class Load:
    """Four processes that commit, and subscribers that take note of every event.

    Args:
        cluster: where.
        twin: what they write to.
        folder: for the logs.
        sources: what the subscribers listen to; by turns one is for threads, and one for tasks.
        kwargs: more arguments for the writers' managers.
    """

    def __init__(
        self,
        cluster: Cluster,
        twin: StateManager,
        folder: Path,
        sources: tuple[str, ...] = ("channel", "channel"),
        **kwargs: object,
    ) -> None:
        self.cluster, self.twin = cluster, twin
        self.stack = ExitStack()
        self.followers = [
            Follower(("sync", "async")[number % 2], cluster.url, twin.twin, since=1, source=source)
            for number, source in enumerate(sources)
        ]
        self._folder, self._kwargs = folder, kwargs
        self.writers: list[Writer] = []

    def __enter__(self) -> Self:
        for follower in self.followers:
            self.stack.enter_context(follower)
        for actor, mode in ACTORS.items():
            writer = Writer(self.cluster.url, self.twin.twin, actor, self._folder, mode=mode, **self._kwargs)
            self.writers.append(self.stack.enter_context(writer))
        self.go_on(10)
        return self

    def __exit__(self, *details: object) -> None:
        self.stack.__exit__(*details)

    def go_on(self, more: int = 30) -> None:
        """Until each writer was told so many times more that it committed."""
        for writer in self.writers:
            writer.wait_for(more)

    @property
    def slot(self) -> int:
        return key_slot(self.twin.keys.state.encode())

    @property
    def owner(self) -> Node:
        return self.cluster.owner(self.slot)

    def stop(self) -> AuditReport:
        """Ends the writers, proves the run, and waits until the subscribers have come to the end of it."""
        for writer in self.writers:
            writer.stop()
        report = check(self.twin, [writer.journal for writer in self.writers])
        assert report.first == 1
        assert report.lost == report.doubled == report.beyond == 0
        for follower in self.followers:
            wait_until(lambda one=follower: one.versions[-1:] == [report.last])
        return report

    def assert_each_once(self, last: int) -> None:
        """Every subscriber got every version, in order, and nothing else."""
        for follower in self.followers:
            assert [event.kind for event in follower.events if event.kind != "commit"] == []
            assert follower.versions == list(range(2, last + 1))

    def assert_in_order(self, last: int) -> list[int]:
        """As that, but commits may have been taken back, which was said; how many each was told of."""
        for follower in self.followers:
            at = 1
            for event in follower.events:
                assert event.kind in {"commit", "rollback"}
                assert event.version == at + 1 if event.kind == "commit" else event.version < at
                at = event.version
            assert at == last
        return [sum(event.kind == "rollback" for event in one.events) for one in self.followers]


@contextmanager
def in_the_background(do: Callable[[], object]) -> Iterator[None]:
    """Does something over and over, until the end of it."""
    over, failed = threading.Event(), []

    def run() -> None:
        try:
            while not over.is_set():
                do()
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def errors(cluster: Cluster) -> Counter[str]:
    """How often the nodes that live answered with which error."""
    found: Counter[str] = Counter()
    for node in cluster.nodes:
        if node.alive:
            with node.client() as client:
                stats = client.info("errorstats").items()
            found.update({name.removeprefix("errorstat_"): int(one["count"]) for name, one in stats})
    return found


# --- a master killed ---------------------------------------------------------------------------------------


def test_a_master_killed_loses_nothing_that_a_replica_confirmed(
    cluster: Cluster, twin: StateManager, tmp_path: Path
) -> None:
    """Writers and subscribers go on by themselves; what a subscriber saw of commits that nobody confirmed is undone."""
    with Load(cluster, twin, tmp_path, durability="replicas:1", timeout=5) as load:
        old = load.owner
        cluster.kill(old)
        cluster.wait_for_failover(load.slot, old)
        cluster.restart(old)  # or there would be nobody to confirm the next ones
        load.go_on()
        report = load.stop()
        assert report.found == report.acknowledged
        load.assert_in_order(report.last)


def test_a_master_killed_that_no_replica_followed_sets_back_its_subscribers(
    cluster: Cluster, twin: StateManager, tmp_path: Path
) -> None:
    """Without durability, commits that were acknowledged are gone: whoever saw them is told, and all go on."""
    with Load(cluster, twin, tmp_path, timeout=20) as load:
        old = load.owner
        leave_behind(cluster, old)
        load.go_on()
        seen = twin.snapshot().version
        for follower in load.followers:
            wait_until(lambda one=follower: one.versions[-1] >= seen)
        cluster.kill(old)
        cluster.wait_for_failover(load.slot, old)
        load.go_on()
        for writer in load.writers:
            writer.stop()
        report = twin.audit([writer.journal for writer in load.writers])
        assert report.lost > 0
        assert report.doubled == 0
        assert twin.verify() == []
        for follower in load.followers:
            wait_until(lambda one=follower: one.events[-1].version == report.last)
        assert load.assert_in_order(report.last) == [1, 1]


def leave_behind(cluster: Cluster, master: Node) -> None:
    """From now on its replica hears nothing of it."""
    (replica,) = cluster.replicas(master)
    with replica.client() as behind, master.client() as ahead:
        behind.config_set("masteruser", "nobody")
        behind.config_set("masterauth", "wrong")
        ahead.client_kill_filter(_type="replica")
        wait_until(lambda: behind.info("replication")["master_link_status"] == "down")


# --- slots that move ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["key by key", "at once"])
def test_a_slot_that_moves_to_and_fro_loses_and_doubles_nothing(
    cluster: Cluster, twin: StateManager, tmp_path: Path, how: str
) -> None:
    """Commits wait while its keys are on two nodes; subscribers follow it."""
    if how == "at once" and not cluster.moves_atomically():
        pytest.skip("only Valkey 9 moves slots at once")
    with Load(cluster, twin, tmp_path, work="mixed", timeout=20) as load:
        first = load.owner
        second, third = cluster.others(first)
        for to in (second, first, third):
            if how == "at once":
                cluster.move_slot_atomically(load.slot, to)
            else:
                cluster.move_slot(load.slot, to, lambda _: time.sleep(0.05))
            load.go_on(10)
        report = load.stop()
        load.assert_each_once(report.last)
        met = errors(cluster)
        assert met["MOVED"]
        assert how == "at once" or met["TRYAGAIN"] or met["ASK"]


def test_a_subscriber_to_the_keyspace_follows_a_slot_that_moved(
    cluster: Cluster, twin: StateManager, tmp_path: Path
) -> None:
    """Nobody tells it: it looks, finds commits that it did not hear of, and connects anew."""
    with Load(cluster, twin, tmp_path, ("keyspace", "keyspace"), timeout=20) as load:
        to = cluster.others(load.owner)[0]
        cluster.move_slot(load.slot, to)
        channel = f"__keyspace@0__:{twin.keys.state}"
        with to.client() as client:
            wait_until(lambda: client.pubsub_numsub(channel)[0][1] == len(load.followers))
        report = load.stop()
        load.assert_each_once(report.last)


# --- scripts that are forgotten ----------------------------------------------------------------------------


def test_scripts_that_every_node_forgets_again_and_again_are_not_missed(
    cluster: Cluster, twin: StateManager, tmp_path: Path
) -> None:
    """Also while the slot is on its way."""

    def forget() -> None:
        for node in cluster.nodes:
            with node.client() as client:
                client.script_flush()
        time.sleep(0.02)

    with Load(cluster, twin, tmp_path, work="mixed", timeout=20) as load, in_the_background(forget):
        first = load.owner
        for to in (cluster.others(first)[0], first):
            cluster.move_slot(load.slot, to, lambda _: time.sleep(0.02))
            load.go_on(10)
        report = load.stop()
        load.assert_each_once(report.last)
        assert errors(cluster)["NOSCRIPT"] > 20


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_node_that_a_slot_comes_to_need_not_know_the_script(cluster: Cluster, twin: StateManager, mode: str) -> None:
    """SCRIPT LOAD goes to the node that has the slot, while the keys are on the other one already: EVAL it is there."""
    managers = WaitingManagers() if mode == "async" else None
    make = managers or StateManager
    twin.update_state({"n": 1})  # now there is a history: where a key is missing, a node says TRYAGAIN
    slot = key_slot(twin.keys.state.encode())
    source = cluster.owner(slot)
    to = cluster.others(source)[0]
    left, found = len(keys_of(source, slot)), []

    def look_when_all_are_there(_: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            found.append(other.snapshot())

    # Another manager than the twin's: the text of this URL is another one.
    with make(twin.twin, url=f"redis+cluster://{to.address}") as other:
        before = other.snapshot()
        with to.client() as client:
            client.script_flush()
        cluster.move_slot(slot, to, look_when_all_are_there)
        assert found == [before]
        with to.client() as client:
            stats = client.info("commandstats")
        assert stats["cmdstat_eval_ro"]["calls"] == 1
    if managers:
        managers.close()


def keys_of(node: Node, slot: int) -> list[bytes]:
    with node.client() as client:
        return list(local_cluster.ask(client, "GETKEYSINSLOT", slot, 100))
