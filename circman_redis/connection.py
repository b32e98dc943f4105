"""A URL becomes a client of redis-py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from circman_redis.errors import UsageError
from circman_redis.settings import Settings

T = TypeVar("T")

EMBEDDED = "embedded://"
_TRANSIENT = (RedisConnectionError, RedisTimeoutError, BusyLoadingError)


@dataclass(frozen=True, slots=True)
class Store:
    """A server, and the client that speaks with it.

    Attributes:
        client: bytes in, bytes out.
        name: the server for messages, without its password.
        close: gives back the connections, and the embedded server where it is one.
        retry: how a commit is sent again; None where that is left to the client.
    """

    client: redis.Redis
    name: str
    close: Callable[[], None]
    retry: Retry | None = None


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
        # Not connected yet: only to meet options that no connection takes.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (ValueError, TypeError) as error:
        raise UsageError(f"url {without_password(url)!r}: {error}") from error
    return Store(client, without_password(url), client.close, _retry(settings))


def adopt(client: redis.Redis) -> Store:
    """The store behind a client of the caller's own, who also closes it.

    Raises:
        UsageError: for a client that decodes its replies.
    """
    if not isinstance(client, redis.Redis):
        raise UsageError(f"client={client!r}: wanted a redis.Redis")
    if client.get_encoder().decode_responses:
        raise UsageError("client: make it without decode_responses=True; replies are read as bytes")
    return Store(client, _place(client), lambda: None)


def _place(client: redis.Redis) -> str:
    facts = client.connection_pool.connection_kwargs
    if "path" in facts:
        return f"unix://{facts['path']}"
    return f"redis://{facts['host']}:{facts.get('port', 6379)}/{facts.get('db', 0)}" if "host" in facts else "client"


class _Depth(threading.local):
    value = 0


_depth = _Depth()


@contextmanager
def one_try() -> Iterator[None]:
    """Whatever this thread sends within is sent once: somebody above sees to it being sent again."""
    _depth.value += 1
    try:
        yield
    finally:
        _depth.value -= 1


class _Retry(Retry):
    """redis-py's, but a wrong password does not get better, and retries within retries multiply."""

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        within = _depth.value > 0

        def is_worth_it(error: Exception) -> bool:
            hopeless = isinstance(error, AuthenticationError | AuthorizationError)
            return not hopeless and (is_retryable is None or is_retryable(error))

        def once() -> T:
            with one_try():
                return do()

        if not within:
            return super().call_with_retry(once, fail, is_worth_it, with_failure_count)
        try:
            return do()
        except self._supported_errors as error:
            fail(error, 1) if with_failure_count else fail(error)
            raise


def _retry(settings: Settings) -> _Retry:
    # Safe to send again: every write carries its commit id. Eight times is some six seconds: a server restarts.
    return _Retry(ExponentialWithJitterBackoff(cap=2.0, base=0.05), settings.retries, _TRANSIENT)


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

    return Store(client, f"embedded server in {server.folder}", close, _retry(settings))
