"""StateManager: the calls of a twin, over a thread-safe client. What they do is in flows.py and protocol.py."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Self

import redis
from pydantic import BaseModel

from circman_redis import connection, files, patch, protocol
from circman_redis.codec import JSONText, pretty
from circman_redis.driver import Driver
from circman_redis.errors import UsageError
from circman_redis.flows import ATTEMPTS, Document, Options, Twin
from circman_redis.keys import TwinKeys
from circman_redis.patch import Change
from circman_redis.results import Commit, HistoryEntry, Snapshot, State, TwinConfig
from circman_redis.settings import ARGUMENTS, Settings
from circman_redis.state_history import StateHistory
from circman_redis.timestamps import format_timestamp, parse_timestamp

Key = tuple[str, str, str]

_managers: dict[Key, StateManager] = {}
_lock = threading.RLock()
_opening: dict[Key, threading.RLock] = {}  # one per twin: a server that is slow holds up nobody else


def _fresh_lock_in_child() -> None:
    # Another thread may have held it at the fork; redis-py's pools see to their connections themselves.
    global _lock  # noqa: PLW0603 - a lock that nobody can release is replaced
    _lock = threading.RLock()
    _opening.clear()


def _alone(key: Key) -> threading.RLock:
    with _lock:
        return _opening.setdefault(key, threading.RLock())


os.register_at_fork(after_in_child=_fresh_lock_in_child)


class StateManager:
    """One twin's state: shared, validated, versioned.

    The same server, prefix and twin give the same object within a process. It is safe to share among threads, and
    to use after a fork.

    Args:
        twin: the twin's id (``CIRCMAN_TWIN``, else "default").
        url: the server (``CIRCMAN_REDIS_URL``); without one the embedded server, which every process of this
            user shares.
        model: a pydantic model that states must fit. None goes by the model that the twin has, or TwinState
            where it has none yet.
        history_length: how many past states are kept; a differing one changes the twin's.
        validation: none, standard or strict; None goes by the twin's level.
        actor: who commits, unless a call says otherwise; None for host name and process id.
        prefix: what the keys begin with.
        max_bytes: how large a state may be, in bytes of JSON.
        auto_timestamp: whether the server stamps what is committed without a timestamp.
        results: the folder for exports, or an object with a ``folder()`` of its own.
        timeout: seconds to wait for one answer of the server.
        retries: how often a call is sent again when the connection fails (safe: commits carry an id).
        client: a redis-py client of the caller's own (without ``decode_responses``), in the place of ``url``.

    Raises:
        UsageError: an argument is not allowed, or differs from what the twin was opened with in this process.
        ModelMismatch: the twin has another model, or another level, than was asked for.
        StoreUnavailable: no answer from the server.
        EmbeddedUnavailable: no URL was given, and the embedded server cannot be had.
    """

    _twin: Twin
    _driver: Driver
    _results: files.ResultsManager
    _key: Key
    _users: int

    def __new__(
        cls,
        twin: str | None = None,
        *,
        url: str | None = None,
        model: type[BaseModel] | None = None,
        history_length: int | None = None,
        validation: str | None = None,
        actor: str | None = None,
        prefix: str | None = None,
        max_bytes: int | None = None,
        auto_timestamp: bool | None = None,
        results: files.ResultsManager | str | Path | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        client: redis.Redis | None = None,
    ) -> Self:
        """The manager of this twin in this process: the one that there is, or a new one."""
        given: dict[str, Any] = {
            "twin": twin,
            "redis_url": url,
            "history_length": history_length,
            "validation": validation,
            "actor": actor,
            "prefix": prefix,
            "max_bytes": max_bytes,
            "auto_timestamp": auto_timestamp,
            "results_dir": results if isinstance(results, str | Path) else None,
            "timeout": timeout,
            "retries": retries,
        }
        settings = Settings.from_arguments(**given)
        _check_parts(url, client, results)
        keys = TwinKeys(settings.twin, settings.prefix)
        server = f"client {id(client)}" if client is not None else connection.identity(settings.redis_url)
        key = (server, settings.prefix, settings.twin)
        with _alone(key):
            known = _managers.get(key)
            if isinstance(known, cls):
                known._reopen(settings, given, model, results)
                known._users += 1
                return known
            manager = super().__new__(cls)
            store = connection.connect(settings) if client is None else connection.adopt(client)
            try:
                manager._open(Twin(keys, settings, model), store, results)
            except BaseException:
                store.close()
                raise
            manager._key = key
            _managers[key] = manager
            return manager

    def _open(self, twin: Twin, store: connection.Store, results: Any) -> None:
        self._twin, self._driver, self._users = twin, Driver(store, twin.keys), 1
        folder = files.ResultsFolder(twin.settings.results_dir)
        self._results = folder if results is None or isinstance(results, str | Path) else results
        self._driver.drive(twin.open())

    def _reopen(self, asked: Settings, given: Mapping[str, Any], model: type[BaseModel] | None, results: Any) -> None:
        fixed = ("validation", "actor", "max_bytes", "auto_timestamp", "results_dir", "timeout", "retries")
        differing = [
            f"{ARGUMENTS.get(name, name)}={given[name]!r} (it is {self._in_force(name)!r})"
            for name in fixed
            if given[name] is not None and getattr(asked, name) != self._in_force(name)
        ]
        if model is not None and model is not self._twin.model:
            known = self._twin.model
            differing.append(f"model={model.__name__} (it is {known.__name__ if known else 'whichever the twin has'})")
        if results is not None and not isinstance(results, str | Path) and results is not self._results:
            differing.append("results=(another object)")
        if differing:
            raise UsageError(
                f"twin {self.twin!r} is open in this process with other arguments: {', '.join(differing)}: "
                "close() it first, or leave them out"
            )
        # As it is now: another process may have changed it.
        if asked.history_length is not None and given["history_length"] is not None:
            self._driver.drive(self._twin.want_history_length(asked.history_length))

    def _in_force(self, name: str) -> Any:
        """What a setting comes to: the one that was asked for, else the twin's own."""
        asked_for = getattr(self._twin.settings, name)
        own = self._twin.actor if name == "actor" else getattr(self._twin.config, name, None)
        return own if asked_for is None else asked_for

    # --- writing ---------------------------------------------------------------------------------------------

    def set_state(
        self,
        state: Document,
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
    ) -> Commit:
        """Replaces the whole state.

        Args:
            state: a JSON object: a dict, a pydantic model, or JSONText.
            expected_version: commit only on top of this version (0: only where there is no state yet).
            actor: who commits.
            commit_id: repeated, the call returns the commit that the first one made.

        Raises:
            StateValidationError: with every violation; nothing was changed.
            InvalidJSON, StateTooLarge, StateConflict, ModelMismatch, CorruptTwin: nothing was changed.
            StoreUnavailable: whether it was committed is not known; say it again with its ``commit_id``.
            RetryExpired: it was sent again, and so many commits were made meanwhile that nobody can tell any more.
        """
        return self._driver.drive(self._twin.set(state, Options(expected_version, actor, commit_id)))

    def update_state(
        self,
        updates: Document,
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
    ) -> Commit:
        """Merges updates into the state: a JSON Merge Patch (RFC 7396), in which None removes a member.

        On a twin with no state the updates become the state. Arguments and errors are those of `set_state`.
        """
        return self._driver.drive(self._twin.update([updates], Options(expected_version, actor, commit_id)))[0]

    def update_many(
        self,
        updates: Sequence[Document],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
    ) -> list[Commit]:
        """Merges up to 1,000 updates in one round trip: a version each, all or none.

        Arguments and errors are those of `set_state`; commit n is recorded with the id ``<commit_id>#n``.
        """
        return self._driver.drive(self._twin.update(updates, Options(expected_version, actor, commit_id)))

    def adjust(
        self,
        deltas: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
    ) -> Commit:
        """Adds numbers in place, atomically; several places at once, all or none.

        Args:
            deltas: JSON Pointer -> number to add. Integers are exact within 2**53, and refused beyond.
            expected_version: commit only on top of this version.
            actor: who commits.
            commit_id: repeated, the call returns the commit that the first one made.

        Raises:
            StateValidationError: a sum breaks a rule, or there is no number at a pointer; nothing was changed.
            NoState: there is nothing to adjust yet. The other errors are those of `set_state`.
        """
        return self._driver.drive(self._twin.adjust(deltas, Options(expected_version, actor, commit_id)))

    def modify(
        self,
        change: Callable[[State], Any],
        *,
        attempts: int = ATTEMPTS,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
    ) -> Commit:
        """Reads the state, has it changed, commits if nobody was faster, else again.

        Args:
            change: gets the state, and returns the new one or changes the one it got; may be called repeatedly.
                A timestamp that it leaves alone is stamped anew.
            attempts: how often, before it gives up with StateConflict.
            expected_version: commit only on top of this version: then there is one attempt.
            actor: who commits.
            commit_id: repeated, the call returns the commit that the first one made.

        Raises:
            StateConflict: somebody else was faster, every time. The other errors are those of `set_state`.
        """
        return self._driver.drive(self._twin.modify(change, Options(expected_version, actor, commit_id), attempts))

    def clear_history(self) -> int:
        """Removes the past states; the state and its version stay. Returns how many were removed."""
        return self._driver.run(protocol.clear(self._twin.keys, self._twin.actor))

    def delete(self) -> int:
        """Removes the twin with all its keys, its model among them. Returns the version that it had, or 0."""
        return self._driver.run(protocol.delete(self._twin.keys, self._twin.actor))

    # --- reading ---------------------------------------------------------------------------------------------

    def get_current_state(self) -> State:
        """The state, the caller's own copy; empty before the first commit."""
        return self._driver.run(protocol.current_state(self._twin.keys))

    @property
    def current_state(self) -> State:
        """The same as `get_current_state`."""
        return self.get_current_state()

    def snapshot(self) -> Snapshot:
        """The state, with its version and who committed it when."""
        return self._driver.run(protocol.snapshot(self._twin.keys))

    def get_history(self, limit: int | None = None) -> list[State]:
        """The past states, oldest first: the most recent ``limit`` of them, or all."""
        most = _whole("limit", limit)
        if most is not None and most <= 0:
            return []
        return self._driver.run(protocol.history(self._twin.keys, 0, -1 if most is None else most - 1))

    @property
    def state_history(self) -> StateHistory:
        """The past states as a sequence, oldest first, read from Redis as they are asked for."""
        return StateHistory(self._driver, self.keys)

    @property
    def history_length(self) -> int:
        """How many past states are kept at most; setting it trims at once."""
        return self._driver.run(protocol.config(self._twin.keys)).history_length

    @history_length.setter
    def history_length(self, length: int) -> None:
        self._driver.drive(self._twin.set_history_length(length))

    def get_commits(self, limit: int | None = None, before: int | None = None) -> list[HistoryEntry]:
        """Commits with author, patch and state, newest first, the current one included.

        Args:
            limit: at most so many; None for all.
            before: only versions below this one, to turn pages.
        """
        return self._driver.run(
            protocol.commits(self._twin.keys, _whole("limit", limit), _whole("before", before)),
        )

    def get_state_at_time(self, timestamp: str | datetime) -> State | None:
        """The state that held at a time: the newest whose own timestamp is not after it; None where none is kept.

        Args:
            timestamp: a datetime, or ISO 8601 text; UTC where it names no offset.

        Raises:
            UsageError: the text is not a time.
        """
        try:
            moment = parse_timestamp(timestamp) if isinstance(timestamp, str) else timestamp
            if not isinstance(moment, datetime):
                raise TypeError("a datetime or ISO 8601 text is wanted")  # noqa: TRY301 - said in one place
            text = format_timestamp(moment)
        except (ValueError, TypeError) as error:
            raise UsageError(f"timestamp={timestamp!r}: {error}") from error
        return self._driver.run(protocol.at_time(self._twin.keys, text))

    def get_state_at_version(self, version: int) -> State | None:
        """The state at a version; None where there is no such version, or it has left the history."""
        number = _whole("version", version)
        if number is None:
            raise UsageError("version=None: use a whole number")
        return self._driver.run(protocol.at_version(self._twin.keys, number)) if number > 0 else None

    def diff(self, old_version: int, new_version: int | None = None) -> list[Change]:
        """What changed from one version to another, or to the current state: pointer, before, after.

        Raises:
            UsageError: a version that is not there (any more).
        """
        new = self.get_current_state() if new_version is None else self._known_state(new_version)
        return patch.diff(self._known_state(old_version), new)

    def _known_state(self, version: int) -> State:
        state = self.get_state_at_version(version)
        if state is None:
            raise UsageError(f"twin {self.twin!r}: version {version} never was, or has left the history")
        return state

    # --- checking, model -------------------------------------------------------------------------------------

    def validate_state(self, state: Any) -> tuple[bool, str]:
        """Whether the state would be accepted by `set_state`, and else why not. Changes nothing."""
        return self._driver.drive(self._twin.validate(state))

    def publish_model(self, model: type[BaseModel], *, validation: str | None = None, force: bool = False) -> None:
        """Replaces the twin's model: from now on its rules bind every writer.

        Args:
            model: the new one.
            validation: its level; None keeps the twin's.
            force: publish it even though the state that is there does not fit.

        Raises:
            StateValidationError: the state that is there does not fit; nothing was changed.
        """
        with _alone(self._key):
            self._driver.drive(self._twin.publish_model(model, validation, force))

    @property
    def config(self) -> TwinConfig:
        """The twin's settings as they stand in Redis."""
        return self._driver.run(protocol.config(self._twin.keys))

    @property
    def schema(self) -> Any:
        """The published model's JSON Schema."""
        return self._driver.run(protocol.published_schema(self._twin.keys))

    # --- files -----------------------------------------------------------------------------------------------

    def export_state(self, file_path: str | Path | None = None) -> bool:
        """Writes the state to a file, whole or not at all: pretty-printed JSON, every number with its digits.

        Args:
            file_path: None for a new, time-stamped file in the results folder.

        Returns:
            True. What goes wrong is raised.

        Raises:
            NoState: there is nothing to export.
            OSError: the file cannot be written.
        """
        text = pretty(self._driver.run(protocol.state_text(self._twin.keys)))
        if file_path is None:
            files.write_new(Path(self._results.folder()), files.export_name(datetime.now()), text)
        else:
            files.write_atomically(Path(file_path), text)
        return True

    def import_state(self, file_path: str | Path) -> bool:
        """Commits the state in a file, validated like any commit, its numbers with their digits.

        Args:
            file_path: a relative one that does not exist is looked for in the results folder.

        Returns:
            True. What goes wrong is raised.

        Raises:
            FileNotFoundError: no such file; the places tried are named. The other errors are those of `set_state`.
        """
        path = files.find_import(file_path, Path(self._results.folder()))
        self._driver.drive(self._twin.set(JSONText(files.read_text(path)), Options(), "import"))
        return True

    # --- itself ----------------------------------------------------------------------------------------------

    @property
    def twin(self) -> str:
        """The twin's id."""
        return self._twin.keys.twin

    @property
    def keys(self) -> TwinKeys:
        """The twin's keys in Redis."""
        return self._twin.keys

    @property
    def client(self) -> redis.Redis:
        """The redis-py client underneath, for what this class does not do."""
        return self._driver.store.client

    def close(self) -> None:
        """Gives back the connections, whoever else has this object; the next StateManager(...) of this twin is new.

        The end of a with statement does so only for the last of those who asked for it.
        """
        with _lock:
            if _managers.get(self._key) is self:
                del _managers[self._key]
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            self._users -= 1
            last = self._users <= 0
        if last:
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be copied or pickled: there is one per process; "
            "pass on its arguments, and call StateManager(...) there"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.twin!r} at {self._driver.store.name}>"


def _whole(name: str, number: Any) -> int | None:
    """A whole number of any kind, numpy's too, or None."""
    if number is None:
        return None
    try:
        if isinstance(number, bool):
            raise TypeError  # noqa: TRY301 - an int to Python only
        return operator.index(number)
    except TypeError:
        raise UsageError(f"{name}={number!r}: use a whole number") from None


def _check_parts(url: object, client: object, results: object) -> None:
    if url is not None and client is not None:
        raise UsageError("url and client: give one of them")
    if results is not None and not isinstance(results, str | Path | files.ResultsManager):
        raise UsageError(f"results={results!r}: wanted a folder, or an object with a folder()")
