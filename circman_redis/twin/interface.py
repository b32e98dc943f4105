"""What a person looks at a twin with, and tells it what to do by."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar, overload

from circman_redis.aio import AsyncStateManager
from circman_redis.driver import drive, drive_async
from circman_redis.errors import CircmanError, UsageError
from circman_redis.frozen import thaw
from circman_redis.manager import StateManager
from circman_redis.mirror import AsyncMirror, Mirror
from circman_redis.results import HistoryEntry, State
from circman_redis.shown import shown
from circman_redis.twin import commands
from circman_redis.twin.commands import CommandResult, Flow, sentence, without_secrets
from circman_redis.twin.kpis import Kpis, kpis_of

log = logging.getLogger("circman_redis.twin")

T = TypeVar("T")

RECENT = 100
"""Commits that the key figures are of, unless a call says otherwise."""


class Twin(Protocol):
    """What has a state manager, such as a `DigitalTwin`."""

    @property
    def state_manager(self) -> StateManager:
        """The manager."""


class AsyncTwin(Protocol):
    """What has an asynchronous one."""

    @property
    def state_manager(self) -> AsyncStateManager:
        """The manager."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an interface works on: a manager, a mirror, or both. It is the flows that both kinds of interface share."""

    mirror: Mirror | AsyncMirror | None
    manager: StateManager | AsyncStateManager | None

    @classmethod
    def of(cls, twin: object, manager: object) -> Self:
        mirror = _inner(twin)
        if not isinstance(mirror, Mirror | AsyncMirror):
            if manager is not None:
                raise UsageError("manager=...: it is for what a mirror cannot do; leave it out")
            return cls(None, _manager("twin", twin))
        behind = None if manager is None else _manager("manager", manager)
        if behind is not None and behind.twin != mirror.twin:
            raise UsageError(f"the mirror is of twin {mirror.twin!r}, the manager of {behind.twin!r}: use one twin's")
        return cls(mirror, behind)

    @property
    def is_async(self) -> bool:
        return isinstance(self.mirror if self.manager is None else self.manager, AsyncStateManager | AsyncMirror)

    @property
    def twin(self) -> str:
        if self.mirror is not None:
            return self.mirror.twin
        return "" if self.manager is None else self.manager.twin

    def current_state(self) -> Flow[State]:
        if self.mirror is not None:
            own: State = thaw(self.mirror.state)
            return own
        state: State = yield lambda manager: manager.get_current_state()
        return state

    def history(self, limit: int | None) -> Flow[list[State]]:
        self._check_manager("has no history")
        states: list[State] = yield lambda manager: manager.get_history(limit)
        return states

    def kpis(self, limit: int | None) -> Flow[Kpis]:
        _check_limit(limit)
        if self.manager is None:
            return kpis_of((yield from self.current_state()))
        commits: list[HistoryEntry] = yield lambda manager: manager.get_commits(limit)
        return kpis_of(commits[0].state if commits else {}, commits)

    def set_target(self, pointer: str, value: Any, operator: str, commit_id: str | None) -> Flow[CommandResult]:
        self._check_manager("is for reading only")
        return (yield from commands.set_target(pointer, value, operator, commit_id))

    def _check_manager(self, why: str) -> None:
        if self.manager is None:
            kind = type(self.mirror).__name__
            raise UsageError(f"twin {self.twin!r}: a mirror {why}: use HumanInterface(<{kind}>, manager=<its manager>)")


def _check_limit(limit: Any) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise UsageError(f"limit={shown(limit)}: use a whole number from 1 on, or None for all commits")


def _inner(twin: Any) -> Any:
    """The manager of what has one; anything else is itself."""
    if isinstance(twin, StateManager | AsyncStateManager | Mirror | AsyncMirror):
        return twin
    return getattr(twin, "state_manager", twin)


def _manager(name: str, given: object) -> StateManager | AsyncStateManager:
    manager = _inner(given)
    if not isinstance(manager, StateManager | AsyncStateManager):
        also = ", a mirror" if name == "twin" else ""
        wanted = f"a StateManager, an AsyncStateManager{also}, or what has one as its state_manager, is wanted"
        raise UsageError(f"{name}={shown(given)}: {wanted}")
    return manager


def _told(error: Exception) -> State:
    """The state that is shown in the place of one that cannot be had; it is logged."""
    said = sentence(error)
    if isinstance(error, CircmanError):
        log.error("the state cannot be shown: %s", said)
    else:  # nobody foresaw it: where it comes from is worth knowing
        trace = without_secrets("".join(traceback.format_exception(error)))
        log.error("the state cannot be shown: %s\n%s", said, trace)
    return {"system_status": "error", "error": said}


class _Interface:
    _parts: _Parts

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of twin {self._parts.twin!r}>"


class HumanInterface(_Interface):
    """A twin for a person: its state, its past, its key figures, and commands that are answered.

    With an `AsyncStateManager`, or an `AsyncMirror` alone, it is an `AsyncHumanInterface`, which is awaited.

    Args:
        twin: a `StateManager`, a `Mirror`, or what has a ``state_manager``, such as a `DigitalTwin`.
        manager: where ``twin`` is a mirror, its manager: for the history, the key figures that need one, and commands.

    Raises:
        UsageError: it is none of these, or the two are of different twins.
    """

    @overload
    def __new__(  # type: ignore[misc]  # what it makes of an asynchronous manager is no HumanInterface
        cls, twin: AsyncStateManager | AsyncMirror | AsyncTwin, *, manager: AsyncStateManager | None = None
    ) -> AsyncHumanInterface: ...
    @overload
    def __new__(cls, twin: StateManager | Mirror | Twin, *, manager: StateManager | None = None) -> Self: ...
    def __new__(cls, twin: Any, *, manager: Any = None) -> Any:
        """An interface of the twin's kind."""
        parts = _Parts.of(twin, manager)
        if parts.is_async:
            return AsyncHumanInterface(twin, manager=manager)
        made = object.__new__(cls)
        made._parts = parts
        return made

    def get_current_state(self) -> State:
        """The state, the caller's own copy; empty before the first commit. It never raises.

        Returns:
            On failure, of whatever kind, ``{"system_status": "error", "error": "<what, in a sentence>"}``; it is
            logged (``circman_redis.twin``). A password in a URL is not said.
        """
        try:
            return self._do(self._parts.current_state())
        except Exception as error:  # noqa: BLE001 - whoever looks at a screen is to be told, whatever it is
            return _told(error)

    def get_history(self, limit: int | None = None) -> list[State]:
        """The past states, oldest first: the most recent ``limit`` of them, or all.

        Raises:
            UsageError: it is a mirror without a manager. The other errors are those of `StateManager.get_history`.
        """
        return self._do(self._parts.history(limit))

    def get_kpis(self, limit: int | None = RECENT) -> Kpis:
        """The key figures, each with its unit; those that the states do not say are None.

        Args:
            limit: how many of the newest commits they are of, from 1 on; None for all. A mirror without a manager has
                its state only.

        Raises:
            UsageError: the limit is none. The other errors are those of `StateManager.get_commits`.
        """
        return self._do(self._parts.kpis(limit))

    def set_target(
        self, pointer: str, value: Any, *, operator: str = "", commit_id: str | None = None
    ) -> CommandResult:
        """Sets the value at a place, with one commit by the operator, and says what was done.

        What is refused, by the rules or by the server, is an answer too. The commit is on the very version that
        ``before`` is of.

        Args:
            pointer: JSON Pointer (RFC 6901). Objects on the way that are not there are made; through an array it leads
                by the index of an item that is there.
            value: any JSON value but null. An object takes the place of the one that stood there.
            operator: who says so, 1 to 128 bytes; required.
            commit_id: of the answer to the same command, where nobody knew whether it was done: it is done once.

        Raises:
            UsageError: the operator is missing or is none, as is the commit id; or it is a mirror without a manager.
        """
        return self._do(self._parts.set_target(pointer, value, operator, commit_id))

    def _do(self, flow: Flow[T]) -> T:
        return drive(flow, lambda ask: ask(self._parts.manager))


class AsyncHumanInterface(_Interface):
    """The same for asyncio: every call is awaited. The docstrings of `HumanInterface` are the long ones.

    Args:
        twin: an `AsyncStateManager`, an `AsyncMirror`, or what has such a ``state_manager``.
        manager: where ``twin`` is a mirror, its manager.

    Raises:
        UsageError: it is none of these, or the two are of different twins.
    """

    def __init__(
        self, twin: AsyncStateManager | AsyncMirror | AsyncTwin, *, manager: AsyncStateManager | None = None
    ) -> None:
        self._parts = _Parts.of(twin, manager)
        if not self._parts.is_async:
            raise UsageError(f"twin={shown(twin)}: it is not asynchronous: use HumanInterface(...)")

    async def get_current_state(self) -> State:
        """The state, the caller's own copy; empty before the first commit. It never raises, unless it is cancelled."""
        try:
            return await self._do(self._parts.current_state())
        except Exception as error:  # noqa: BLE001 - whoever looks at a screen is to be told, whatever it is
            return _told(error)

    async def get_history(self, limit: int | None = None) -> list[State]:
        """The past states, oldest first: the most recent ``limit`` of them, or all."""
        return await self._do(self._parts.history(limit))

    async def get_kpis(self, limit: int | None = RECENT) -> Kpis:
        """The key figures, each with its unit; those that the states do not say are None."""
        return await self._do(self._parts.kpis(limit))

    async def set_target(
        self, pointer: str, value: Any, *, operator: str = "", commit_id: str | None = None
    ) -> CommandResult:
        """Sets the value at a place, with one commit by the operator, and says what was done."""
        return await self._do(self._parts.set_target(pointer, value, operator, commit_id))

    async def _do(self, flow: Flow[T]) -> T:
        return await drive_async(flow, lambda ask: ask(self._parts.manager))
