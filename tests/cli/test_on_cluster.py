"""The commands that ask more than one key, on a cluster; and the demo, also where a master is killed under it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from circman_redis import StateManager
from tests.cli.conftest import Run, lines, process, value
from tests.cli.test_demo import VERIFIED, begun, demo
from tests.servers import lanes
from tests.topology import Cluster

pytestmark = pytest.mark.xdist_group("clusters")

TWINS = ("a", "b", "c", "d", "e")  # on all three masters


@pytest.fixture
def cluster(clusters: dict[str, Cluster], lane: str) -> Cluster:
    """A cluster that is empty."""
    one = clusters[lane]
    for node in one.nodes[: one.masters]:
        with node.client() as client:
            client.flushall()
    return one


@pytest.fixture
def environment(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCMAN_REDIS_URL", cluster.url)
    monkeypatch.chdir(tmp_path)


def make(cluster: Cluster) -> None:
    for name in TWINS:
        with StateManager(name, url=cluster.url) as twin:
            twin.update_many([{"n": n} for n in range(3)])


def test_twins_of_all_nodes_are_listed_kept_and_brought_back(cluster: Cluster, run: Run) -> None:
    make(cluster)
    assert len({cluster.owner(f"circman:{{{name}}}:state") for name in TWINS}) == 3
    listed = [(one["twin"], one["version"], one["history"]) for one in lines(run("twins"))]
    assert listed == [(name, 3, 2) for name in TWINS]
    assert [(one["twin"], one["version"]) for one in lines(run("backup", "--all", "kept"))] == [
        (name, 3) for name in TWINS
    ]
    for name in TWINS:
        run("delete", "--twin", name, "--yes")
    assert run("twins").stdout == ""
    assert [one["twin"] for one in lines(run("restore", "kept"))] == list(TWINS)
    for name in TWINS:
        assert value(run("audit", "--twin", name))["ok"]
        assert value(run("get", "--twin", name))["n"] == 2


def test_info_and_doctor_ask_the_node_that_has_the_twin(cluster: Cluster, run: Run) -> None:
    make(cluster)
    for name in TWINS:
        owner = cluster.owner(f"circman:{{{name}}}:state")
        with StateManager(name, url=cluster.url) as twin, twin.subscribe():
            info = value(run("info", "--twin", name))
        assert info["server"]["node"] == owner.address
        assert (info["server"]["role"], info["server"]["replicas"]) == ("master", 1)
        assert (info["twin"]["version"], info["twin"]["ids"], info["twin"]["subscribers"]) == (3, 1, 1)
        assert info["twin"]["memory_state"] > 0
        found = {one["about"]: one for one in lines(run("doctor", "--twin", name))}
        assert found["cluster"] == {
            "level": "ok",
            "about": "cluster",
            "says": f"the twin is on {owner.address}, with 1 replica",
        }
        assert found["twin"]["says"] == f"'{name}' is at version 3; state, meta and 2 past states agree"
        assert found["rights"]["level"] == "ok"


def test_doctor_names_a_node_that_is_taken_for_the_cluster(cluster: Cluster, run: Run) -> None:
    found = {one["about"]: one for one in lines(run("doctor", "--url", cluster.nodes[0].url, code=1))}
    assert found["cluster"]["level"] == "problem"
    assert found["cluster"]["advice"] == "name the cluster: redis+cluster://host:port,host:port"


def test_watch_follows(cluster: Cluster, environment: None) -> None:
    make(cluster)
    with process("watch", "--twin", "c", "--since", "0") as watching:
        try:
            assert watching.stdout is not None
            said = [watching.stdout.readline() for _ in range(3)]
            with StateManager("c", url=cluster.url) as twin:
                twin.update_state({"n": 7})
            said.append(watching.stdout.readline())
            assert [re.search(rb'"version":(\d+)', line)[1] for line in said] == [b"1", b"2", b"3", b"4"]
        finally:
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=60)


def test_the_demo_on_a_cluster(cluster: Cluster) -> None:
    with demo(cluster.url, 1.5) as running:
        said, complaints = running.communicate()
    assert (running.returncode, complaints) == (0, "")
    first = cluster.nodes[0]
    assert f"redis-cli -c -h {first.host} -p {first.port} GET 'circman:{{demo}}:state'" in said
    assert VERIFIED.fullmatch(said.splitlines()[-1])


def test_the_demo_goes_on_when_a_master_is_killed() -> None:
    """With durability, nothing that a worker was told is lost."""
    patient = {**os.environ, "CIRCMAN_DURABILITY": "replicas:1", "CIRCMAN_TIMEOUT": "30"}
    with Cluster(lanes()["valkey"]) as cluster, demo(cluster.url, 8.0, 3, env=patient) as running:
        begun(running)
        old = cluster.owner("circman:{demo}:state")
        cluster.kill(old)
        cluster.wait_for_failover("circman:{demo}:state", old)
        cluster.restart(old)
        said, complaints = running.communicate()
    last = said.splitlines()[-1]
    # A subscriber may have seen a commit that was never confirmed, and is told that it is gone: that is said, too.
    assert re.search(r"verified: \d+ commits by 3 workers, 0 lost, 0 duplicated", last), complaints
    assert running.returncode == 0 or "was set back" in complaints, f"{last}\n{complaints}"
