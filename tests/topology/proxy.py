"""A proxy that loses requests and replies, cuts connections and takes its time, with a given chance for each."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Self

from tests.servers import Server
from tests.topology import resp

ONE_WAY = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC"}


@dataclass(frozen=True)
class Faults:
    """What goes wrong, each with its chance from 0 to 1.

    Args:
        drop_request: the server never gets a request.
        drop_reply: the server has done what was asked, and the client never hears of it.
        cut: the connection ends before a request is passed on.
        delay: a request waits for `seconds`.
        then: what becomes of a connection that lost something. TCP loses nothing from the middle: so nothing that
            comes later passes, either. It is cut, or it stays open and is silent, until the client ends it.
        only: the commands that are meant, in capitals; None for all, those that set a connection up included.
    """

    drop_request: float = 0.0
    drop_reply: float = 0.0
    cut: float = 0.0
    delay: float = 0.0
    seconds: float = 0.05
    then: Literal["cut", "silent"] = "cut"
    only: frozenset[str] | None = None

    def meant(self, command: str) -> bool:
        return self.only is None or command in self.only


@dataclass
class Counts:
    """What the proxy did. A drop counts what the chance picked, not what was lost behind it."""

    connections: int = 0
    requests: int = 0
    replies: int = 0
    dropped_requests: int = 0
    dropped_replies: int = 0
    cuts: int = 0
    delays: int = 0


class Lost(ConnectionError):
    """The proxy ends this connection."""


class Proxy:
    """Listens on the loopback and passes on to one server, both ways.

    Args:
        target: a server, by its unix socket, or a host and a port.
        faults: what goes wrong from the start; set the attribute of that name to change it at any time.
        seed: of the dice.
    """

    def __init__(self, target: Server | tuple[str, int], faults: Faults | None = None, *, seed: int = 0) -> None:
        self.target = target
        self.faults = faults or Faults()
        self.counts = Counts()
        self.dice = random.Random(seed)
        self.port = 0
        self.errors: list[Exception] = []  # of our own: what clients and servers do to connections is none
        self._links: set[_Link] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listens = threading.Event()
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._thread.start()
        assert self._listens.wait(30)
        return self

    def stop(self) -> None:
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        assert not self.errors

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def cut_all(self) -> None:
        """Ends every connection, those of subscribers included."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(30)

    async def _cut_all(self) -> None:
        for link in list(self._links):
            self.counts.cuts += 1
            link.end()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._end.wait()
        server.close()
        while self._links:
            for link in list(self._links):
                link.end()
            await asyncio.sleep(0.001)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        try:
            there = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), there)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, Server):
            return await asyncio.open_unix_connection(str(self.target.socket))
        return await asyncio.open_connection(*self.target)

    def hits(self, chance: float) -> bool:
        return chance > 0 and self.dice.random() < chance


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class _Link:
    """One client's connection, and the one to the server that was made for it."""

    proxy: Proxy
    client: Side
    server: Side
    asked: deque[str] = field(default_factory=deque)  # commands whose replies are to come
    through: bool = False  # it subscribes: bytes pass as they are
    deaf: bool = False  # nothing more goes to the server
    mute: bool = False  # nothing more goes to the client

    async def run(self) -> None:
        ways = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.end()
            for way in ways:
                way.cancel()
            ended = await asyncio.gather(*ways, return_exceptions=True)
            self.proxy.errors += [one for one in ended if isinstance(one, Exception)]

    def end(self) -> None:
        self.client[1].transport.abort()
        self.server[1].transport.abort()

    async def _requests(self) -> None:
        """Until the client has gone."""
        buffer = bytearray()
        with suppress(ConnectionError):
            while data := await self.client[0].read(1 << 16):
                buffer += data
                if not self.through:
                    for request in resp.take(buffer, resp.request_end):
                        await self._request(request)
                        if self.through:
                            break
                if self.through:
                    await self._pass(buffer)

    async def _pass(self, buffer: bytearray) -> None:
        self.server[1].write(bytes(buffer))
        buffer.clear()
        await self.server[1].drain()

    async def _request(self, request: bytes) -> None:
        proxy, faults, name = self.proxy, self.proxy.faults, resp.command(request)
        proxy.counts.requests += 1
        if self.deaf or self.mute:
            return
        if name in ONE_WAY:
            self.through = True
        elif faults.meant(name) and await self._goes_wrong(faults):
            return
        self.asked.append(name)
        self.server[1].write(request)
        await self.server[1].drain()

    async def _goes_wrong(self, faults: Faults) -> bool:
        proxy = self.proxy
        if proxy.hits(faults.delay):
            proxy.counts.delays += 1
            await asyncio.sleep(faults.seconds)
        if proxy.hits(faults.cut):
            proxy.counts.cuts += 1
            raise Lost
        if not proxy.hits(faults.drop_request):
            return False
        proxy.counts.dropped_requests += 1
        self.deaf = True
        self._cut_when_answered(faults)
        return True

    def _cut_when_answered(self, faults: Faults) -> None:
        """What was asked before is answered still."""
        if faults.then == "cut" and not self.asked:
            raise Lost

    async def _replies(self) -> None:
        """Until the server has gone."""
        buffer = bytearray()
        with suppress(ConnectionError):
            while data := await self.server[0].read(1 << 16):
                buffer += data
                if self.through:
                    self.client[1].write(bytes(buffer))
                    buffer.clear()
                else:
                    for reply in resp.take(buffer, resp.reply_end):
                        self._reply(reply)
                await self.client[1].drain()
        if self.mute:  # the client is to see nothing, not even the end
            await asyncio.Event().wait()

    def _reply(self, reply: bytes) -> None:
        proxy, faults = self.proxy, self.proxy.faults
        if self.mute:
            return
        if not resp.is_push(reply):
            proxy.counts.replies += 1
            name = self.asked.popleft() if self.asked else ""
            if faults.meant(name) and proxy.hits(faults.drop_reply):
                proxy.counts.dropped_replies += 1
                if faults.then == "cut":
                    raise Lost
                self.mute = True
                return
        self.client[1].write(reply)
        if self.deaf:
            self._cut_when_answered(faults)
