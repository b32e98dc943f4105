"""A role that one worker at a time has, such as the simulation: a lease with a fencing token.

The lease ends by itself when its holder does. A holder that was only paused wakes up and does not know: so each of its
commits carries the token, and the commit script refuses one that is not the newest.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from circman_redis import fencing, protocol
from circman_redis.errors import CircmanError, LeaseLost, UsageError
from circman_redis.manager import StateManager
from circman_redis.shown import shown

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
    found = manager.run(protocol.leases(manager.keys))
    return [Holder(role, one["holder"], one["token"], one["until"]) for role, one in sorted(found.items())]


class Lease:
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
        if not 0.001 <= ttl <= 86_400:  # noqa: PLR2004 - a millisecond to a day
            raise UsageError(f"ttl={shown(ttl)}: use 0.001 to 86400 seconds")
        self._manager, self.role, self.holder, self.ttl = manager, role, holder, ttl
        self.token = ""
        self._stack = ExitStack()
        self._over = threading.Event()
        self._lost = threading.Event()

    @property
    def held(self) -> bool:
        """Whether this is the holder, as far as it knows."""
        return bool(self.token) and not self._lost.is_set()

    def take(self, timeout: float | None = 0.0) -> bool:
        """Takes the role, or waits until it is free.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Returns:
            Whether it was taken.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._take():
            left = self.ttl / _TRIES_PER_LEASE if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, self.ttl / _TRIES_PER_LEASE))
        return True

    def _take(self) -> bool:
        done, token, _, _ = self._call("take")
        if done:
            self.token = token
            self._lost.clear()
        return done

    def keep(self) -> None:
        """Has the role for another ``ttl`` seconds.

        Raises:
            LeaseLost: another has it now.
        """
        done, _, holder, _ = self._call("keep")
        if not done:
            self._lost.set()
            whose = f"{holder!r} has it now" if holder else "it was given back, or never given"
            place = f"twin {self._manager.twin!r}: the role {self.role!r}"
            raise LeaseLost(f"{place} is not {self.holder!r}'s any more, {whose}: take it anew before going on")

    def release(self) -> None:
        """Gives the role back, where it is still held."""
        if self.token:
            self._call("release")
            self.token = ""

    def _call(self, action: str) -> tuple[bool, str, str, int]:
        milliseconds = max(round(self.ttl * 1000), 1)
        token = "" if action == "take" else self.token or "0"
        keys = self._manager.keys
        return self._manager.run(
            protocol.lease(keys, action, self.role, self.holder, milliseconds=milliseconds, token=token)
        )

    def __enter__(self) -> Self:
        self.take(timeout=None)
        self._over.clear()
        keeper = threading.Thread(target=self._keep_on, name=f"lease {self.role}", daemon=True)
        keeper.start()
        self._stack.callback(self._give_back)
        self._stack.callback(keeper.join)
        self._stack.callback(self._over.set)
        self._stack.enter_context(fencing.committing_as(self._manager.keys, self.role, self.token))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _give_back(self) -> None:
        try:
            self.release()
        except CircmanError as error:  # it ends by itself, and the block's own error is the one to see
            log.warning("the role %r could not be given back: %s", self.role, error)

    def _keep_on(self) -> None:
        while not self._over.wait(self.ttl / _TRIES_PER_LEASE):
            try:
                self.keep()
            except LeaseLost as error:
                log.warning("%s", error)
                return
            except CircmanError as error:  # once more: the commits say it, where the role is lost
                log.warning("the role %r could not be kept, trying again: %s", self.role, error)
