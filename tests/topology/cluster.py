"""A cluster on TCP ports, whose slots can be moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import redis
from redis.crc import key_slot

from circman_redis import local_cluster
from circman_redis.local_cluster import Address, Seen
from tests.servers import wait_until
from tests.topology.namespaces import Namespaces
from tests.topology.nodes import Group, Node


class Cluster(Group):
    """Masters with replicas; see Group for the arguments that are not here.

    Args:
        masters: how many masters.
        replicas: how many replicas each has.
        node_timeout: milliseconds of silence after which a node counts as failed.
    """

    def __init__(
        self,
        binary: Path,
        masters: int = 3,
        replicas: int = 1,
        *,
        node_timeout: int = 1500,
        aof: bool = False,
        options: tuple[str, ...] = (),
        network: Namespaces | None = None,
    ) -> None:
        own = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout))
        super().__init__(binary, aof=aof, options=(*own, *options), network=network)
        self.masters = masters
        self.wanted = masters * (1 + replicas)
        self.nodes: list[Node] = []

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(node.address for node in self.nodes[: self.masters])}"

    def _start(self) -> None:
        for _ in range(self.wanted):
            self.nodes.append(self.add())
        local_cluster.join([Address(node.port, node.bus, node.host) for node in self.nodes], self.masters)

    def stop(self) -> None:
        super().stop()
        self.nodes.clear()

    def node(self, seen: Seen) -> Node:
        return next(node for node in self.nodes if (node.host, node.port) == (seen.host, seen.port))

    def view(self, of: Node | None = None) -> list[Seen]:
        """The cluster as a node sees it; without one, as the first that lives does."""
        asked = of or next(node for node in self.nodes if node.alive)
        with asked.client(decode_responses=True) as client:
            return local_cluster.view(client)

    def owner(self, key: str | int, of: Node | None = None) -> Node:
        """The master of a key, or of a slot."""
        slot = key if isinstance(key, int) else key_slot(key.encode())
        return self.node(next(one for one in self.view(of) if slot in one.numbers() and "fail" not in one.flags))

    def replicas(self, master: Node) -> list[Node]:
        """The replicas that a master has, as it sees it."""
        seen = self.view(master)
        own = next(one for one in seen if "myself" in one.flags)
        return [self.node(one) for one in seen if one.master == own.id]

    def id(self, node: Node) -> str:
        return next(one.id for one in self.view(node) if "myself" in one.flags)

    def others(self, node: Node) -> list[Node]:
        """The masters but for this one."""
        found = [self.node(one) for one in self.view() if "master" in one.flags and one.slots]
        return [one for one in found if one is not node]

    def wait_until_well(self) -> None:
        """Waits until all nodes serve, agree, and have their masters' data."""
        clients = [node.client(decode_responses=True) for node in self.nodes]
        try:
            wait_until(lambda: local_cluster.serves(clients))
        finally:
            for client in clients:
                client.close()

    def kill(self, node: Node) -> None:
        """Ends a node with -9."""
        node.kill()

    def restart(self, node: Node) -> None:
        """Starts a node again, on the same ports."""
        node.restart()

    def wait_for_failover(self, key: str | int, old: Node) -> Node:
        """Waits until every node that lives sends clients of a key to another node than the old one."""

        def moved() -> bool:
            return all(self._sends_elsewhere(node, key, old) for node in self.nodes if node.alive and node is not old)

        wait_until(moved)
        return self.owner(key, of=next(node for node in self.nodes if node.alive and node is not old))

    def _sends_elsewhere(self, asked: Node, key: str | int, old: Node) -> bool:
        try:
            with asked.client(decode_responses=True) as client:
                serves = "cluster_state:ok" in local_cluster.ask(client, "INFO")
            return serves and self.owner(key, of=asked) is not old
        except (redis.RedisError, StopIteration):
            return False

    def move_slot(self, slot: int, to: Node, between: Callable[[bytes], object] = lambda _: None) -> int:
        """Moves a slot key by key, as ``redis-cli --cluster reshard`` does.

        Args:
            slot: which one.
            to: the master that gets it.
            between: called after each key, which has arrived then, while the slot is still on its way.

        Returns:
            How many keys it moved.
        """
        source = self.owner(slot)
        moved = 0
        with source.client() as here, to.client() as there:
            local_cluster.ask(there, "SETSLOT", slot, "IMPORTING", self.id(source))
            local_cluster.ask(here, "SETSLOT", slot, "MIGRATING", self.id(to))
            while keys := local_cluster.ask(here, "GETKEYSINSLOT", slot, 1):
                # NOKEY is a reply, not an error: somebody removed it meanwhile.
                here.execute_command("MIGRATE", to.host, to.port, keys[0], 0, 10_000)
                moved += 1
                between(keys[0])
            self._settle(slot, source, to)
        return moved

    def _settle(self, slot: int, source: Node, to: Node) -> None:
        """The new owner first: while nobody else knew, clients would be sent in a circle."""
        name = self.id(to)
        for node in (to, source, *(one for one in self.others(to) if one is not source)):
            with node.client() as client:
                local_cluster.ask(client, "SETSLOT", slot, "NODE", name)
        wait_until(lambda: all(self.owner(slot, of=node) is to for node in self.nodes if node.alive))

    def moves_atomically(self) -> bool:
        """Whether the servers can move a slot as a whole (Valkey 9)."""
        with self.nodes[0].client() as client:
            return bool(client.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", "cluster|migrateslots"))

    def move_slot_atomically(self, slot: int, to: Node) -> None:
        """Moves a slot with all its keys at once (CLUSTER MIGRATESLOTS), and waits until every node knows."""
        source = self.owner(slot)
        with source.client() as client:
            local_cluster.ask(client, "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.id(to))
        wait_until(lambda: all(self.owner(slot, of=node) is to for node in self.nodes if node.alive))
