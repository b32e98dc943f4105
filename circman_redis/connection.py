"""A URL becomes a client of redis-py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from circman_redis.errors import UsageError
from circman_redis.settings import Settings

EMBEDDED = "embedded://"
_TRANSIENT = (RedisConnectionError, RedisTimeoutError, BusyLoadingError)


@dataclass(frozen=True, slots=True)
class Store:
    """A server, and the client that speaks with it.

    Attributes:
        client: bytes in, bytes out.
        name: the server for messages, without its password.
        close: gives back the connections, and the embedded server where it is one.
    """

    client: redis.Redis
    name: str
    close: Callable[[], None]


def identity(url: str | None) -> str:
    """What makes two URLs the same server: the URL without its password; the real folder where it is embedded.

    Raises:
        UsageError: for a URL whose scheme is not known.
    """
    if url is None:
        return EMBEDDED
    parts = urlsplit(url)
    if parts.scheme == "embedded":
        return EMBEDDED + str(_folder(url).resolve())
    if parts.scheme not in {"redis", "rediss", "unix"}:
        known = "redis://host:6379/0, rediss://..., unix:///path or embedded:///folder"
        raise UsageError(f"url {without_password(url)!r}: use {known}")
    return without_password(url)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is not None:
        user = f"{parts.username}@" if parts.username else ""
        url = url.replace(parts.netloc, user + parts.netloc.rpartition("@")[2], 1)
    path, mark, query = url.partition("?")
    options = [one for one in query.split("&") if not one.lower().startswith("password=")]
    return path + (mark if any(options) else "") + "&".join(options)


def connect(settings: Settings) -> Store:
    """The store that the settings name; an embedded server is started where none runs yet.

    Raises:
        UsageError: for a URL that cannot be read.
        EmbeddedUnavailable: where the embedded server cannot be had or started.
    """
    url = settings.redis_url
    if url is None or url.startswith(EMBEDDED):
        return _embedded(url, settings)
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=settings.timeout,
            socket_connect_timeout=settings.timeout,
            retry=_retry(settings),
            health_check_interval=30,
        )
    except ValueError as error:
        raise UsageError(f"url {without_password(url)!r}: {error}") from error
    return Store(client, without_password(url), client.close)


def adopt(client: redis.Redis) -> Store:
    """The store behind a client of the caller's own, who also closes it.

    Raises:
        UsageError: for a client that decodes its replies.
    """
    if client.get_encoder().decode_responses:
        raise UsageError("client: make it without decode_responses=True; replies are read as bytes")
    return Store(client, repr(client.connection_pool), lambda: None)


def _retry(settings: Settings) -> Retry:
    # Safe to send again: every write carries its commit id. Eight times is some six seconds: a server restarts.
    return Retry(ExponentialWithJitterBackoff(cap=2.0, base=0.05), settings.retries, _TRANSIENT)


def _folder(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.netloc + parts.path)
    if not path.startswith("/"):
        raise UsageError(f"url {url!r}: name the folder by its full path, embedded:///some/folder")
    return Path(path)


def _embedded(url: str | None, settings: Settings) -> Store:
    from circman_redis import embedded  # noqa: PLC0415 - only those who use it need what it needs
    from circman_redis._embedded_connection import EmbeddedConnection  # noqa: PLC0415

    folder = None if url is None or url == EMBEDDED else _folder(url)
    server = embedded.open_server(folder)
    pool = redis.ConnectionPool(
        connection_class=EmbeddedConnection,
        server=server,
        socket_timeout=settings.timeout,
        retry=_retry(settings),
    )
    client = redis.Redis(connection_pool=pool)

    def close() -> None:
        client.close()
        pool.disconnect()
        server.close()

    return Store(client, f"embedded server in {server.folder}", close)
