"""The open managers of this process, one per twin; and what the two kinds of manager have in common."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self, TypeVar

from pydantic import BaseModel

from circman_redis import files
from circman_redis.codec import JSONText, pretty
from circman_redis.errors import UsageError
from circman_redis.flows import Twin
from circman_redis.keys import TwinKeys
from circman_redis.models import TwinState
from circman_redis.results import StoredConfig
from circman_redis.settings import ARGUMENTS, Settings
from circman_redis.urls import identity

F = TypeVar("F", bound="Follower")

_FIXED = (
    *("validation", "actor", "max_bytes", "auto_timestamp", "results_dir", "timeout", "retries", "durability"),
    *("read_from", "allow_eviction", "username", "ca_file", "cert_file", "key_file"),
)
"""What a manager that is open already cannot be asked to have otherwise."""

Loop = asyncio.AbstractEventLoop
Key = tuple[Loop | None, str, str, str]

_managers: dict[Key, Manager] = {}
_lock = threading.RLock()
_opening: dict[Key, threading.RLock] = {}  # one per twin: a server that is slow holds up nobody else


def _fresh_lock_in_child() -> None:
    # Another thread may have held it at the fork; redis-py's pools see to their connections themselves.
    global _lock  # noqa: PLW0603 - a lock that nobody can release is replaced
    _lock = threading.RLock()
    _opening.clear()


os.register_at_fork(after_in_child=_fresh_lock_in_child)


def alone(key: Key) -> threading.RLock:
    """The lock of those who open, or change, what there is one of."""
    with _lock:
        return _opening.setdefault(key, threading.RLock())


def running_loop() -> Loop | None:
    """The event loop that this thread runs in, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _forget_ended_loops() -> None:
    for table in (_managers, _opening):
        for key in list(table):
            if key[0] is not None and key[0].is_closed():
                table.pop(key, None)


@dataclass(slots=True)
class Asked:
    """The arguments that a manager is asked for with; they are documented there."""

    twin: str | None
    url: str | None
    model: type[BaseModel] | None
    history_length: int | None
    history: str | None
    validation: str | None
    actor: str | None
    prefix: str | None
    max_bytes: int | None
    auto_timestamp: bool | None
    results: files.ResultsManager | str | Path | None
    timeout: float | None
    retries: int | None
    durability: str | None
    read_from: str | None
    allow_eviction: bool | None
    username: str | None
    password: str | None = field(repr=False)
    password_file: str | Path | None
    ca_file: str | Path | None
    cert_file: str | Path | None
    key_file: str | Path | None
    client: Any
    first_model: type[BaseModel] = field(init=False, default=TwinState)
    given: dict[str, Any] = field(init=False, repr=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.given = {name: getattr(self, ARGUMENTS.get(name, name)) for name in Settings.model_fields}
        if not isinstance(self.results, str | Path):
            self.given["results_dir"] = None
        self.settings = Settings.from_arguments(**self.given)
        if self.url is not None and self.client is not None:
            raise UsageError("url and client: give one of them")
        if self.results is not None and not isinstance(self.results, str | Path | files.ResultsManager):
            raise UsageError(f"results={self.results!r}: wanted a folder, or an object with a folder()")

    @classmethod
    def of(cls, names: Mapping[str, Any]) -> Self:
        """Those among the local names of a constructor."""
        return cls(**{one.name: names[one.name] for one in fields(cls) if one.init})

    def key(self, loop: Loop | None) -> Key:
        """What there is one manager of."""
        server = identity(self.settings.redis_url) if self.client is None else f"client {id(self.client)}"
        return loop, server, self.settings.prefix, self.settings.twin

    @property
    def changes(self) -> dict[str, int | str]:
        """The settings that an argument, not the environment, has changed on a twin that is open already."""
        asked_for = [name for name in ("history_length", "history") if self.given[name] is not None]
        return {name: getattr(self.settings, name) for name in asked_for}

    @property
    def folder(self) -> files.ResultsManager:
        """Where exports go."""
        if self.results is None or isinstance(self.results, str | Path):
            return files.ResultsFolder(self.settings.results_dir)
        return self.results


class Follower(Protocol):
    """What is closed with its manager."""

    def stop(self) -> None:
        """Has it end, without waiting for that."""


class Manager(ABC):
    """What a manager does without waiting for a server."""

    _key: Key
    _asked: Asked
    _twin: Twin
    _results: files.ResultsManager
    _users: int
    _followers: weakref.WeakSet[Any]
    _is_over: bool = False

    @classmethod
    def _only_one(cls, asked: Asked, loop: Loop | None) -> Self:
        """The manager that there is, asked for once more, or a new one."""
        if loop:
            _forget_ended_loops()
        key = asked.key(loop)
        with alone(key):
            known = _managers.get(key)
            if isinstance(known, cls):
                known._ask_again(asked)
                known._users += 1
                return known
            manager = cls._new(asked, key)
            _managers[key] = manager
            return manager

    @classmethod
    def _new(cls, asked: Asked, key: Key) -> Self:
        manager = object.__new__(cls)
        manager._key, manager._users, manager._followers = key, 1, weakref.WeakSet()
        manager._asked = asked
        keys = TwinKeys(asked.settings.twin, asked.settings.prefix)
        manager._twin = Twin(keys, asked.settings, asked.model, first_model=asked.first_model)
        manager._results = asked.folder
        manager._begin(asked)
        return manager

    def branch(self, name: str, *, first_model: type[BaseModel] | None = None) -> Self:
        """The manager of a branch of the twin, reached as the twin is (docs/branches.md); to be closed like any other.

        Args:
            name: 1 to 64 of ``A-Z a-z 0-9 _ . -``.
            first_model: the model that it gets with its first commit, where it has none; None for this manager's.

        Raises:
            UsageError: no such name, or this twin is a branch itself.
        """
        asked = replace(self._asked, twin=self.keys.branch(name).twin)
        # What the twin was given with its first commit, the branch got from it, whatever the environment says.
        own = ("history_length", "history", "max_bytes", "auto_timestamp", "validation")
        asked.given |= dict.fromkeys(own)
        asked.settings = asked.settings.model_copy(update=dict.fromkeys(own))
        if first_model is not None:
            asked.model, asked.first_model = None, first_model
        return self._asked_for(asked)

    @classmethod
    @abstractmethod
    def _asked_for(cls, asked: Asked) -> Self:
        """The manager that there is of what is asked for, or a new one."""

    @abstractmethod
    def _begin(self, asked: Asked) -> None:
        """What a new manager does first."""

    @abstractmethod
    def _place(self) -> str:
        """The server for messages."""

    def _ask_again(self, asked: Asked) -> None:
        """Refuses arguments that differ from those in force."""
        differing = [
            f"{ARGUMENTS.get(name, name)}={asked.given[name]!r} (it is {self._in_force(name)!r})"
            for name in _FIXED
            if asked.given[name] is not None and getattr(asked.settings, name) != self._in_force(name)
        ]
        if asked.model is not None and asked.model is not self._twin.model:
            known = self._twin.model.__name__ if self._twin.model else "whichever the twin has"
            differing.append(f"model={asked.model.__name__} (it is {known})")
        if not isinstance(asked.results, str | Path | None) and asked.results is not self._results:
            differing.append("results=(another object)")
        if differing:
            raise UsageError(
                f"twin {self.twin!r} is open in this process with other arguments: {', '.join(differing)}: "
                "close() it first, or leave them out"
            )

    def _in_force(self, name: str) -> Any:
        """What a setting comes to: the one that was asked for, else the twin's own."""
        asked_for = getattr(self._twin.settings, name)
        if asked_for is not None:
            return asked_for
        if name == "actor":
            return self._twin.actor
        return self._learned(name) if hasattr(StoredConfig, name) else None

    def _learned(self, name: str) -> Any:
        return getattr(self._twin.config, name)

    def _forget(self) -> None:
        """The next one who asks for this twin gets another manager."""
        with _lock:
            if _managers.get(self._key) is self:
                del _managers[self._key]

    def _was_last(self) -> bool:
        """Whether the one who leaves is the last of those who asked for it."""
        with _lock:
            self._users -= 1
            return self._users <= 0

    @property
    def _patience(self) -> float:
        return self._twin.settings.timeout

    def _closed_with(self, follower: F) -> F:
        """The same; it is closed when the manager is."""
        with _lock:
            if not self._is_over:
                self._followers.add(follower)
                return follower
        follower.stop()
        raise UsageError(f"twin {self.twin!r}: the manager was closed just now: make another")

    def _stop_following(self) -> list[Any]:
        """What is to be closed, told to end already: to wait for one after the other would take long."""
        with _lock:
            self._is_over = True
            followers = list(self._followers)
        for one in followers:
            one.stop()
        return followers

    def _write_file(self, text: bytes, file_path: str | Path | None) -> bool:
        if file_path is None:
            files.write_new(Path(self._results.folder()), files.export_name(datetime.now()), pretty(text))
        else:
            files.write_atomically(Path(file_path), pretty(text))
        return True

    def _read_file(self, file_path: str | Path) -> JSONText:
        return JSONText(files.read_text(files.find_import(file_path, Path(self._results.folder()))))

    @property
    def twin(self) -> str:
        """The twin's id."""
        return self._twin.keys.twin

    @property
    def actor(self) -> str:
        """Who commits, unless a call says otherwise."""
        return self._twin.actor

    @property
    def keys(self) -> TwinKeys:
        """The twin's keys in Redis."""
        return self._twin.keys

    @property
    def flows(self) -> Twin:
        """The twin's calls as flows, for `drive`."""
        return self._twin

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be copied or pickled: there is one per process; "
            f"pass on its arguments, and call {type(self).__name__}(...) there"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.twin!r} at {self._place()}>"
