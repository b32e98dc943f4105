"""The connection to an embedded server: it brings back a server that has gone. Apart, as it imports redis."""

from __future__ import annotations

import socket
from typing import Any

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
