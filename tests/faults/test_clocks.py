"""Row: a clock steps back an hour; two servers' clocks differ across a failover."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from circman_redis import Commit, StateManager
from circman_redis.timestamps import parse_timestamp
from tests.faults.following import Follower
from tests.faults.test_sentinel import assert_follows
from tests.servers import lanes, wait_until
from tests.topology import Node, ReplicaSet
from tests.topology.clock import Clock

pytestmark = pytest.mark.xdist_group("sentinels")

HOUR = 3600
WINDOWS = 2 * 2048 + 10
"""Calls after which ids were forgotten that were made before."""


@contextmanager
def clocked(lane: str, clock: Clock) -> Iterator[Node]:
    node = Node(lanes()[lane], within=clock.within)
    try:
        yield node.start()
    finally:
        node.stop()


def assert_in_order(twin: StateManager, made: list[Commit]) -> None:
    """Each commit is after the one before it, and found by its time, whatever clock stamped it."""
    times = [parse_timestamp(commit.committed_at) for commit in made]
    assert times == sorted(set(times))
    assert [commit.version for commit in made] == list(range(made[0].version, made[-1].version + 1))
    listed = list(reversed(twin.get_commits(limit=len(made))))
    assert [entry.committed_at for entry in listed] == [commit.committed_at for commit in made]
    for commit, at in zip(made, times, strict=True):
        n = commit.version - made[0].version
        assert twin.get_state_at_time(at)["n"] == n
        assert twin.get_state_at_time(at + timedelta(microseconds=1))["n"] in (n, n + 1)
    assert twin.verify() == []


def test_a_clock_steps_back_an_hour(lane: str, twin_id: str) -> None:
    """And forth again, and back: under a subscriber, and with calls that are said again."""
    with Clock() as clock, clocked(lane, clock) as node, StateManager(twin_id, url=node.url) as twin:
        made = [twin.set_state({"n": 0})]
        with Follower("sync", node.url, twin_id) as follower:
            for ahead in (0, -HOUR, HOUR, 0, -HOUR):
                before = node_time(node)
                clock.set(ahead)
                wait_until(lambda before=before, ahead=ahead: ahead == 0 or abs(node_time(node) - before) > HOUR / 2)
                for _ in range(5):
                    made.append(twin.adjust({"/n": 1}, commit_id=f"c{len(made)}"))
                    assert twin.adjust({"/n": 1}, commit_id=made_id(made)).duplicate
            assert_in_order(twin, made)
            assert_follows(follower, twin)


def made_id(made: list[Commit]) -> str:
    return f"c{len(made) - 1}"


def node_time(node: Node) -> int:
    with node.client() as client:
        return int(client.time()[0])


def test_a_clock_that_is_behind_keeps_nobody_from_committing(lane: str, twin_id: str) -> None:
    """However many commits are made until it has come up to the time of the last one."""
    with Clock() as clock, clocked(lane, clock) as node, StateManager(twin_id, url=node.url) as twin:
        twin.set_state({"n": 0})
        clock.set(-HOUR)
        for _ in range(WINDOWS):
            twin.adjust({"/n": 1})
        assert twin.get_current_state()["n"] == WINDOWS


@pytest.mark.parametrize("ahead", [-HOUR, HOUR], ids=["behind", "ahead"])
def test_the_clocks_of_two_servers_differ_across_a_failover(lane: str, twin_id: str, ahead: int) -> None:
    """The next master's is an hour off."""
    with (
        Clock(ahead) as clock,
        Uneven(lane, clock) as servers,
        StateManager(twin_id, url=servers.url, durability="replicas:1") as twin,
    ):
        made = [twin.set_state({"n": 0})]
        made += [twin.adjust({"/n": 1}) for _ in range(5)]
        with Follower("async", servers.url, twin_id) as follower:
            first = servers.master()
            first.kill()
            second = servers.wait_for_failover(first)
            assert abs(node_time(second) - node_time_here()) > HOUR / 2
            made += [twin.adjust({"/n": 1}, durability="none") for _ in range(5)]
            assert_in_order(twin, made)
            assert_follows(follower, twin)


def node_time_here() -> int:
    return int(time.time())


class Uneven(ReplicaSet):
    """The replica has another clock, and is the next master."""

    def __init__(self, lane: str, clock: Clock) -> None:
        super().__init__(lanes()[lane], replicas=1)
        self._clock = clock

    def add(self, *options: str, sentinel: bool = False) -> Node:
        if sentinel or len(self.everything) != 1:
            return super().add(*options, sentinel=sentinel)
        node = Node(self.binary, (*self.options, *options), within=self._clock.within)
        self.everything.append(node)
        return node.start()
