"""The same contract on a cluster, and what is its own: one slot per twin, sharded events, replicas that are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import redis
from redis.crc import key_slot

from circman_redis import StateManager, UsageError
from tests.contract import test_following as following
from tests.contract import test_reading as reading
from tests.contract import test_writing as writing
from tests.contract.conftest import Managers
from tests.servers import lanes, wait_until
from tests.topology import Cluster, Node

pytestmark = pytest.mark.xdist_group("clusters")

OF_ONE_SERVER = {
    # Who changes a user, a setting or a connection does so on one node.
    "test_rights_that_are_missing_are_said",
    "test_keyspace_notifications_that_are_off_are_said",
    "test_closing_ends_the_iteration",
    # A server of their own, which they stop.
    "test_a_dead_connection_behind_a_quiet_twin_is_noticed",
    "test_a_mirror_that_cannot_be_current_says_so",
    "test_a_mirror_notices_a_server_that_says_nothing",
}


def cases_of(module: ModuleType) -> dict[str, object]:
    return {name: one for name, one in vars(module).items() if name.startswith("test_") and name not in OF_ONE_SERVER}


globals().update(cases_of(writing) | cases_of(reading) | cases_of(following))


@pytest.mark.parametrize("how", ["url", "client"])
def test_one_node_is_not_the_cluster(manager: Managers, cluster: Cluster, twin_id: str, how: str) -> None:
    """Whoever names one node would reach a third of the twins, and hear no events: it is said at once."""
    node = cluster.nodes[0]
    with (
        redis.Redis(unix_socket_path=str(node.socket)) as client,
        pytest.raises(UsageError, match=r"redis\+cluster://"),
    ):
        manager(twin_id, **({"url": f"redis://{node.address}"} if how == "url" else {"client": client}))


@dataclass
class Served:
    """A cluster in the place of a server."""

    cluster: Cluster

    @property
    def url(self) -> str:
        return self.cluster.url

    def client(self, **kwargs: object) -> redis.RedisCluster:
        node = self.cluster.nodes[0]
        return redis.RedisCluster(node.host, node.port, **kwargs)


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


# --- what is its own ---------------------------------------------------------------------------------------


def calls(node: Node, command: str) -> int:
    """How often a node was sent a command."""
    with node.client() as client:
        return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def keys_of(node: Node) -> list[str]:
    with node.client(decode_responses=True) as client:
        return client.keys()


def test_all_keys_of_a_twin_are_on_one_node(twin: StateManager, cluster: Cluster) -> None:
    twin.update_state({"a": 1})
    twin.adjust({"/a": 1})
    owner = cluster.owner(twin.keys.state)
    there = keys_of(owner)
    assert {twin.keys.state, twin.keys.history, twin.keys.meta, twin.keys.ids, twin.keys.times} <= {*there}
    assert {key_slot(key.encode()) for key in there} == {key_slot(twin.keys.state.encode())}
    assert [keys_of(node) for node in cluster.others(owner)] == [[], []]


def test_many_updates_are_one_call_and_events_stay_on_the_shard(twin: StateManager, cluster: Cluster) -> None:
    twin.update_state({"a": 0})
    owner = cluster.owner(twin.keys.state)
    before = {name: calls(owner, name) for name in ("evalsha", "spublish", "publish")}
    twin.update_many([{"a": n} for n in range(10)])
    after = {name: calls(owner, name) - before[name] for name in before}
    assert after == {"evalsha": 1, "spublish": 10, "publish": 0}
    with owner.client() as client:
        assert client.hget(twin.keys.meta, "sharded") == b"1"


def test_a_twin_that_came_from_a_single_server_is_heard_soon(twin: StateManager, cluster: Cluster) -> None:
    """Its meta says that events go out by PUBLISH; a commit in 64 looks whether that is so."""
    twin.update_state({"a": 0})
    with cluster.owner(twin.keys.state).client() as client, twin.subscribe(timeout=30) as events:
        client.hdel(twin.keys.meta, "sharded")
        twin.update_many([{"a": n} for n in range(64)])
        assert client.hget(twin.keys.meta, "sharded") == b"1"
        twin.update_state({"a": 64})
        assert [next(iter(events)).version for _ in range(65)] == list(range(2, 67))


def test_a_client_of_the_callers_own(manager: Managers, server: Served, twin_id: str) -> None:
    with server.client() as client:
        with manager(twin_id, client=client) as twin:
            twin.update_state({"a": 1})
            with twin.subscribe(since=0, timeout=10) as events:
                assert next(iter(events)).version == 1
        assert client.get(twin.keys.state).startswith(b'{"a":1')


def test_files_go_in_and_out(twin: StateManager, tmp_path: Path) -> None:
    twin.update_state({"a": 1})
    twin.export_state(tmp_path / "state.json")
    twin.delete()
    twin.import_state(tmp_path / "state.json")
    assert twin.get_current_state()["a"] == 1
    assert twin.validate_state({"a": 1})[0]
    assert twin.verify() == []


def test_replicas_are_read(open_twin: Managers, cluster: Cluster) -> None:
    with open_twin(read_from="replica") as twin:
        twin.update_state({"a": 1})
        owner = cluster.owner(twin.keys.state)
        (replica,) = cluster.replicas(owner)
        wait_until(lambda: twin.snapshot().version == 1)
        here, there = calls(owner, "evalsha_ro"), calls(replica, "evalsha_ro")
        for _ in range(5):
            assert twin.snapshot().read_from == "replica"
        assert calls(replica, "evalsha_ro") == there + 5
        assert calls(owner, "evalsha_ro") == here


@pytest.mark.parametrize("replicas", [0, 1])
def test_where_no_replica_answers_the_master_does(manager: Managers, lane: str, twin_id: str, replicas: int) -> None:
    with (
        Cluster(lanes()[lane], replicas=replicas) as one,
        manager(twin_id, url=one.url, read_from="replica", timeout=20) as twin,
    ):
        twin.update_state({"a": 1})
        for node in one.nodes[one.masters :]:
            one.kill(node)
        assert twin.snapshot().version == 1
