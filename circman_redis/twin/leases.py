"""A role that one worker at a time has, such as the simulation: a lease with a fencing token.

The lease ends by itself when its holder does. A holder that was only paused wakes up and does not know: so each of its
commits carries the token, and the commit script refuses one that is not the newest.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeAlias, TypeVar

from circman_redis import fencing, protocol
from circman_redis.aio import AsyncStateManager
from circman_redis.driver import drive, drive_async
from circman_redis.errors import CircmanError, LeaseLost, UsageError
from circman_redis.manager import StateManager
from circman_redis.protocol import Call
from circman_redis.results import State
from circman_redis.shown import shown

T = TypeVar("T")
M = TypeVar("M", StateManager, AsyncStateManager)

_Answer: TypeAlias = tuple[bool, str, str, int]
_Step: TypeAlias = Call[Any] | float
_Steps: TypeAlias = Generator[_Step, Any, T]

log = logging.getLogger("circman_redis")

_TRIES_PER_LEASE = 3  # at keeping it, before it ends


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a role.

    Attributes:
        role: which.
        holder: the worker; empty where it was given back.
        token: the fencing token; it rises with each time that the role is given.
        until: when it ends, unless it is kept (ISO 8601, the server's clock).
    """

    role: str
    holder: str
    token: int
    until: str


def holders(manager: StateManager) -> list[Holder]:
    """Who has which role, or had it last; by role."""
    return _holders(manager.run(protocol.leases(manager.keys)))


async def async_holders(manager: AsyncStateManager) -> list[Holder]:
    """Who has which role, or had it last; by role."""
    return _holders(await manager.run(protocol.leases(manager.keys)))


def _holders(found: dict[str, State]) -> list[Holder]:
    return [Holder(role, one["holder"], one["token"], one["until"]) for role, one in sorted(found.items())]


class _Lease(Generic[M]):
    """What both kinds of lease are made of: all that does not wait. Steps are calls, and seconds to wait."""

    def __init__(self, manager: M, role: str, holder: str, ttl: float) -> None:
        if not 0.001 <= ttl <= 86_400:  # noqa: PLR2004 - a millisecond to a day
            raise UsageError(f"ttl={shown(ttl)}: use 0.001 to 86400 seconds")
        self._manager: M = manager
        self.role, self.holder, self.ttl = role, holder, ttl
        self.token = ""
        self._is_lost = False

    @property
    def held(self) -> bool:
        """Whether this is the holder, as far as it knows."""
        return bool(self.token) and not self._is_lost

    def _request(self, action: str) -> Call[_Answer]:
        milliseconds = max(round(self.ttl * 1000), 1)
        token = "" if action == "take" else self.token or "0"
        keys = self._manager.keys
        return protocol.lease(keys, action, self.role, self.holder, milliseconds=milliseconds, token=token)

    def _taking(self, timeout: float | None) -> _Steps[bool]:
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = self.ttl / _TRIES_PER_LEASE
        while True:
            done, token, _, _ = yield self._request("take")
            if done:
                self.token, self._is_lost = token, False
                return True
            left = pause if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            yield min(left, pause)

    def _keep(self) -> _Steps[None]:
        done, _, holder, _ = yield self._request("keep")
        if not done:
            self._is_lost = True
            whose = f"{holder!r} has it now" if holder else "it was given back, or never given"
            place = f"twin {self._manager.twin!r}: the role {self.role!r}"
            raise LeaseLost(f"{place} is not {self.holder!r}'s any more, {whose}: take it anew before going on")

    def _release(self) -> _Steps[None]:
        if self.token:
            yield self._request("release")
            self.token = ""

    def _keeping(self) -> _Steps[None]:
        """Keeps the role until a wait says that it is over."""
        while not (yield self.ttl / _TRIES_PER_LEASE):
            try:
                yield from self._keep()
            except LeaseLost as error:
                log.warning("%s", error)
                return
            except CircmanError as error:  # once more: the commits say it, where the role is lost
                log.warning("the role %r could not be kept, trying again: %s", self.role, error)

    def _giving_back(self) -> _Steps[None]:
        try:
            yield from self._release()
        except CircmanError as error:  # it ends by itself, and the block's own error is the one to see
            log.warning("the role %r could not be given back: %s", self.role, error)


class Lease(_Lease[StateManager]):
    """A role on a twin, for one worker at a time; as a context manager it is waited for, kept, and given back.

    Within the block, what the block's thread commits to the twin is committed in the role.

    Args:
        manager: the twin's.
        role: 1 to 64 of ``A-Z a-z 0-9 _ . : -``.
        holder: who wants it, 1 to 128 of the same. Whoever says the same name takes the role over from itself.
        ttl: seconds without a word after which the role is free for others.

    Raises:
        UsageError: a ttl that is no time.
    """

    def __init__(self, manager: StateManager, role: str, holder: str, *, ttl: float = 10.0) -> None:
        super().__init__(manager, role, holder, ttl)
        self._stack = ExitStack()
        self._over = threading.Event()

    def take(self, timeout: float | None = 0.0) -> bool:
        """Takes the role, or waits until it is free.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Returns:
            Whether it was taken.

        Raises:
            StoreError: the server, or the way to it, is at fault.
        """
        return drive(self._taking(timeout), self._do)

    def keep(self) -> None:
        """Has the role for another ``ttl`` seconds.

        Raises:
            LeaseLost: another has it now.
        """
        drive(self._keep(), self._do)

    def release(self) -> None:
        """Gives the role back, where it is still held."""
        drive(self._release(), self._do)

    def _do(self, step: _Step) -> Any:
        return self._manager.run(step) if isinstance(step, Call) else time.sleep(step)

    def _do_until_over(self, step: _Step) -> Any:
        return self._manager.run(step) if isinstance(step, Call) else self._over.wait(step)

    @contextmanager
    def kept(self) -> Iterator[Self]:
        """As the lease's own block, for a role that was taken already: it is not waited for, whoever has it by now."""
        self._hold()
        try:
            yield self
        finally:
            self._stack.close()

    def __enter__(self) -> Self:
        self.take(timeout=None)
        self._hold()
        return self

    def _hold(self) -> None:
        self._over.clear()
        work = (self._keeping(), self._do_until_over)
        keeper = threading.Thread(target=drive, args=work, name=f"lease {self.role}", daemon=True)
        keeper.start()
        self._stack.callback(drive, self._giving_back(), self._do)
        self._stack.callback(keeper.join)
        self._stack.callback(self._over.set)
        self._stack.enter_context(fencing.committing_as(self._manager.keys, self.role, self.token))

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class AsyncLease(_Lease[AsyncStateManager]):
    """The same for the tasks of an event loop.

    Within the block, what its task commits to the twin is committed in the role; so is what tasks commit
    that are made there.

    Args:
        manager: this argument and the others are those of `Lease`.
    """

    def __init__(self, manager: AsyncStateManager, role: str, holder: str, *, ttl: float = 10.0) -> None:
        super().__init__(manager, role, holder, ttl)
        self._stack = AsyncExitStack()
        self._over = asyncio.Event()

    async def take(self, timeout: float | None = 0.0) -> bool:
        """Takes the role, or waits until it is free, as `Lease.take`."""
        return await drive_async(self._taking(timeout), self._do)

    async def keep(self) -> None:
        """Has the role for another ``ttl`` seconds, as `Lease.keep`."""
        await drive_async(self._keep(), self._do)

    async def release(self) -> None:
        """Gives the role back, where it is still held."""
        await drive_async(self._release(), self._do)

    async def _do(self, step: _Step) -> Any:
        return await (self._manager.run(step) if isinstance(step, Call) else asyncio.sleep(step))

    async def _do_until_over(self, step: _Step) -> Any:
        if isinstance(step, Call):
            return await self._manager.run(step)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), step)
        return self._over.is_set()

    async def __aenter__(self) -> Self:
        await self.take(timeout=None)
        self._over = asyncio.Event()  # of this loop
        keeper = asyncio.create_task(drive_async(self._keeping(), self._do_until_over), name=f"lease {self.role}")
        self._stack.push_async_callback(drive_async, self._giving_back(), self._do)
        self._stack.push_async_callback(asyncio.wait, [keeper])
        self._stack.callback(self._over.set)
        self._stack.enter_context(fencing.committing_as(self._manager.keys, self.role, self.token))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
