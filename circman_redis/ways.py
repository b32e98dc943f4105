"""The way to one server, or to the one that Sentinels name: pools of connections."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from circman_redis.errors import UsageError
from circman_redis.pool import Pool, SentinelPool, SharedPool, SharedSentinelPool
from circman_redis.retries import NO_ASYNC_RETRY, NO_RETRY
from circman_redis.settings import Settings
from circman_redis.urls import Location, named_folder

if TYPE_CHECKING:
    from circman_redis.embedded import EmbeddedServer

SENTINEL_PATIENCE = 1.0
"""Seconds to wait for a Sentinel at most: there are others."""


class _AnyWay:
    """What both ways know; an embedded server is started where none runs yet."""

    _kind_of_sentinel: ClassVar[type[Any]]
    _no_retry: ClassVar[object]

    def __init__(self, settings: Settings, where: Location) -> None:
        check_replica(settings, where.kind)
        self._where = where
        self._options = options_of(settings, where)
        self._server = _open_embedded(settings.redis_url) if where.kind == "embedded" else None
        self._sentinel: Any = None
        if where.kind == "sentinel":
            options = {**_sentinel_options(self._options, where), "retry": self._no_retry}
            self._sentinel = self._kind_of_sentinel(where.nodes, sentinel_kwargs=options)


class Way(_AnyWay):
    """To one server, or to the one that Sentinels name: makes the pools of connections to it."""

    _kind_of_sentinel = redis.sentinel.Sentinel
    _no_retry = NO_RETRY

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


class AsyncWay(_AnyWay):
    """The same for asyncio. It is made in a thread, for an embedded server may have to be started."""

    _kind_of_sentinel = redis.asyncio.sentinel.Sentinel
    _no_retry = NO_ASYNC_RETRY

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


def options_of(settings: Settings, where: Location) -> dict[str, Any]:
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


def check_replica(settings: Settings, kind: str) -> None:
    """Refuses to read from a replica where nobody knows of one.

    Raises:
        UsageError: the server is neither behind Sentinels nor a cluster.
    """
    if settings.read_from == "replica" and kind != "sentinel":
        raise UsageError("read_from='replica': use the URL of Sentinels or of a cluster, which know the replicas")


def _open_embedded(url: str | None) -> EmbeddedServer:
    from circman_redis import embedded  # noqa: PLC0415 - only those who use it need what it needs

    return embedded.open_server(named_folder(url))
