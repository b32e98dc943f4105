"""The way through a cluster: redis-py knows which node has which slot, and calls go straight there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import redis
import redis.asyncio
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisClusterException

from circman_redis.pool import Pool, SharedPool
from circman_redis.retries import NO_ASYNC_RETRY, NO_RETRY, Retry
from circman_redis.sending import AsyncSender, Sender
from circman_redis.upstream import ours

MOST_REDIRECTS = 16
"""How often one call is sent to where another node says."""

_ASTRAY = (redis.ConnectionError, redis.TimeoutError, ClusterDownError)


class Cluster:
    """Sends calls to the node that has the slot of their keys.

    redis-py's own ``execute_command`` would do so too, but send a commit again as if for the first time.

    Args:
        make: makes the client; it asks the nodes.
    """

    def __init__(self, make: Callable[[], redis.RedisCluster]) -> None:
        self._make = make
        self._senders: WeakKeyDictionary[Any, Sender] = WeakKeyDictionary()
        self._replicas: dict[str, Sender] = {}
        self._listened = False

    def connect(self, retry: Retry, name: str) -> redis.RedisCluster:
        """The client, once a node has answered.

        Raises:
            StoreUnavailable: none did, within the retries.
            NotPermitted: the user is refused.
        """
        with _explained(name):
            self._client = retry.call_with_retry(self._made, lambda _: None)
        return self._client

    def send(self, slot: int, *command: Any, **how: Any) -> Any:
        """The reply to a command, as from `Sender`, of the node that has a slot."""
        return self._send(self._master, slot, command, how)

    def read(self, slot: int, *command: Any, **how: Any) -> Any:
        """The reply of a replica of that node, where there is one."""
        return self._send(self._replica, slot, command, how)

    def node(self, slot: int) -> redis.Redis:
        """A client of the node that has a slot, and of no other."""
        one: redis.Redis = self._client.get_redis_connection(_master_of(self._client, slot))
        return one

    def listening_pool(self, slot: int) -> redis.ConnectionPool:
        """Connections to the node that has a slot now."""
        if self._listened:
            self._look_again()  # somebody connects anew: maybe as the slot is elsewhere
        self._listened = True
        return self._pool_to(_master_of(self._client, slot), health_check_interval=0)

    def give_back(self) -> None:
        """Gives the connections back to a client that is somebody else's."""
        for sender in (*self._senders.values(), *self._replicas.values()):
            sender.close()

    def close(self) -> None:
        """Closes all connections."""
        self.give_back()
        self._client.close()

    def _made(self) -> redis.RedisCluster:
        with _as_connection_error():
            return self._make()

    def _send(self, choose: Callable[[int], Sender], slot: int, command: tuple[Any, ...], how: dict[str, Any]) -> Any:
        try:
            sender, asking = choose(slot), False
            for _ in range(MOST_REDIRECTS):
                try:
                    return sender(*command, asking=asking, **how)
                except MovedError as error:
                    self._client.nodes_manager.move_slot(error)
                    sender, asking = choose(slot), False
                except AskError as error:
                    sender, asking = self._sender_to(self._named(error)), True
            raise redis.ConnectionError(f"slot {slot} is sent from node to node")
        except _ASTRAY:
            self._look_again()
            raise

    def _named(self, error: AskError) -> Any:
        if self._client.nodes_manager.get_node(error.host, error.port) is None:
            self._look_again()
        return _known(self._client.nodes_manager.get_node(error.host, error.port), error)

    def _master(self, slot: int) -> Sender:
        return self._sender_to(_master_of(self._client, slot))

    def _sender_to(self, node: Any) -> Sender:
        pool = self._client.get_redis_connection(node).connection_pool
        sender = self._senders.get(pool)
        if sender is None:
            sender = self._senders.setdefault(pool, Sender(pool))
        return sender

    def _replica(self, slot: int) -> Sender:
        node = _replica_of(self._client, slot)
        if node is None:
            return self._master(slot)
        if node.name not in self._replicas:
            self._replicas[node.name] = Sender(self._pool_to(node, redis_connect_func=_for_reading))
        return self._replicas[node.name]

    def _pool_to(self, node: Any, **forced: Any) -> redis.ConnectionPool:
        pool = self._client.get_redis_connection(node).connection_pool
        options = {**pool.connection_kwargs, "retry": NO_RETRY, **forced}
        return redis.ConnectionPool(connection_class=pool.connection_class, **options)

    def _look_again(self) -> None:
        with suppress(redis.RedisError, RedisClusterException):
            self._client.nodes_manager.initialize()


class AsyncCluster:
    """The same for asyncio: redis-py's client asks for the nodes, and each has a pool of ours.

    Args:
        client: asks for the nodes, when that is needed first.
    """

    def __init__(self, client: redis.asyncio.RedisCluster) -> None:
        self.client = client
        self._senders: dict[str, tuple[Pool, AsyncSender]] = {}
        self._listening: WeakSet[Pool] = WeakSet()  # each time that somebody connects anew there is one more
        self._listened = False

    async def send(self, slot: int, *command: Any, **how: Any) -> Any:
        """The reply to a command, as from `AsyncSender`, of the node that has a slot."""
        return await self._send(self._master, slot, command, how)

    async def read(self, slot: int, *command: Any, **how: Any) -> Any:
        """The reply of a replica of that node, where there is one."""
        return await self._send(self._replica, slot, command, how)

    async def listening_pool(self, slot: int) -> Pool:
        """Connections to the node that has a slot now."""
        if self._listened:
            await self._look_again()
        self._listened = True
        await self._know_the_nodes()
        node = _master_of(self.client, slot)
        pool = Pool(**_options_to(node, health_check_interval=0))
        self._listening.add(pool)
        return pool

    async def give_back(self) -> None:
        """Closes the connections that are ours."""
        with suppress(redis.RedisError):
            for pool in (*(pool for pool, _ in self._senders.values()), *self._listening):
                await pool.aclose()

    async def close(self) -> None:
        """Closes all connections."""
        await self.give_back()
        await self.client.aclose()

    async def _know_the_nodes(self) -> None:
        with _as_connection_error():
            await self.client.initialize()

    async def _send(
        self, choose: Callable[[int], AsyncSender], slot: int, command: tuple[Any, ...], how: dict[str, Any]
    ) -> Any:
        try:
            await self._know_the_nodes()
            sender, asking = choose(slot), False
            for _ in range(MOST_REDIRECTS):
                try:
                    return await sender(*command, asking=asking, **how)
                except MovedError as error:
                    await self.client.nodes_manager.move_slot(error)
                    sender, asking = choose(slot), False
                except AskError as error:
                    sender, asking = self._sender_to(await self._named(error)), True
            raise redis.ConnectionError(f"slot {slot} is sent from node to node")
        except _ASTRAY:
            await self._look_again()
            raise

    async def _named(self, error: AskError) -> Any:
        if self.client.nodes_manager.get_node(error.host, error.port) is None:
            await self._look_again()
        return _known(self.client.nodes_manager.get_node(error.host, error.port), error)

    def _master(self, slot: int) -> AsyncSender:
        return self._sender_to(_master_of(self.client, slot))

    def _replica(self, slot: int) -> AsyncSender:
        node = _replica_of(self.client, slot)
        return self._master(slot) if node is None else self._sender_to(node, redis_connect_func=_for_reading_async)

    def _sender_to(self, node: Any, **forced: Any) -> AsyncSender:
        name = f"{node.name} to read from" if forced else node.name
        if name not in self._senders:
            pool = SharedPool(**_options_to(node, **forced))
            self._senders[name] = (pool, AsyncSender(pool))
        return self._senders[name][1]

    async def _look_again(self) -> None:
        with suppress(redis.RedisError, RedisClusterException):
            await self.client.nodes_manager.initialize()


# --- what both need --------------------------------------------------------------------------------------------------


def _master_of(client: Any, slot: int) -> Any:
    try:
        return client.nodes_manager.get_node_from_slot(slot)
    except (RedisClusterException, KeyError) as error:
        raise redis.ConnectionError(f"no node of the cluster has slot {slot}") from error


def _replica_of(client: Any, slot: int) -> Any:
    """One of them, by chance; None where there is none."""
    nodes = client.nodes_manager.slots_cache.get(slot) or []
    return random.choice(nodes[1:]) if len(nodes) > 1 else None  # noqa: S311 - any will do


def _known(node: Any, error: AskError) -> Any:
    if node is None:
        raise redis.ConnectionError(f"the cluster names a node that it does not know: {error}") from error
    return node


def _options_to(node: Any, **forced: Any) -> dict[str, Any]:
    options = {**node.connection_kwargs, "retry": NO_ASYNC_RETRY, **forced}
    return {"connection_class": node.connection_class, **options}


@contextmanager
def _as_connection_error() -> Iterator[None]:
    """What redis-py raises where no node answers is none of its connection errors."""
    try:
        yield
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise ours(error, name) from error


def _for_reading(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("READONLY")
    connection.read_response()


async def _for_reading_async(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("READONLY")
    await connection.read_response()
