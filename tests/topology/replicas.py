"""A master with replicas, and Sentinels that look after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from tests.servers import wait_until
from tests.topology.namespaces import Namespaces
from tests.topology.nodes import Group, Node

# In milliseconds, where Sentinel takes its time otherwise. With one ping in `down_after` it takes a master that is
# a little late for dead, and fails over twice: to one that came back with what it knew before. It promotes only a
# replica whose INFO is not older than five pings, and asks for that once a second: pings a tenth of a second apart
# made most failovers find no good replica, and begin anew 6 s later. And on a busy machine it would take a pause of
# half a minute ("tilt") whenever it had to wait for the processor.
PERIODS = ("PING-PERIOD", "300", "INFO-PERIOD", "500", "ASK-PERIOD", "200", "PUBLISH-PERIOD", "500")
NO_TILT = ("TILT-TRIGGER", "20000", "TILT-PERIOD", "500")


class ReplicaSet(Group):
    """A master, replicas and Sentinels; see Group for the arguments that are not here.

    Args:
        replicas: how many replicas.
        sentinels: how many Sentinels; most of them have to agree.
        name: what Sentinels call the set.
        down_after: milliseconds of silence after which a Sentinel takes a node for dead.
        failover_timeout: milliseconds after which a failover that did not come about is tried again.
        min_replicas: below so many replicas that are not more than a second behind, a master refuses writes.
    """

    def __init__(
        self,
        binary: Path,
        replicas: int = 2,
        sentinels: int = 3,
        *,
        name: str = "main",
        down_after: int = 1000,
        failover_timeout: int = 3000,
        min_replicas: int = 0,
        aof: bool = False,
        options: tuple[str, ...] = (),
        network: Namespaces | None = None,
    ) -> None:
        if min_replicas:
            options = (*options, "--min-replicas-to-write", str(min_replicas), "--min-replicas-max-lag", "1")
        super().__init__(binary, aof=aof, options=options, network=network)
        self.name = name
        self.wanted = (replicas, sentinels)
        self.times = (down_after, failover_timeout)
        self.nodes: list[Node] = []
        self.sentinels: list[Node] = []

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(node.address for node in self.sentinels)}/{self.name}/0"

    def _start(self) -> None:
        replicas, sentinels = self.wanted
        first = self.add()
        self.nodes = [first, *(self.add("--replicaof", f"{first.host} {first.port}") for _ in range(replicas))]
        wait_until(lambda: in_sync(first, self.nodes[1:]))
        self.sentinels = [self.add(*self._watch(first), sentinel=True) for _ in range(sentinels)]
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.execute_command("SENTINEL", "DEBUG", *PERIODS, *NO_TILT)
        wait_until(self.watched)

    def _watch(self, first: Node) -> tuple[str, ...]:
        down_after, failover_timeout = self.times
        most = self.wanted[1] // 2 + 1
        return (
            *("--protected-mode", "no"),
            *("--sentinel", f"monitor {self.name} {first.host} {first.port} {most}"),
            *("--sentinel", f"down-after-milliseconds {self.name} {down_after}"),
            *("--sentinel", f"failover-timeout {self.name} {failover_timeout}"),
            *("--sentinel", f"parallel-syncs {self.name} {max(1, self.wanted[0])}"),
        )

    def watched(self) -> bool:
        """Whether each Sentinel knows the others, and all nodes, and finds them well."""
        return all(map(self._is_watched_by, self.sentinels))

    def _is_watched_by(self, sentinel: Node) -> bool:
        with sentinel.client(decode_responses=True) as client:
            master = client.sentinel_master(self.name)
            replicas = client.sentinel_slaves(self.name)
        well = [one for one in replicas if one["flags"] == "slave" and one["master-link-status"] == "ok"]
        return (
            master["flags"] in ("master", {"master"})
            and int(master["num-other-sentinels"]) == len(self.sentinels) - 1
            and len(well) == len(self.nodes) - 1
        )

    def named_by(self, sentinel: Node) -> Node | None:
        """The master, as one Sentinel says; None where it cannot say."""
        try:
            with sentinel.client(retry=None, decode_responses=True) as client:
                found = client.sentinel_get_master_addr_by_name(self.name)
        except redis.RedisError:
            return None
        return next((node for node in self.nodes if found == (node.host, node.port)), None)

    def master(self) -> Node:
        """The master, as most Sentinels say."""
        said = [self.named_by(sentinel) for sentinel in self.sentinels]
        for node in self.nodes:
            if sum(one is node for one in said) * 2 > len(said):
                return node
        raise AssertionError(f"the Sentinels do not agree: {said}")

    def replicas(self) -> list[Node]:
        """All nodes but the master."""
        master = self.master()
        return [node for node in self.nodes if node is not master]

    def kill_master(self) -> Node:
        """Ends the master with -9, and returns it."""
        master = self.master()
        master.kill()
        return master

    def wait_for_failover(self, old: Node) -> Node:
        """Waits until every Sentinel that lives names another master than the old one, and that knows of it."""
        wait_until(lambda: self._successor(old) is not None)
        found = self._successor(old)
        assert found is not None
        return found

    def _successor(self, old: Node) -> Node | None:
        named = {self.named_by(sentinel) for sentinel in self.sentinels if sentinel.alive}
        one = named.pop() if len(named) == 1 else None
        return one if one is not None and one is not old and role(one) == "master" else None

    def in_sync(self) -> bool:
        """Whether all other nodes follow the master, and have what it has."""
        return in_sync(self.master(), self.replicas())

    def restart(self, node: Node) -> None:
        """Starts a node again, which believes of itself what it did last; Sentinel corrects that in some 10 s."""
        node.restart()


def facts(node: Node) -> dict[str, Any]:
    with node.client() as client:
        return dict(client.info("replication"))


def role(node: Node) -> str:
    try:
        return str(facts(node)["role"])
    except redis.RedisError:
        return "none"


def in_sync(master: Node, replicas: list[Node]) -> bool:
    """Whether each follows this master, and has all that it had when this was asked: pings and messages go on."""
    try:
        found, each = facts(master), [facts(node) for node in replicas]
    except redis.RedisError:
        return False
    online = [one for name, one in found.items() if name.startswith("slave") and one["state"] == "online"]
    return len(online) >= len(replicas) and all(_has(one, master, found["master_repl_offset"]) for one in each)


def _has(replica: dict[str, Any], master: Node, offset: int) -> bool:
    follows = (replica.get("master_host"), replica.get("master_port")) == (master.host, master.port)
    return follows and replica["master_link_status"] == "up" and replica["slave_repl_offset"] >= offset
