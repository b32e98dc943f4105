"""StateManager: the calls of a twin, over a thread-safe client. What they do is in flows.py and reads.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from circman_redis import audit, connection, deleting, files, protocol, reads, repair, verify
from circman_redis.callbacks import Handle, check_callback
from circman_redis.driver import Driver
from circman_redis.errors import StateError
from circman_redis.events import Event
from circman_redis.flows import ATTEMPTS, Document, Flow, Options
from circman_redis.mirror import Mirror
from circman_redis.patch import Change
from circman_redis.registry import Asked, Manager, alone
from circman_redis.results import (
    AuditReport,
    Commit,
    Disagreement,
    HistoryEntry,
    RepairReport,
    Snapshot,
    State,
    StoredConfig,
)
from circman_redis.state_history import StateHistory
from circman_redis.subscription import Subscription
from circman_redis.wish import Source, Wish

T = TypeVar("T")


class StateManager(Manager):
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
        history: how they are kept: ``full``, or ``compact``, in a third of the memory and less; look-ups give the
            same and take the server longer (docs/wire.md). A differing one changes the twin's, for what is superseded
            from then on.
        validation: none, standard or strict; None goes by the twin's level.
        actor: who commits, unless a call says otherwise; None for host name and process id.
        prefix: what the keys begin with.
        max_bytes: how large a state may be, in bytes of JSON.
        auto_timestamp: whether the server stamps what is committed without a timestamp.
        results: the folder for exports, or an object with a ``folder()`` of its own.
        timeout: seconds that a call may take, all in all. Within them it is sent again where that is safe: when the
            connection fails, and while a server starts, fails over, moves a slot or runs somebody's script.
        retries: how often a call is sent again at most; None for as often as there is time.
        durability: what commits wait for: ``none``, ``replicas:N`` (N replicas have it in memory) or ``fsync`` (it is
            on the master's disk); docs/durability.md says what survives what.
        read_from: ``replica`` has calls that read ask a replica, which may be behind; snapshots say so.
        allow_eviction: use the server even though it may evict the state when its memory is full.
        username: the user, where the URL names none.
        password: its password, where the URL has none.
        password_file: a file with nothing but that password in it.
        ca_file: the certificates (PEM) to check the server's against (``rediss://``); None for the system's.
        cert_file: the client's own certificate (PEM).
        key_file: its private key (PEM).
        client: a redis-py client of the caller's own (``Redis`` or ``RedisCluster``, without ``decode_responses``), in
            the place of ``url``.

    Raises:
        UsageError: an argument is not allowed, or differs from what the twin was opened with in this process.
        ModelMismatch: the twin has another model, or another level, than was asked for.
        StoreUnavailable: no answer from the server.
        NotPermitted: the server refuses the user.
        UnsafeEviction: the server may evict the state, and ``allow_eviction`` is not set.
        EmbeddedUnavailable: no URL was given, and the embedded server cannot be had.
    """

    _driver: Driver

    def __new__(
        cls,
        twin: str | None = None,
        *,
        url: str | None = None,
        model: type[BaseModel] | None = None,
        history_length: int | None = None,
        history: str | None = None,
        validation: str | None = None,
        actor: str | None = None,
        prefix: str | None = None,
        max_bytes: int | None = None,
        auto_timestamp: bool | None = None,
        results: files.ResultsManager | str | Path | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        durability: str | None = None,
        read_from: str | None = None,
        allow_eviction: bool | None = None,
        username: str | None = None,
        password: str | None = None,
        password_file: str | Path | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        client: connection.Client | None = None,
    ) -> Self:
        """The manager of this twin in this process: the one that there is, or a new one."""
        return cls._asked_for(Asked.of(locals()))

    @classmethod
    def _asked_for(cls, asked: Asked) -> Self:
        return cls._only_one(asked, None)

    def _begin(self, asked: Asked) -> None:
        store = self._store(asked)
        self._driver = Driver(store, self.keys)
        self._twin.sharded = store.sharded
        try:
            self._driver.drive(self._twin.open())
        except BaseException:
            store.close()
            raise

    def _store(self, asked: Asked) -> connection.Store:
        if asked.client is None:
            return connection.connect(asked.settings)
        return connection.adopt(asked.client, asked.settings)

    def _ask_again(self, asked: Asked) -> None:
        super()._ask_again(asked)
        if asked.changes:
            # As they are now: another process may have changed them.
            self._driver.drive(self._twin.want(asked.changes))

    def _place(self) -> str:
        return self._driver.store.name

    # --- writing ---------------------------------------------------------------------------------------------

    def set_state(
        self,
        state: Document,
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Replaces the whole state.

        Args:
            state: a JSON object: a dict, a pydantic model, or JSONText.
            expected_version: commit only on top of this version (0: only where there is no state yet).
            actor: who commits.
            commit_id: repeated, the call returns the commit that the first one made.
            durability: what it waits for; None for the manager's.

        Raises:
            StateValidationError: with every violation; nothing was changed.
            InvalidJSON, StateTooLarge, StateConflict, ModelMismatch, CorruptTwin: nothing was changed.
            NotPermitted, ScriptBusy, ReadOnlyReplica, StoreFull, WritesRefused: nothing was changed.
            StoreUnavailable: whether it was committed is not known; say it again with its ``commit_id``.
            Unconfirmed: it was committed, and not confirmed in time to be as durable as asked for.
            RetryExpired: it was sent again, and so many commits were made meanwhile that nobody can tell any more.
        """
        options = Options(expected_version, actor, commit_id, durability)
        return self._driver.drive(self._twin.set(state, options))

    def update_state(
        self,
        updates: Document,
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Merges updates into the state: a JSON Merge Patch (RFC 7396), in which None removes a member.

        On a twin with no state the updates become the state. Arguments and errors are those of `set_state`.
        """
        options = Options(expected_version, actor, commit_id, durability)
        return self._driver.drive(self._twin.update(updates, options))

    def update_many(
        self,
        updates: Sequence[Document],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> list[Commit]:
        """Merges up to 1,000 updates in one round trip: a version each, all or none.

        Fewer where the states are large: over 16 MiB of states in one call are refused with StateTooLarge.

        Arguments and errors are those of `set_state`; commit n is recorded with the id ``<commit_id>#n``.
        """
        options = Options(expected_version, actor, commit_id, durability)
        return self._driver.drive(self._twin.update_many(updates, options))

    def adjust(
        self,
        deltas: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Adds numbers in place, atomically; several places at once, all or none.

        Args:
            deltas: JSON Pointer -> number to add. Integers are exact within 2**53, and refused beyond.
            expected_version: commit only on top of this version.
            actor: who commits.
            commit_id: repeated, the call returns the commit that the first one made.
            durability: what it waits for; None for the manager's.

        Raises:
            StateValidationError: a sum breaks a rule, or there is no number at a pointer; nothing was changed.
            NoState: there is nothing to adjust yet. The other errors are those of `set_state`.
        """
        options = Options(expected_version, actor, commit_id, durability)
        return self._driver.drive(self._twin.adjust(deltas, options))

    def modify(
        self,
        change: Callable[[State], Any],
        *,
        attempts: int = ATTEMPTS,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Reads the state, has it changed, commits if nobody was faster, else again.

        Args:
            change: gets the state, and returns the new one or changes the one it got; may be called repeatedly.
                A timestamp that it leaves alone is stamped anew.
            attempts: how often, before it gives up with StateConflict.
            expected_version: commit only on top of this version: then there is one attempt.
            actor: who commits.
            commit_id: repeated, the call returns the commit that the first one made.
            durability: what it waits for; None for the manager's.

        Raises:
            StateConflict: somebody else was faster, every time. The other errors are those of `set_state`.
        """
        options = Options(expected_version, actor, commit_id, durability)
        return self._driver.drive(self._twin.modify(change, options, attempts))

    def new_commit_id(self) -> str:
        """An id for one commit, to be kept until its outcome is known: with it any process may say the call again.

        It says when it was made, by the twin's clock. So a call that is said again after its id was forgotten raises
        RetryExpired, and is not applied; an id of the caller's own says nothing of its age, and would be.
        """
        return self._driver.drive(self._twin.new_commit_id())

    def clear_history(self) -> int:
        """Removes the past states; the state and its version stay. Returns how many were removed."""
        return self._driver.run(protocol.clear(self.keys, self._twin.actor))

    def delete(self, *, branches: bool = True) -> int:
        """Removes the twin with all its keys, model and branches too. Returns the version that it had, or 0.

        Args:
            branches: whether its branches and domain events go too (docs/branches.md); False leaves them be.

        Raises:
            StoreError: it was not removed; branches may be, and to say it again goes on.
        """
        return self._driver.drive(deleting.delete(self.keys, self._twin.actor, with_branches=branches))

    # --- reading ---------------------------------------------------------------------------------------------

    def get_current_state(self) -> State:
        """The state, the caller's own copy; empty before the first commit."""
        return self._driver.read(protocol.current_state(self.keys))

    @property
    def current_state(self) -> State:
        """The same as `get_current_state`."""
        return self.get_current_state()

    def snapshot(self) -> Snapshot:
        """The state, with its version and who committed it when."""
        return self._driver.read(protocol.snapshot(self.keys, self._twin.settings.read_from))

    def get_history(self, limit: int | None = None) -> list[State]:
        """The past states, oldest first: the most recent ``limit`` of them, or all."""
        return self._driver.drive_reading(reads.history(self._twin, limit))

    @property
    def state_history(self) -> StateHistory:
        """The past states as a sequence, oldest first, read from Redis as they are asked for."""
        return StateHistory(self._driver, self._twin)

    @property
    def history_length(self) -> int:
        """How many past states are kept at most.

        To set it is `set_history_length`.
        """
        return self._driver.drive(reads.history_length(self.keys))

    @history_length.setter
    def history_length(self, length: int) -> None:
        self.set_history_length(length)

    def set_history_length(self, length: int) -> None:
        """Changes how many past states are kept at most; those over it are removed at once."""
        self._driver.drive(self._twin.set_history_length(length))

    @property
    def history(self) -> str:
        """How past states are kept, ``full`` or ``compact``; the states themselves are `state_history`.

        To set it is `set_history`.
        """
        return self._driver.drive(reads.history_form(self.keys))

    @history.setter
    def history(self, form: str) -> None:
        self.set_history(form)

    def set_history(self, form: str) -> None:
        """Changes how states are kept from now on, ``full`` or ``compact``; those of the past stay as they are."""
        self._driver.drive(self._twin.set_history(form))

    def get_commits(self, limit: int | None = None, before: int | None = None) -> list[HistoryEntry]:
        """Commits with author, patch and state, newest first, the current one included.

        Args:
            limit: at most so many; None for all.
            before: only versions below this one, to turn pages.
        """
        return self._driver.read(reads.commits(self.keys, limit, before))

    def get_state_at_time(self, timestamp: str | datetime) -> State | None:
        """The state that held at a time: the newest whose own timestamp is not after it; None where none is kept.

        Args:
            timestamp: a datetime, or ISO 8601 text; UTC where it names no offset.

        Raises:
            UsageError: the text is not a time.
        """
        return self._driver.read(reads.at_time(self.keys, timestamp))

    def get_state_at_version(self, version: int) -> State | None:
        """The state at a version; None where there is no such version, or it has left the history."""
        return self._driver.drive_reading(reads.at_version(self.keys, version))

    def diff(self, old_version: int, new_version: int | None = None) -> list[Change]:
        """What changed from one version to another, or to the current state: pointer, before, after.

        Raises:
            UsageError: a version that is not there (any more).
        """
        return self._driver.drive_reading(reads.diff(self.keys, old_version, new_version))

    # --- following -------------------------------------------------------------------------------------------

    def subscribe(
        self,
        since: int | str | None = None,
        *,
        paths: Iterable[str] | None = None,
        source: Source = "channel",
        timeout: float | None = None,
        heartbeat: float | None = None,
    ) -> Subscription:
        """The events of the twin: every commit in the order of the versions, each once (docs/delivery.md).

        Args:
            since: a version, or the ``position`` of an event, after which to begin; None begins now.
            paths: JSON Pointers: only commits that changed something there, below or above. A string is one path.
            source: what wakes it up: the twin's ``channel``, or the ``keyspace`` notifications of its state.
            timeout: seconds without an event after which the iteration ends; None never.
            heartbeat: seconds without an event after which a `Heartbeat` is handed out.

        Returns:
            An iterator of `StateEvent`, `HistoryGap`, `StateRolledBack`, `ForeignWrite` and `Heartbeat`. It stands
            when it is returned: what is committed from now on comes.

        Raises:
            UsageError: an argument is not allowed.
            StoreUnavailable: no answer from the server.
            StoreError: the server refuses the channel, or makes no keyspace notifications.
            CorruptTwin: the twin is not what commits made. (Later that is a `ForeignWrite`.)
        """
        wish = Wish.of(since, paths, source, timeout, heartbeat)
        return self._closed_with(Subscription(self._driver, self.keys, wish, self._patience))

    def on_change(
        self,
        callback: Callable[[Event], object],
        *,
        paths: Iterable[str] | None = None,
        since: int | str | None = None,
        source: Source = "channel",
    ) -> Handle:
        """Calls back for each event, in order; ``close()`` of what it returns ends that.

        What the callback raises is logged, and the next event comes all the same. Arguments and errors are those
        of `subscribe`.
        """
        check_callback(callback)
        return self._closed_with(Handle(self.subscribe(since, paths=paths, source=source), callback))

    def mirror(self, *, max_age: float | None = None) -> Mirror:
        """A local copy of the state, for reading only, that the events keep current.

        Args:
            max_age: how old, in seconds, what is read from it may be; older, it raises StaleMirror.

        Raises:
            UsageError: ``max_age`` is no time.
            StoreUnavailable, StoreError, CorruptTwin: as for `subscribe`.
        """
        return self._closed_with(Mirror(self._driver, self.keys, self._patience, max_age))

    # --- checking, model -------------------------------------------------------------------------------------

    def validate_state(self, state: Any) -> tuple[bool, str]:
        """Whether the state would be accepted by `set_state`, and else why not. Changes nothing."""
        return self._driver.drive(self._twin.validate(state))

    def verify(self) -> list[Disagreement]:
        """Whether state, meta and history are what commits made, byte for byte: where they are not, in words.

        Reads the whole history, page by page, and changes nothing; others may commit meanwhile. Empty: all agree.
        """
        return self._driver.drive(verify.verify(self.keys))

    def audit(self, logs: Iterable[str | Path] = ()) -> AuditReport:
        """What `verify` proves, and the commit ids: each once, as the clients' logs (`Journal`, docs/audit.md) say.

        Reads the logs, then the whole history, and changes nothing; others may commit meanwhile.

        Raises:
            UsageError: a log that is none.
            OSError: a log that cannot be read.
        """
        return self._driver.drive(audit.audit(self.keys, audit.read_logs(logs)))

    def repair(
        self, apply: bool = False, *, adopt: bool | None = None, model: type[BaseModel] | None = None
    ) -> RepairReport:
        """What is wrong with the twin, and what would make it right; with ``apply`` it is done, atomically.

        What commits made is restored byte for byte where that can be; what was found is kept (docs/repair.md).

        Args:
            apply: do it; otherwise nothing is changed.
            adopt: a state that something else wrote is committed (op external) if True, and never if False; None
                commits it where what commits made cannot be restored.
            model: the twin's model, to publish its rules again; None for the one that the manager was opened with.

        Raises:
            StateConflict: others changed the twin again and again; nothing was done.
        """
        known = model or self._twin.model
        report = self._driver.drive(
            repair.repair(self.keys, apply=apply, adopt=adopt, model=known, actor=self._twin.actor)
        )
        if report.applied:
            with suppress(StateError):  # that it has another model now is for the next commit to say
                self._driver.drive(self._twin.open())
        return report

    def publish_model(self, model: type[BaseModel], *, validation: str | None = None, force: bool = False) -> None:
        """Replaces the twin's model: from now on its rules bind every writer.

        Args:
            model: the new one.
            validation: its level; None keeps the twin's.
            force: publish it even though the state that is there does not fit.

        Raises:
            StateValidationError: the state that is there does not fit; nothing was changed.
        """
        with alone(self._key):
            self._driver.drive(self._twin.publish_model(model, validation, force))

    @property
    def config(self) -> StoredConfig:
        """The twin's settings as they stand in Redis."""
        return self._driver.run(protocol.config(self.keys))

    @property
    def schema(self) -> Any:
        """The published model's JSON Schema."""
        return self._driver.run(protocol.published_schema(self.keys))

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
        return self._write_file(self._driver.run(protocol.state_text(self.keys)), file_path)

    def import_state(self, file_path: str | Path) -> bool:
        """Commits the state in a file, validated like any commit, its numbers with their digits.

        Args:
            file_path: a relative one that does not exist is looked for in the results folder.

        Returns:
            True. What goes wrong is raised.

        Raises:
            FileNotFoundError: no such file; the places tried are named. The other errors are those of `set_state`.
        """
        self._driver.drive(self._twin.set(self._read_file(file_path), Options(), "import"))
        return True

    # --- what is built on it ---------------------------------------------------------------------------------

    def run(self, call: protocol.Call[T]) -> T:
        """One round trip of a call that ``protocol.py`` makes, with this manager's retries, deadline and errors.

        Raises:
            StateError: what the script refused.
            StoreError: the server, or the way to it, is at fault.
        """
        return self._driver.run(call)

    def drive(self, flow: Flow[T]) -> T:
        """Runs a flow (``flows.py``) to its end: all the round trips that it asks for, each as `run`."""
        return self._driver.drive(flow)

    # --- itself ----------------------------------------------------------------------------------------------

    @property
    def client(self) -> connection.Client:
        """The redis-py client underneath, for what this class does not do."""
        return self._driver.store.client

    def close(self) -> None:
        """Gives back the connections, whoever else has this object; the next StateManager(...) of it is new.

        The end of a with statement does so only for the last of those who asked for it.
        """
        self._forget()
        for one in self._stop_following():
            one.close()
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._was_last():
            self.close()
