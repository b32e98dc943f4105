"""Roles where there is more than one server: every node of a cluster, or of a set with Sentinels, knows the users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from circman_redis import NotPermitted, StateManager, acl
from circman_redis.acl import ROLES, Role
from tests.contract.conftest import Managers
from tests.servers import lanes
from tests.topology import Cluster, Node, ReplicaSet

SENTINEL = "resetkeys resetchannels -@all +ping +sentinel|masters +sentinel|replicas +sentinel|slaves"

pytestmark = pytest.mark.xdist_group("topology")


def add_users(nodes: Iterable[Node], *, cluster: bool) -> None:
    for node in nodes:
        with node.client() as admin:
            for role in ROLES:
                line = acl.line(f"the-{role}", acl.rules(role, cluster=cluster))
                admin.execute_command(*line.split(), ">secret")


@pytest.fixture
def cluster(lane: str) -> Iterator[Cluster]:
    with Cluster(lanes()[lane], 3, 1) as one:
        one.wait_until_well()
        add_users(one.nodes, cluster=True)
        yield one


@pytest.fixture
def replica_set(lane: str) -> Iterator[ReplicaSet]:
    with ReplicaSet(lanes()[lane], 1, 3) as one:
        add_users(one.nodes, cluster=False)
        for sentinel in one.sentinels:
            with sentinel.client() as admin:
                admin.execute_command("ACL", "SETUSER", "looker", "on", ">secret", *SENTINEL.split())
        yield one


def check_roles(manager: Managers, urls: dict[Role, str], twin: str) -> None:
    """An admin makes the twin, a writer commits and follows, a reader reads and follows, also from a replica."""
    with manager(twin, url=urls["admin"]) as admin:
        admin.update_state({"n": 0})
        with manager(twin, url=urls["writer"]) as writer, manager(twin, url=urls["reader"]) as reader:
            with reader.subscribe(timeout=30) as events, writer.subscribe(timeout=30) as own:
                assert writer.update_state({"n": 1}).version == 2
                assert next(iter(events)).version == next(iter(own)).version == 2
            assert [entry.version for entry in reader.get_commits()] == [2, 1]
            assert reader.verify() == []
            for act in (lambda: reader.update_state({"n": 2}), reader.delete, writer.delete):
                with pytest.raises(NotPermitted):
                    act()
            assert writer.clear_history() == 1
        with manager(twin, url=urls["reader"], read_from="replica") as reader:
            assert reader.snapshot().version in {0, 1, 2}  # it may lag
        admin.set_history_length(5)
        assert admin.snapshot().state["n"] == 1


def test_in_a_cluster(manager: Managers, cluster: Cluster) -> None:
    urls = {role: cluster.url.replace("://", f"://the-{role}:secret@") for role in ROLES}
    for twin in ("a", "b", "c"):
        check_roles(manager, urls, twin)


def test_with_sentinels(manager: Managers, replica_set: ReplicaSet) -> None:
    there = "?sentinel_username=looker&sentinel_password=secret"
    urls = {role: replica_set.url.replace("://", f"://the-{role}:secret@") + there for role in ROLES}
    check_roles(manager, urls, "t")


def test_what_a_cluster_asks_for_is_not_given_elsewhere() -> None:
    for role in ROLES:
        alone, more = acl.rules(role), acl.rules(role, cluster=True)
        assert set(alone) < set(more)
        assert not [one for one in alone if "cluster" in one or "spublish" in one]


def test_two_urls_of_two_users_are_two_managers(lane: str, cluster: Cluster) -> None:
    urls = [cluster.url.replace("://", f"://the-{role}:secret@") for role in ("reader", "writer")]
    with StateManager("t", url=urls[0]) as reader, StateManager("t", url=urls[1]) as writer:
        assert reader is not writer
