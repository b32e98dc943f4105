"""A URL becomes a client of redis-py, and a way to send one twin's calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
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
from circman_redis.pool import Pool, SentinelPool, SharedPool, SharedSentinelPool
from circman_redis.retries import NO_ASYNC_RETRY, NO_RETRY, AsyncRetry, Retry
from circman_redis.sending import AsyncSender, Sender
from circman_redis.settings import Settings
from circman_redis.urls import Location, locate, named_folder

if TYPE_CHECKING:
    from circman_redis.embedded import EmbeddedServer

Client: TypeAlias = redis.Redis | redis.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster

SENTINEL_PATIENCE = 1.0
"""Seconds to wait for a Sentinel at most: there are others."""


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
        options = {**_options(settings, where), "retry": NO_RETRY}
        cluster = Cluster(partial(_cluster, where, options))
        return _cluster_store(cluster, where.name, settings, retry, cluster.close)
    way = _Way(settings, where)
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
        options = {**_options(settings, where), "retry": NO_ASYNC_RETRY}
        cluster = AsyncCluster(_async_cluster(where, options))
        return _async_cluster_store(cluster, where.name, settings, retry, cluster.close)
    way = await asyncio.to_thread(_AsyncWay, settings, where)
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
    _check_replica(settings, "client")
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
    _check_replica(settings, "client")

    async def close() -> None:
        pass

    async def pubsub() -> AsyncPubSub:
        return client.pubsub()

    sender = AsyncSender(client.connection_pool)
    return AsyncStore(client, _place_of(client), close, pubsub, sender, retry, None, _database(client))


class _Way:
    """To one server, or to the one that Sentinels name: makes the pools of connections to it."""

    def __init__(self, settings: Settings, where: Location) -> None:
        _check_replica(settings, where.kind)
        self._where = where
        self._options = _options(settings, where)
        self._server = _open_embedded(settings.redis_url) if where.kind == "embedded" else None
        self._sentinel = None
        if where.kind == "sentinel":
            options = _sentinel_options(self._options, where)
            options["retry"] = NO_RETRY
            self._sentinel = redis.sentinel.Sentinel(where.nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]

    def pool(self, retry: object, *, is_master: bool = True, **forced: Any) -> Any:
        """Connections; ``forced`` is what the URL cannot change."""
        options = {**self._options, "retry": retry, **forced}
        if self._sentinel:
            kind = partial(redis.sentinel.SentinelConnectionPool, self._where.service, self._sentinel)
            return _checked(partial(kind, is_master=is_master), options, self._where.name)
        if self._server:
            from circman_redis._embedded_connection import EmbeddedConnection  # noqa: PLC0415 - rarely needed

            options |= {"connection_class": EmbeddedConnection, "server": self._server}
        return _checked(redis.ConnectionPool, options, self._where.name)

    def close(self) -> None:
        """Lets go of what the pools needed."""
        if self._sentinel:
            self._sentinel.close()
        if self._server:
            self._server.close()


class _AsyncWay:
    """The same for asyncio. It is made in a thread, for an embedded server may have to be started."""

    def __init__(self, settings: Settings, where: Location) -> None:
        _check_replica(settings, where.kind)
        self._where = where
        self._options = _options(settings, where)
        self._server = _open_embedded(settings.redis_url) if where.kind == "embedded" else None
        self._sentinel = None
        if where.kind == "sentinel":
            options = _sentinel_options(self._options, where)
            options["retry"] = NO_ASYNC_RETRY
            made = redis.asyncio.sentinel.Sentinel(where.nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
            self._sentinel = made

    def pool(self, retry: object, *, is_master: bool = True, shared: bool = True, **forced: Any) -> Any:
        """Connections, to be shared by tasks or not; ``forced`` is what the URL cannot change."""
        options = {**self._options, "retry": retry, **forced}
        if self._sentinel:
            kind = SharedSentinelPool if shared else SentinelPool
            options |= {"service_name": self._where.service, "sentinel_manager": self._sentinel}
            return _checked(partial(kind, is_master=is_master), options, self._where.name)
        if self._server:
            from circman_redis._embedded_connection import AsyncEmbeddedConnection  # noqa: PLC0415 - rarely needed

            options |= {"connection_class": AsyncEmbeddedConnection, "server": self._server}
        elif "path" in options:
            options["connection_class"] = redis.asyncio.UnixDomainSocketConnection
        elif options.pop("connection_class", None):
            options["connection_class"] = redis.asyncio.SSLConnection
        return _checked(SharedPool if shared else Pool, options, self._where.name)

    async def close(self) -> None:
        """Lets go of what the pools needed."""
        if self._sentinel:
            with suppress(redis.RedisError):
                await self._sentinel.aclose()
        if self._server:
            self._server.close()


def _options(settings: Settings, where: Location) -> dict[str, Any]:
    """What connections are made with: as the URL says, else the settings."""
    patience = settings.timeout / 2  # so that a call whose answer is lost has time for another try
    options: dict[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "health_check_interval": 30,
    }
    if where.kind == "embedded":
        return options  # it has no users: whoever may enter its folder may use it
    options |= {**settings.credentials, **settings.certificates(where), **where.options}
    _check_certificates(options, where.name)
    return options


def _check_certificates(options: Mapping[str, Any], name: str) -> None:
    """Here, for redis-py takes a file that cannot be read for a server that does not answer."""
    authorities, own = options.get("ssl_ca_certs"), options.get("ssl_certfile")
    try:
        if authorities:
            ssl.create_default_context(cafile=authorities)
        if own:
            # With a password in any case: without one, OpenSSL would ask for it on the terminal.
            password = options.get("ssl_password") or ""
            ssl.create_default_context().load_cert_chain(own, options.get("ssl_keyfile"), password=lambda: password)
    except OSError as error:  # an ssl.SSLError is one, too
        files = ", ".join(f"{path}" for path in (authorities, own, options.get("ssl_keyfile")) if path)
        raise UsageError(f"url {name!r}: the certificates in {files} cannot be used: {error}") from error


def _sentinel_options(options: Mapping[str, Any], where: Location) -> dict[str, Any]:
    """What connections to Sentinels are made with: their own user and password, and the same TLS."""
    patience = {name: min(options[name], SENTINEL_PATIENCE) for name in ("socket_timeout", "socket_connect_timeout")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    return {**patience, **tls, **where.sentinel_options}


def _checked(kind: Callable[..., Any], options: Mapping[str, Any], name: str) -> Any:
    """A pool, whose options a connection takes."""
    try:
        pool = kind(**options)
        # Not connected yet: only to meet options that no connection takes.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError) as error:
        raise UsageError(f"url {name!r}: {error}") from error
    if pool.get_encoder().decode_responses:
        raise UsageError(f"url {name!r}: without decode_responses; replies are read as bytes")
    return pool


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


def _check_replica(settings: Settings, kind: str) -> None:
    if settings.read_from == "replica" and kind != "sentinel":
        raise UsageError("read_from='replica': use the URL of Sentinels or of a cluster, which know the replicas")


def _database(client: redis.Redis | redis.asyncio.Redis) -> int:
    return int(client.connection_pool.connection_kwargs.get("db", 0))


def _place_of(client: redis.Redis | redis.asyncio.Redis) -> str:
    """The server of a client of the caller's own."""
    facts = client.connection_pool.connection_kwargs
    if "path" in facts:
        return f"unix://{facts['path']}"
    return f"redis://{facts['host']}:{facts.get('port', 6379)}/{facts.get('db', 0)}" if "host" in facts else "client"


def _open_embedded(url: str | None) -> EmbeddedServer:
    from circman_redis import embedded  # noqa: PLC0415 - only those who use it need what it needs

    return embedded.open_server(named_folder(url))
