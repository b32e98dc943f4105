"""A URL becomes a client of redis-py, and a way to send one twin's calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from weakref import WeakSet

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.retry
import redis.sentinel
from redis.asyncio.client import PubSub as AsyncPubSub
from redis.client import PubSub
from redis.crc import key_slot

from circman_redis.cluster import AsyncCluster, Cluster
from circman_redis.errors import UsageError
from circman_redis.retries import NO_ASYNC_RETRY, NO_RETRY, AsyncRetry, Retry
from circman_redis.sending import AsyncSender, Sender
from circman_redis.settings import Settings
from circman_redis.urls import Location, locate
from circman_redis.ways import AsyncWay, Way, check_replica, options_of

Client: TypeAlias = redis.Redis | redis.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster


@dataclass(frozen=True, slots=True)
class Store:
    """A server, or several that are one, and the way to the keys of a twin.

    Attributes:
        client: bytes in, bytes out.
        name: the server for messages, without its password.
        close: gives back the connections, and the embedded server where it is one.
        pubsub: makes a listener, on a connection of its own that is not made again by itself.
        send: sends a command, its name first, and returns its reply.
        retry: how it is sent again.
        read: the same as ``send``, to a replica; None where nobody asked for that.
        db: the number of the database.
        sharded: whether it is a cluster, in which events come by sharded pub/sub.
        at: the same for whom a key belongs to: in a cluster it says which node. None where that is all the same.
        node: a client of the node that has the key, for questions about a server. None where there is but one.
    """

    client: Client
    name: str
    close: Callable[[], None]
    pubsub: Callable[[], PubSub]
    send: Callable[..., Any]
    retry: redis.retry.Retry
    read: Callable[..., Any] | None = None
    db: int = 0
    sharded: bool = False
    at: Callable[[str], Store] | None = None
    node: Callable[[], redis.Redis] | None = None

    @property
    def server(self) -> redis.Redis:
        """A client of the server that has the twin: it answers for itself alone, and knows only its own keys.

        Raises:
            redis.ConnectionError: no node of the cluster has it.
        """
        if self.node is not None:
            return self.node()
        assert isinstance(self.client, redis.Redis)  # noqa: S101 - a cluster has nodes
        return self.client


@dataclass(frozen=True, slots=True)
class AsyncStore:
    """The same for the tasks of one event loop."""

    client: AsyncClient
    name: str
    close: Callable[[], Awaitable[None]]
    pubsub: Callable[[], Awaitable[AsyncPubSub]]
    send: Callable[..., Awaitable[Any]]
    retry: redis.asyncio.retry.Retry
    read: Callable[..., Awaitable[Any]] | None = None
    db: int = 0
    sharded: bool = False
    at: Callable[[str], AsyncStore] | None = None


def connect(settings: Settings) -> Store:
    """The store that the settings name; an embedded server is started where none runs yet.

    Raises:
        UsageError: for a URL that cannot be read.
        EmbeddedUnavailable: where the embedded server cannot be had or started.
    """
    where = locate(settings.redis_url)
    retry = Retry(settings.retries, settings.timeout)
    if where.kind == "cluster":
        options = {**options_of(settings, where), "retry": NO_RETRY}
        cluster = Cluster(partial(_cluster, where, options))
        return _cluster_store(cluster, where.name, settings, retry, cluster.close)
    way = Way(settings, where)
    client = redis.Redis.from_pool(way.pool(retry))
    sender = Sender(client.connection_pool)
    reader = Sender(way.pool(retry, is_master=False)) if settings.read_from == "replica" else None

    def close() -> None:
        sender.close()
        client.close()
        if reader:
            reader.close()
        way.close()

    def pubsub() -> PubSub:
        return PubSub(way.pool(NO_RETRY, health_check_interval=0), push_handler_func=_as_it_is)

    return Store(client, where.name, close, pubsub, sender, retry, reader, _database(client))


async def connect_async(settings: Settings) -> AsyncStore:
    """The same for asyncio."""
    where = locate(settings.redis_url)
    retry = AsyncRetry(settings.retries, settings.timeout)
    if where.kind == "cluster":
        options = {**options_of(settings, where), "retry": NO_ASYNC_RETRY}
        cluster = AsyncCluster(_async_cluster(where, options))
        return _async_cluster_store(cluster, where.name, settings, retry, cluster.close)
    way = await asyncio.to_thread(AsyncWay, settings, where)
    client = redis.asyncio.Redis.from_pool(way.pool(retry))
    reader = way.pool(retry, is_master=False) if settings.read_from == "replica" else None
    listening: WeakSet[AsyncPubSub] = WeakSet()

    async def close() -> None:
        with suppress(redis.RedisError):  # of a server that does not answer any more
            await asyncio.gather(client.aclose(), *(one.aclose() for one in listening))  # type: ignore[no-untyped-call]
            if reader:
                await reader.aclose()
        await way.close()

    async def pubsub() -> AsyncPubSub:
        pool = way.pool(NO_ASYNC_RETRY, shared=False, health_check_interval=0)
        listening.add(one := AsyncPubSub(pool, push_handler_func=_as_it_is_async))
        return one

    sender = AsyncSender(client.connection_pool)
    reading = AsyncSender(reader) if reader else None
    return AsyncStore(client, where.name, close, pubsub, sender, retry, reading, _database(client))


def adopt(client: Client, settings: Settings | None = None) -> Store:
    """The store behind a client of the caller's own, who also closes it.

    Raises:
        UsageError: for a client that decodes its replies, or has no replica to read from.
    """
    _check_client(client, (redis.Redis, redis.RedisCluster), "redis.Redis or redis.RedisCluster")
    # The retries are ours to make: the client's own would send a commit again as if for the first time.
    settings = settings or Settings()
    retry = Retry(settings.retries, settings.timeout)
    if isinstance(client, redis.RedisCluster):
        cluster = Cluster(lambda: client)
        return _cluster_store(cluster, "cluster", settings, retry, cluster.give_back)
    check_replica(settings, "client")
    sender = Sender(client.connection_pool, keeps=False)
    return Store(client, _place_of(client), lambda: None, client.pubsub, sender, retry, None, _database(client))


def adopt_async(client: AsyncClient, settings: Settings | None = None) -> AsyncStore:
    """The same for asyncio."""
    kinds = (redis.asyncio.Redis, redis.asyncio.RedisCluster)
    _check_client(client, kinds, "redis.asyncio.Redis or redis.asyncio.RedisCluster")
    settings = settings or Settings()
    retry = AsyncRetry(settings.retries, settings.timeout)
    if isinstance(client, redis.asyncio.RedisCluster):
        cluster = AsyncCluster(client)
        return _async_cluster_store(cluster, "cluster", settings, retry, cluster.give_back)
    check_replica(settings, "client")

    async def close() -> None:
        pass

    async def pubsub() -> AsyncPubSub:
        return client.pubsub()

    sender = AsyncSender(client.connection_pool)
    return AsyncStore(client, _place_of(client), close, pubsub, sender, retry, None, _database(client))


# --- clusters --------------------------------------------------------------------------------------------------------


def _cluster(where: Location, options: Mapping[str, Any]) -> redis.RedisCluster:
    nodes = [redis.cluster.ClusterNode(host, port) for host, port in where.nodes]  # type: ignore[no-untyped-call]
    try:
        return redis.RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)
    except TypeError as error:
        raise UsageError(f"url {where.name!r}: {error}") from error


def _async_cluster(where: Location, options: Mapping[str, Any]) -> redis.asyncio.RedisCluster:
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in where.nodes]
    try:
        return redis.asyncio.RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)
    except TypeError as error:
        raise UsageError(f"url {where.name!r}: {error}") from error


def _cluster_store(cluster: Cluster, name: str, settings: Settings, retry: Retry, close: Callable[[], None]) -> Store:
    client = cluster.connect(retry, name)

    def at(key: str) -> Store:
        slot = key_slot(key.encode())
        reader = partial(cluster.read, slot) if settings.read_from == "replica" else None

        def pubsub() -> PubSub:
            return PubSub(cluster.listening_pool(slot), push_handler_func=_as_it_is)

        send = partial(cluster.send, slot)
        node = partial(cluster.node, slot)
        return Store(client, name, close, pubsub, send, retry, reader, sharded=True, at=at, node=node)

    return at("")


def _async_cluster_store(
    cluster: AsyncCluster, name: str, settings: Settings, retry: AsyncRetry, close: Callable[[], Awaitable[None]]
) -> AsyncStore:
    def at(key: str) -> AsyncStore:
        slot = key_slot(key.encode())
        reader = partial(cluster.read, slot) if settings.read_from == "replica" else None

        async def pubsub() -> AsyncPubSub:
            return AsyncPubSub(await cluster.listening_pool(slot), push_handler_func=_as_it_is_async)

        send = partial(cluster.send, slot)
        return AsyncStore(cluster.client, name, close, pubsub, send, retry, reader, sharded=True, at=at)

    return at("")


# --- what both ways need ---------------------------------------------------------------------------------------------


def _as_it_is(message: Any) -> Any:
    """Without this, redis-py writes each message out for its log, wanted or not."""
    return message


async def _as_it_is_async(message: Any) -> Any:
    return message


def _check_client(client: Any, kinds: tuple[type[Any], ...], wanted: str) -> None:
    if not isinstance(client, kinds):
        raise UsageError(f"client={client!r}: wanted a {wanted}")
    if client.get_encoder().decode_responses:
        raise UsageError("client: make it without decode_responses=True; replies are read as bytes")


def _database(client: redis.Redis | redis.asyncio.Redis) -> int:
    return int(client.connection_pool.connection_kwargs.get("db", 0))


def _place_of(client: redis.Redis | redis.asyncio.Redis) -> str:
    """The server of a client of the caller's own."""
    facts = client.connection_pool.connection_kwargs
    if "path" in facts:
        return f"unix://{facts['path']}"
    return f"redis://{facts['host']}:{facts.get('port', 6379)}/{facts.get('db', 0)}" if "host" in facts else "client"
