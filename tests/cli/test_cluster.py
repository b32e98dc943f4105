"""`circman-redis cluster`: six nodes on this machine, for as long as it is held."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError

from circman_redis import local_cluster
from circman_redis.errors import UsageError
from circman_redis.local_cluster import BUS_OFFSET, NODES, LocalCluster
from tests.cli.conftest import process
from tests.servers import wait_until

pytestmark = pytest.mark.xdist_group("clusters")

system_random = random.SystemRandom()  # whatever hypothesis makes of the other one


@contextmanager
def held(folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The command as a process of its own, and what it printed; ended as a user would."""
    with process("cluster", "--folder", str(folder), "--port", str(port)) as holder:
        try:
            assert holder.stdout is not None
            yield holder, holder.stdout.readline().decode().strip()
        finally:
            holder.terminate()
            holder.communicate(timeout=60)


def free_ports() -> int:
    """The first of six ports that are free, with those of the bus."""
    while True:
        first = system_random.randrange(10_000, 22_000 - NODES)
        if all(local_cluster._is_free(first + n + bus) for n in range(NODES) for bus in (0, BUS_OFFSET)):
            return first


def client(url: str) -> RedisCluster:
    nodes = [one.rpartition(":") for one in url.removeprefix("redis+cluster://").split(",")]
    return RedisCluster(startup_nodes=[ClusterNode(host, int(port)) for host, _, port in nodes])


def changed(store: RedisCluster) -> bool:
    try:
        return bool(store.set("a", "2"))
    except (RedisError, IndexError):  # until the replica has taken over; the list of nodes may be empty meanwhile
        return False


def nodes_of(holder: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(holder.pid).children()


def port_of(node: psutil.Process) -> int:
    return min(one.laddr.port for one in node.net_connections() if one.status == psutil.CONN_LISTEN)


def ended(nodes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(nodes, timeout=0)[1]


def test_it_serves_as_a_cluster_and_keeps_its_data(tmp_path: Path) -> None:
    """Also where it is held on other ports the next time."""
    for times in (1, 2):
        port = free_ports()
        with held(tmp_path / "c", port) as (holder, url):
            assert url == f"redis+cluster://127.0.0.1:{port},127.0.0.1:{port + 1},127.0.0.1:{port + 2}"
            with client(url) as cluster:
                assert len(cluster.get_primaries()) == len(cluster.get_replicas()) == 3
                for n in range(30):
                    assert cluster.incr(f"key-{n}") == times
                assert all(cluster.dbsize(target_nodes=node) > 0 for node in cluster.get_primaries())
            nodes = nodes_of(holder)
            assert len(nodes) == NODES
        assert holder.returncode == 0
        assert ended(nodes)


def test_its_nodes_end_with_it_when_it_is_killed(tmp_path: Path) -> None:
    with held(tmp_path / "c", free_ports()) as (holder, _):
        nodes = nodes_of(holder)
        holder.kill()
        wait_until(lambda: ended(nodes))


def test_a_node_that_is_killed_is_replaced_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_cluster, "NODE_TIMEOUT", 1.0)
    monkeypatch.setattr(local_cluster, "REVIVE_AFTER", 5.0)
    with LocalCluster(tmp_path / "c", port=free_ports()) as cluster, client(cluster.url) as store:
        store.set("a", "1")
        store.wait(1, 10_000, target_nodes=store.get_node_from_key("a"))
        owner = store.get_node_from_key("a")
        node = cluster.nodes[[one.port for one in cluster.nodes].index(owner.port)]
        os.kill(cluster._servers[node].pid, signal.SIGKILL)
        cluster._servers[node].wait()
        assert [*cluster.look_after()] == [f"node {node.port} ended, status -9; in 5 s it is started again"]
        wait_until(lambda: changed(store))
        assert store.get_node_from_key("a").port != node.port
        wait_until(lambda: f"node {node.port} is started again" in [*cluster.look_after()])
        connections = [one.client() for one in cluster.nodes]
        wait_until(lambda: cluster._answers(node) and local_cluster.serves(connections))
        assert local_cluster.own(connections[cluster.nodes.index(node)]).flags == {"myself", "slave"}
        for one in connections:
            one.close()


def test_what_was_interrupted_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that ended after half of the slots were shared out."""
    port, share = free_ports(), local_cluster._share_slots

    def half(masters: list[object]) -> None:
        local_cluster.ask(masters[0], "ADDSLOTSRANGE", 0, local_cluster.shares(3)[0].stop - 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(local_cluster, "_share_slots", half)
    with pytest.raises(KeyboardInterrupt):
        LocalCluster(tmp_path / "c", port=port).start()
    monkeypatch.setattr(local_cluster, "_share_slots", share)
    with LocalCluster(tmp_path / "c", port=port) as cluster, client(cluster.url) as store:
        assert store.set("a", "1")
        assert len(store.get_replicas()) == 3


@pytest.mark.parametrize("offset", [4, BUS_OFFSET + 1])
def test_a_port_that_is_taken_is_named(tmp_path: Path, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_cluster, "_PORT_WAIT", 0.1)
    port = free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + offset))
        other.listen()
        with pytest.raises(UsageError, match=rf"taken on 127.0.0.1: port {port + offset}. The cluster needs {port} to"):
            LocalCluster(tmp_path / "c", port=port).start()
    assert not (tmp_path / "c" / "node-1").exists()


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    with held(tmp_path / "c", free_ports()), process("cluster", "--folder", str(tmp_path / "c")) as second:
        _, said = second.communicate(timeout=60)
    assert second.returncode == 1
    assert said.startswith(b"error: another process holds the cluster in")


@pytest.mark.parametrize("port", [0, 55_531, 70_000])
def test_a_port_without_room_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(UsageError, match="a number from 1 to 55530"):
        LocalCluster(tmp_path, port=port)
