"""Branches and roles on a cluster: the same tests, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from circman_redis import NotPermitted, StateManager, acl
from circman_redis.acl import Role
from circman_redis.twin.branches import Branch, fork
from circman_redis.twin.leases import Lease, holders
from tests.contract.test_cluster import Served, calls, keys_of
from tests.topology import Cluster
from tests.twin import test_branches as branches
from tests.twin import test_leases as leases

pytestmark = pytest.mark.xdist_group("clusters")


def cases_of(module: ModuleType) -> dict[str, object]:
    pure = {"test_without_a_clash_both_changes_are_there", "test_a_twin_that_nobody_changed_takes_it_all"}
    return {name: one for name, one in vars(module).items() if name.startswith("test_") and name not in pure}


globals().update(cases_of(branches) | cases_of(leases))


@pytest.fixture
def cluster(clusters: dict[str, Cluster], lane: str) -> Cluster:
    return clusters[lane]


@pytest.fixture
def server(cluster: Cluster) -> Served:
    """A cluster, empty."""
    for node in cluster.nodes[: cluster.masters]:
        with node.client() as client:
            client.flushall()
    return Served(cluster)


@pytest.fixture
def twin(request: pytest.FixtureRequest, server: Served, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        of_a_branch = request.function.__module__ == branches.__name__
        manager.set_state(branches.STATE if of_a_branch else {"n": 0})
        yield manager


@pytest.fixture
def branch(twin: StateManager) -> Iterator[Branch]:
    made = fork(twin, "what-if-1", actor="me")
    with made.manager:
        yield made


def test_all_keys_of_a_branch_are_where_the_twins_are(twin: StateManager, branch: Branch, cluster: Cluster) -> None:
    """On one node; so one script can make it, and events stay on the shard."""
    branch.manager.adjust({"/n": 1})
    owner = cluster.owner(twin.keys.state)
    names = (branch.manager.keys.state, branch.manager.keys.history, branch.manager.keys.origin, twin.keys.state)
    assert {*names} <= {*keys_of(owner)}
    assert [keys_of(node) for node in cluster.others(owner)] == [[], []]
    before = {name: calls(owner, name) for name in ("spublish", "publish")}
    branch.manager.adjust({"/n": 1})
    with fork(twin, "b").manager:
        assert {name: calls(owner, name) - before[name] for name in before} == {"spublish": 2, "publish": 0}


def test_a_branch_is_followed_and_mirrored(branch: Branch) -> None:
    with branch.manager.subscribe(timeout=30) as events, branch.manager.mirror() as mirror:
        branch.manager.adjust({"/n": 5})
        assert next(iter(events)).version == 2
        mirror.wait_for(version=2, timeout=30)
        assert mirror.get("/n") == 5


def as_user(cluster: Cluster, role: Role, twin: str) -> StateManager:
    user = f"{role}-{twin}"
    for node in cluster.nodes:
        with node.client() as admin:
            admin.execute_command(*acl.line(user, acl.rules(role, twin=twin, cluster=True)).split(), ">secret")
    return StateManager(twin, url=cluster.url.replace("://", f"://{user}:secret@"))


def test_a_writer_forks_merges_back_and_takes_a_role(twin: StateManager, cluster: Cluster) -> None:
    """With the rules that `circman-redis acl --cluster` prints; a reader does neither."""
    with as_user(cluster, "writer", twin.twin) as writer, Lease(writer, "line", "a"):
        branch = fork(writer, "b")
        with branch.manager as manager, manager.subscribe(timeout=30) as events:
            manager.adjust({"/n": 5})
            assert next(iter(events)).version == 2
            assert branch.merge_back() is not None
            manager.delete()
        assert holders(twin)[0].holder == "a"
        with as_user(cluster, "reader", twin.twin) as reader:
            with pytest.raises(NotPermitted):
                fork(reader, "c")
            with pytest.raises(NotPermitted):
                Lease(reader, "store", "b").take()
            with reader.branch("b") as seen:
                assert seen.snapshot().version == 0
    assert twin.get_current_state()["n"] == 5
