"""A server is upgraded under load: redis 7.0 to Valkey 9, node by node, with a failover by Sentinel."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from circman_redis import StateManager
from circman_redis.errors import Unconfirmed
from tests.servers import lanes, version_of, wait_until
from tests.topology import Node, ReplicaSet

pytestmark = [
    pytest.mark.xdist_group("sentinels"),
    pytest.mark.thorough,
    pytest.mark.skipif("redis" not in lanes(), reason="needs a redis-server to upgrade from"),
]


class Writer(threading.Thread):
    """Commits one after the other, each confirmed by a replica; a failover is waited out inside the calls."""

    def __init__(self, twin: StateManager) -> None:
        super().__init__()
        self.confirmed: dict[str, int] = {}
        self.unconfirmed: list[str] = []
        self.failed: BaseException | None = None
        self._over = threading.Event()
        self._twin = twin

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._commit(f"c-{len(self.confirmed) + len(self.unconfirmed)}")
        except Exception as error:  # noqa: BLE001 - told by `works`
            self.failed = error

    def _commit(self, commit_id: str) -> None:
        try:
            self.confirmed[commit_id] = self._twin.adjust({"/n": 1}, commit_id=commit_id).version
        except Unconfirmed:
            self.unconfirmed.append(commit_id)

    def works(self) -> None:
        """Waits for some more commits."""
        before = len(self.confirmed)
        wait_until(lambda: self.failed or len(self.confirmed) > before + 50)
        assert self.failed is None

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def replace(node: Node, binary: Path) -> None:
    """Ends a server in order, and starts another program on its data and its configuration."""
    assert node.process is not None
    node.process.terminate()
    node.process.wait(30)
    node.binary = binary
    node.start()


def hand_over(servers: ReplicaSet, first: Node) -> Node:
    """A planned failover. Writers wait meanwhile: the old master would go on, confirmed by the replica that is left."""
    wait_until(servers.watched)
    with first.client() as client:
        client.client_pause(20_000, all=False)
    wait_until(servers.in_sync)
    with servers.sentinels[0].client() as sentinel:
        sentinel.execute_command("SENTINEL", "FAILOVER", servers.name)
    successor = servers.wait_for_failover(first)
    with first.client() as client:
        client.client_unpause()
    return successor


def version(node: Node) -> str:
    with node.client() as client:
        info = client.info("server")
    return str(info.get("valkey_version", info["redis_version"]))


def test_from_redis_7_to_valkey_9_under_a_writer(twin_id: str) -> None:
    """Replicas first, then a failover, then the old master: every confirmed commit is there, once."""
    old, new = lanes()["redis"], lanes()["valkey"]
    with (
        ReplicaSet(old, aof=True) as servers,
        StateManager(twin_id, url=servers.url, durability="replicas:1", timeout=30) as twin,
    ):
        twin.set_history_length(100_000)
        twin.set_state({"n": 0})
        with Writer(twin) as writer:
            writer.works()
            first = servers.master()
            for replica in servers.replicas():
                replace(replica, new)
                wait_until(servers.in_sync)
                writer.works()
            assert version(first) == version_of(old)
            successor = hand_over(servers, first)
            writer.works()
            replace(first, new)
            wait_until(servers.in_sync)
            writer.works()
            assert servers.master() is successor
            assert {version(node) for node in servers.nodes} == {version_of(new)}
        made = {commit.id: commit.version for commit in twin.get_commits()}
        assert {name: made.get(name) for name in writer.confirmed} == writer.confirmed
        assert twin.get_current_state()["n"] == sum(str(name).startswith("c-") for name in made)
        assert twin.verify() == []
