"""The way from an asyncio manager to its twin: opened with the first call, ended with its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar

from circman_redis.attempts import Unsure
from circman_redis.connection import AsyncStore, connect_async
from circman_redis.driver import AsyncDriver, is_closed
from circman_redis.errors import UsageError
from circman_redis.flows import Flow, Twin
from circman_redis.protocol import Call
from circman_redis.urls import locate

T = TypeVar("T")

_open: dict[AsyncDriver, AsyncGenerator[None, None]] = {}
"""What closes each driver: kept here, as what is forgotten in a loop's last moment would be closed too late."""


class Link:
    """The way to one twin, for the tasks of one event loop; when that has ended, for those of the next.

    Args:
        twin: the twin.
        adopted: a client of the caller's own; without one the settings say where to.
    """

    def __init__(self, twin: Twin, adopted: AsyncStore | None) -> None:
        self._twin = twin
        self._adopted = adopted
        self._unsure = Unsure()
        self._closed = False
        self._wanted: dict[str, int | str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._use_in(None)

    def _use_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._opening = asyncio.Lock()
        self._driver: AsyncDriver | None = None

    @property
    def opened(self) -> bool:
        """Whether the twin's settings are known."""
        return self._driver is not None

    @property
    def place(self) -> str:
        """The server for messages."""
        return self._adopted.name if self._adopted else locate(self._twin.settings.redis_url).name

    @property
    def store(self) -> AsyncStore:
        """The server, once it is open.

        Raises:
            UsageError: it is not.
        """
        store = self._driver.store if self._driver else self._adopted
        if store is None:
            raise UsageError(f"the manager of twin {self._twin.keys.twin!r} is not open yet: await one of its calls")
        return store

    async def run(self, call: Call[T], *, once: bool = False) -> T:
        """One round trip, as `AsyncDriver.run`."""
        driver = await self.ready()
        return await driver.run(call, once=once)

    async def drive(self, flow: Flow[T]) -> T:
        """Runs a flow to its end, as `AsyncDriver.drive`."""
        driver = await self.ready()
        return await driver.drive(flow)

    async def read(self, call: Call[T]) -> T:
        """One round trip of a call that only reads, as `AsyncDriver.read`."""
        driver = await self.ready()
        return await driver.read(call)

    async def drive_reading(self, flow: Flow[T]) -> T:
        """Runs a flow whose calls only read, as `AsyncDriver.drive_reading`."""
        driver = await self.ready()
        return await driver.drive_reading(flow)

    async def drive_alone(self, flow: Flow[T]) -> T:
        """The same, while no other task does this, or opens the twin."""
        driver = await self.ready()
        async with self._opening:
            return await driver.drive(flow)

    def want(self, settings: Mapping[str, int | str]) -> None:
        """Has the next call change them, where the twin's are others."""
        self._wanted.update(settings)

    async def ready(self) -> AsyncDriver:
        """The driver, once the twin is open. Of many tasks one opens it; where that fails, the next one tries.

        Raises:
            UsageError: it is closed, or another event loop uses it.
        """
        self._check()
        if self._driver is None or self._wanted:
            async with self._opening:
                self._check()
                self._driver = self._driver or await self._open()
                await self._change_settings(self._driver)
        return self._driver

    def _check(self) -> None:
        if self._closed:
            raise is_closed(self._twin.keys, AsyncDriver.manager)
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise UsageError(f"twin {self._twin.keys.twin!r}: another event loop uses this manager: make one in each")
        self._use_in(loop)

    async def _open(self) -> AsyncDriver:
        store = self._adopted or await connect_async(self._twin.settings)
        driver = AsyncDriver(store, self._twin.keys, self._unsure)
        self._twin.sharded = store.sharded
        try:
            await driver.drive(self._twin.open())
        except BaseException:
            await driver.close()
            raise
        _open[driver] = _closing_at_the_end(driver)
        await anext(_open[driver])
        return driver

    async def _change_settings(self, driver: AsyncDriver) -> None:
        wanted = dict(self._wanted)
        if wanted:
            await driver.drive(self._twin.want(wanted))
            # Others may have been asked for meanwhile.
            self._wanted = {name: new for name, new in self._wanted.items() if new != wanted.get(name)}

    async def close(self) -> None:
        """Gives back the connections; a second time it does nothing. Called from elsewhere, its loop's end does."""
        self._closed = True
        if self._loop is asyncio.get_running_loop():
            async with self._opening:
                if self._driver in _open:
                    await _open[self._driver].aclose()


async def _closing_at_the_end(driver: AsyncDriver) -> AsyncGenerator[None, None]:
    """Closes the driver when it is closed itself: by `Link.close`, or by the event loop as that ends (PEP 525)."""
    try:
        yield
    finally:
        _open.pop(driver, None)
        await driver.close()
