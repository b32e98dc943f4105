"""Branches and roles behind Sentinels, of which a master is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from circman_redis import LeaseLost, StateManager
from circman_redis.twin.branches import fork
from circman_redis.twin.leases import Lease, holders
from tests.faults.test_sentinel import stop_replicating
from tests.servers import lanes, wait_until
from tests.topology import ReplicaSet

pytestmark = pytest.mark.xdist_group("sentinels")


@pytest.fixture
def servers(lane: str) -> Iterator[ReplicaSet]:
    with ReplicaSet(lanes()[lane]) as one:
        yield one


@pytest.fixture
def twin(servers: ReplicaSet, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=servers.url, durability="replicas:1") as manager:
        manager.set_state({"n": 0, "m": 0}, durability="replicas:2")
        yield manager


def test_a_branch_is_merged_back_behind_a_failover(servers: ReplicaSet, twin: StateManager) -> None:
    """With its origin and its history; who follows it goes on, and the roles on the twin are who had them."""
    branch = fork(twin, "b")
    with (
        branch.manager as manager,
        manager.subscribe(timeout=60) as events,
        manager.mirror() as mirror,
        Lease(twin, "line", "a", ttl=60) as lease,
    ):
        manager.adjust({"/n": 1})
        twin.adjust({"/m": 1})
        servers.wait_for_failover(servers.kill_master())
        manager.adjust({"/n": 1})
        assert [next(iter(events)).version for _ in range(2)] == [2, 3]
        mirror.wait_for(version=3, timeout=60)
        assert [change.pointer for change in branch.diff_to_origin()] == ["/n"]
        assert branch.merge_back() is not None
        lease.keep()
        assert not Lease(twin, "line", "b").take()
    state = twin.get_current_state()
    assert (state["n"], state["m"]) == (2, 1)
    assert twin.verify() == []


def test_a_role_that_a_failover_forgot(servers: ReplicaSet, twin: StateManager) -> None:
    """Its holder is refused, until it takes the role anew."""
    stop_replicating(servers.master())
    with Lease(twin, "line", "a", ttl=60) as lease:
        servers.wait_for_failover(servers.kill_master())
        wait_until(lambda: holders(twin) == [])
        with pytest.raises(LeaseLost):
            twin.adjust({"/n": 1}, durability="none")
        with pytest.raises(LeaseLost):
            lease.keep()
    with Lease(twin, "line", "a", ttl=60):
        twin.adjust({"/n": 1}, durability="none")
    assert twin.get_current_state()["n"] == 1
