"""A URL becomes a client of redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit
from weakref import WeakSet

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.asyncio.client import PubSub as AsyncPubSub
from redis.client import PubSub

from circman_redis.errors import UsageError
from circman_redis.pool import Pool, SharedPool
from circman_redis.retries import NO_ASYNC_RETRY, NO_RETRY, async_retry_of, retry_of
from circman_redis.sending import AsyncSender, Sender
from circman_redis.settings import Settings

if TYPE_CHECKING:
    from circman_redis.embedded import EmbeddedServer


EMBEDDED = "embedded://"


@dataclass(frozen=True, slots=True)
class Store:
    """A server, and the client that speaks with it.

    Attributes:
        client: bytes in, bytes out.
        name: the server for messages, without its password.
        close: gives back the connections, and the embedded server where it is one.
        pubsub: makes a listener, on a connection of its own that is not made again by itself.
        send: sends a command, its name first, and returns its reply.
        retry: how it is sent again.
    """

    client: redis.Redis
    name: str
    close: Callable[[], None]
    pubsub: Callable[[], PubSub]
    send: Callable[..., Any]
    retry: redis.retry.Retry

    @property
    def db(self) -> int:
        """The number of the database."""
        return _database(self.client)


@dataclass(frozen=True, slots=True)
class AsyncStore:
    """The same for the tasks of one event loop."""

    client: redis.asyncio.Redis
    name: str
    close: Callable[[], Awaitable[None]]
    pubsub: Callable[[], AsyncPubSub]
    send: Callable[..., Awaitable[Any]]
    retry: redis.asyncio.retry.Retry

    @property
    def db(self) -> int:
        """The number of the database."""
        return _database(self.client)


def identity(url: str | None) -> str:
    """What makes two URLs the same server, however they are spelled: no password, no defaults left out.

    Raises:
        UsageError: for a URL that cannot be read, or whose scheme is not known.
    """
    if url is None or url.startswith(EMBEDDED):
        return EMBEDDED + str(_embedded_folder(url))
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        # Without the reason, which shows a part of what stands in the place of the host: maybe of a password.
        advice = "it cannot be read; in a password write / as %2F, # as %23, ? as %3F, @ as %40, [ as %5B"
        raise UsageError(f"url {without_password(url)!r}: {advice}") from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        known = "redis://host:6379/0, rediss://..., unix:///path or embedded:///folder"
        raise UsageError(f"url {without_password(url)!r}: use {known}")
    options = dict(parse_qsl(parts.query))
    options.pop("password", None)
    path = parts.path if parts.scheme == "unix" else ""
    database = options.pop("db", "" if path else parts.path.strip("/")) or "0"
    place = path or f"{parts.hostname or 'localhost'}:{port}"
    more = "".join(f"&{name}={value}" for name, value in sorted(options.items()))
    return f"{parts.scheme}://{parts.username or ''}@{place}?db={database}{more}"


def without_password(url: str) -> str:
    """The URL as it may be shown.

    A password that was not percent-encoded may hold any character: all before the last @ is taken for its.
    """
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    if scheme not in {"unix", "embedded"} or not rest.startswith("/"):
        credentials, at, rest = rest.rpartition("@")
        user = credentials.partition(":")[0]
        rest = f"{user}@{rest}" if at and user else rest
    path, question, query = rest.partition("?")
    options = [one for one in query.split("&") if not one.lower().startswith("password=")]
    return scheme + mark + path + (question if any(options) else "") + "&".join(options)


def place(url: str | None) -> str:
    """What a server is called in messages."""
    if url is None or url.startswith(EMBEDDED):
        return f"embedded server in {_embedded_folder(url)}"
    return without_password(url)


def connect(settings: Settings) -> Store:
    """The store that the settings name; an embedded server is started where none runs yet.

    Raises:
        UsageError: for a URL that cannot be read.
        EmbeddedUnavailable: where the embedded server cannot be had or started.
    """
    server = _open_embedded(settings.redis_url)
    pool = partial(_pool, redis.ConnectionPool, settings, server)
    client = redis.Redis.from_pool(pool(retry_of(settings.retries)))
    sender = Sender(client)

    def close() -> None:
        sender.close()
        client.close()
        if server:
            server.close()

    def pubsub() -> PubSub:
        return PubSub(pool(NO_RETRY, health_check_interval=0), push_handler_func=_as_it_is)

    return Store(client, place(settings.redis_url), close, pubsub, sender, retry_of(settings.retries))


async def connect_async(settings: Settings) -> AsyncStore:
    """The same for asyncio."""
    server = await asyncio.to_thread(_open_embedded, settings.redis_url)
    client = redis.asyncio.Redis.from_pool(_pool(SharedPool, settings, server, async_retry_of(settings.retries)))
    listening: WeakSet[AsyncPubSub] = WeakSet()

    async def close() -> None:
        with suppress(redis.RedisError):  # of a server that does not answer any more
            await asyncio.gather(client.aclose(), *(one.aclose() for one in listening))  # type: ignore[no-untyped-call]
        if server:
            server.close()

    def pubsub() -> AsyncPubSub:
        pool = _pool(Pool, settings, server, NO_ASYNC_RETRY, health_check_interval=0)
        listening.add(one := AsyncPubSub(pool, push_handler_func=_as_it_is_async))
        return one

    retry = async_retry_of(settings.retries)
    return AsyncStore(client, place(settings.redis_url), close, pubsub, AsyncSender(client), retry)


def _as_it_is(message: Any) -> Any:
    """Without this, redis-py writes each message out for its log, wanted or not."""
    return message


async def _as_it_is_async(message: Any) -> Any:
    return message


def adopt(client: redis.Redis) -> Store:
    """The store behind a client of the caller's own, who also closes it.

    Raises:
        UsageError: for a client that decodes its replies.
    """
    _check_client(client, redis.Redis)
    sender = Sender(client, keeps=False)
    # Its retries as it has them, but ours to make: it would send a commit again as if for the first time.
    retry = copy(client.get_retry()) or NO_RETRY
    return Store(client, _place_of(client), lambda: None, client.pubsub, sender, retry)


def adopt_async(client: redis.asyncio.Redis) -> AsyncStore:
    """The same for asyncio."""
    _check_client(client, redis.asyncio.Redis)

    async def close() -> None:
        pass

    retry = copy(client.get_retry()) or NO_ASYNC_RETRY
    return AsyncStore(client, _place_of(client), close, client.pubsub, AsyncSender(client), retry)


def _check_client(client: Any, kind: type[Any]) -> None:
    if not isinstance(client, kind):
        module = kind.__module__.removesuffix(".client")
        raise UsageError(f"client={client!r}: wanted a {module}.{kind.__name__}")
    if client.get_encoder().decode_responses:
        raise UsageError("client: make it without decode_responses=True; replies are read as bytes")


def _pool(kind: type[Any], settings: Settings, server: EmbeddedServer | None, retry: object, **forced: Any) -> Any:
    """Connections to the server that the settings name; ``forced`` is what the URL cannot change."""
    options = {
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
        "retry": retry,
        "health_check_interval": 30,
    }
    if server:
        from circman_redis import _embedded_connection as kinds  # noqa: PLC0415 - only those who use it need it

        is_async = issubclass(kind, Pool)
        connection_class = kinds.AsyncEmbeddedConnection if is_async else kinds.EmbeddedConnection
        return kind(connection_class=connection_class, server=server, **{**options, **forced})
    url = settings.redis_url or ""
    try:
        pool = kind.from_url(url, **options)
        pool.connection_kwargs.update(forced)
        # Not connected yet: only to meet options that no connection takes.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError) as error:
        raise UsageError(f"url {without_password(url)!r}: {error}") from error
    if pool.get_encoder().decode_responses:
        raise UsageError(f"url {without_password(url)!r}: without decode_responses; replies are read as bytes")
    return pool


def _database(client: redis.Redis | redis.asyncio.Redis) -> int:
    return int(client.connection_pool.connection_kwargs.get("db", 0))


def _place_of(client: redis.Redis | redis.asyncio.Redis) -> str:
    """The same for a client of the caller's own."""
    facts = client.connection_pool.connection_kwargs
    if "path" in facts:
        return f"unix://{facts['path']}"
    return f"redis://{facts['host']}:{facts.get('port', 6379)}/{facts.get('db', 0)}" if "host" in facts else "client"


def _open_embedded(url: str | None) -> EmbeddedServer | None:
    """A use of the embedded server, where the URL names one."""
    if url is not None and not url.startswith(EMBEDDED):
        return None
    from circman_redis import embedded  # noqa: PLC0415 - only those who use it need what it needs

    return embedded.open_server(None if url is None or url == EMBEDDED else _folder(url))


def _embedded_folder(url: str | None) -> Path:
    """The real folder of an embedded server."""
    if url is None or url == EMBEDDED:
        from circman_redis._embedded_folder import default_folder  # noqa: PLC0415 - needs what only the extra brings

        return default_folder().resolve()
    return _folder(url).resolve()


def _folder(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.netloc + parts.path)
    if not path.startswith("/"):
        raise UsageError(f"url {url!r}: name the folder by its full path, embedded:///some/folder")
    return Path(path)
