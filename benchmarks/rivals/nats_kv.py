"""NATS JetStream key-value: read, merge in Python, write if nobody was faster (revision check). A watcher is told."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson

from benchmarks.documents import JSONObject
from benchmarks.rivals import NotInstalledError, merged
from benchmarks.rivals.processes import Process

T = TypeVar("T")

MOST_HISTORY = 64
"""Old values per key: NATS keeps no more."""

_CONFIG = """
listen: "127.0.0.1:{port}"
max_payload: 8MB
jetstream {{ store_dir: "{folder}" }}
"""


class NatsKeyValue:
    """nats-server on the loopback (it has no unix sockets), its stream in memory."""

    name = "NATS JetStream KV"

    def __init__(self) -> None:
        self._process: Process | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None

    def open(self) -> None:
        """Starts a server."""
        binary = shutil.which("nats-server")
        if binary is None:
            raise NotInstalledError("nats-server is not on the PATH")
        try:
            import nats  # noqa: PLC0415 - may be missing
        except ImportError:
            raise NotInstalledError("nats-py is missing: pip install nats-py") from None
        port = _free_port()
        self._process = Process()
        config = self._process.folder / "config"
        config.write_text(_CONFIG.format(port=port, folder=self._process.folder))
        self._process.start([binary, "-c", config], lambda: _listens(port))
        self._loop = asyncio.new_event_loop()
        self._client = self._wait(nats.connect(f"nats://127.0.0.1:{port}"))
        self._bucket = self._wait(self._make_bucket())

    async def _make_bucket(self) -> Any:
        from nats.js.api import KeyValueConfig, StorageType  # noqa: PLC0415 - may be missing

        config = KeyValueConfig(bucket="twins", history=MOST_HISTORY, storage=StorageType.MEMORY)
        return await self._client.jetstream().create_key_value(config=config)

    def close(self) -> None:
        """Ends the server."""
        if self._client is not None:
            self._wait(self._client.close())
        if self._loop is not None:
            self._loop.close()
        if self._process is not None:
            self._process.stop()

    def put(self, document: JSONObject) -> None:
        """Sets the state."""
        self._wait(self._bucket.put("state", orjson.dumps(document)))

    def apply(self, patch: JSONObject) -> None:
        """Tries until nobody was faster."""
        self._wait(self._apply(patch))

    async def _apply(self, patch: JSONObject) -> None:
        from nats.js.errors import KeyWrongLastSequenceError  # noqa: PLC0415 - may be missing

        while True:
            entry = await self._bucket.get("state")
            after = orjson.dumps(merged(orjson.loads(entry.value), patch))
            try:
                await self._bucket.update("state", after, last=entry.revision)
            except KeyWrongLastSequenceError:
                continue
            return

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return self._loop.run_until_complete(work)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
