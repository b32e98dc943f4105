"""Connections to an embedded server: they bring back a server that has gone. Apart, as they import redis."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from redis.asyncio.connection import UnixDomainSocketConnection as AsyncUnixDomainSocketConnection
from redis.connection import UnixDomainSocketConnection

from circman_redis.embedded import EmbeddedServer


class EmbeddedConnection(UnixDomainSocketConnection):
    """A connection for redis-py's pools, to the embedded server that it is given.

    Args:
        server: the use of the server; it has to stay open for as long as the connection's pool is used.
        kwargs: as for any connection of redis-py, without ``path``.
    """

    def __init__(self, *, server: EmbeddedServer, **kwargs: Any) -> None:
        self._server = server
        super().__init__(path=str(server.socket_path), **kwargs)  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        self._server.ready()
        return super()._connect()  # type: ignore[no-untyped-call, no-any-return]


class AsyncEmbeddedConnection(AsyncUnixDomainSocketConnection):
    """The same for redis.asyncio; to see to the server is left to a thread."""

    def __init__(self, *, server: EmbeddedServer, **kwargs: Any) -> None:
        self._server = server
        super().__init__(path=str(server.socket_path), **kwargs)

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connects where it is not. Here, as redis-py takes whatever _connect() raises for a lost connection."""
        if not self.is_connected:
            await asyncio.to_thread(self._server.ready)
        await super().connect_check_health(check_health, retry_socket_connect)
