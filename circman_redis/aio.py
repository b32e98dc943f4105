"""AsyncStateManager: the calls of a twin, for the tasks of an event loop. What they do is in flows.py and reads.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from circman_redis import audit, connection, deleting, files, protocol, reads, repair, verify
from circman_redis.callbacks import AsyncHandle, check_callback
from circman_redis.errors import StateError
from circman_redis.events import Event
from circman_redis.flows import ATTEMPTS, Document, Flow, Options
from circman_redis.link import Link
from circman_redis.mirror import AsyncMirror
from circman_redis.patch import Change
from circman_redis.registry import Asked, Manager, running_loop
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
from circman_redis.state_history import AsyncStateHistory
from circman_redis.subscription import AsyncSubscription
from circman_redis.wish import Source, Wish

T = TypeVar("T")


class AsyncStateManager(Manager):
    """One twin's state, as `StateManager` has it, over redis.asyncio; its docstrings are the long ones.

    Names, arguments, results and errors are the same. Every call is awaited, and so are the properties that read
    from Redis: ``await twin.config``.

    To make one sends nothing. The first call opens the twin, and raises what `StateManager` raises when it is made;
    ``async with AsyncStateManager(...) as twin:`` does so at once. Any number of tasks may share one: they share a
    few connections, and wait for one in turn.

    Within an event loop the same server, prefix and twin give the same object. One that is made outside of any
    belongs to the loop that first uses it and, once that has ended, to the next. What was not closed is closed with
    its loop.

    A call may be cancelled, by `asyncio.timeout` for instance: its connection is closed then, and its reply is read
    by nobody. Whether a commit that was cancelled has been made is not known. Called with a ``commit_id=`` it can be
    called again with the same one: then it is made if it was not, and otherwise returns the commit that was made.

    Args:
        twin: this argument and the others are those of `StateManager`; ``client`` is a `redis.asyncio.Redis`.
    """

    _link: Link

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
        client: connection.AsyncClient | None = None,
    ) -> Self:
        """The manager of this twin in this event loop: the one that there is, or a new one."""
        return cls._asked_for(Asked.of(locals()))

    @classmethod
    def _asked_for(cls, asked: Asked) -> Self:
        loop = running_loop()
        return cls._only_one(asked, loop) if loop else cls._new(asked, asked.key(None))

    def _begin(self, asked: Asked) -> None:
        adopted = None
        if asked.client is not None:
            adopted = connection.adopt_async(asked.client, asked.settings)
        self._link = Link(self._twin, adopted)

    def _ask_again(self, asked: Asked) -> None:
        super()._ask_again(asked)
        self._link.want(asked.changes)

    def _learned(self, name: str) -> Any:
        return super()._learned(name) if self._link.opened else "whatever the twin has"

    def _place(self) -> str:
        return self._link.place

    # --- writing ---------------------------------------------------------------------------------------------

    async def set_state(
        self,
        state: Document,
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Replaces the whole state."""
        options = Options(expected_version, actor, commit_id, durability)
        return await self._link.drive(self._twin.set(state, options))

    async def update_state(
        self,
        updates: Document,
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Merges updates into the state: a JSON Merge Patch (RFC 7396), in which None removes a member."""
        options = Options(expected_version, actor, commit_id, durability)
        return await self._link.drive(self._twin.update(updates, options))

    async def update_many(
        self,
        updates: Sequence[Document],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> list[Commit]:
        """Merges up to 1,000 updates in one round trip: a version each, all or none."""
        options = Options(expected_version, actor, commit_id, durability)
        return await self._link.drive(self._twin.update_many(updates, options))

    async def adjust(
        self,
        deltas: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Adds numbers in place, atomically; several places at once, all or none."""
        options = Options(expected_version, actor, commit_id, durability)
        return await self._link.drive(self._twin.adjust(deltas, options))

    async def modify(
        self,
        change: Callable[[State], Any],
        *,
        attempts: int = ATTEMPTS,
        expected_version: int | None = None,
        actor: str | None = None,
        commit_id: str | None = None,
        durability: str | None = None,
    ) -> Commit:
        """Reads the state, has it changed, commits if nobody was faster, else again."""
        options = Options(expected_version, actor, commit_id, durability)
        return await self._link.drive(self._twin.modify(change, options, attempts))

    async def new_commit_id(self) -> str:
        """An id for one commit, to be kept until its outcome is known: with it any process may say the call again.

        It says when it was made, by the twin's clock. So a call that is said again after its id was forgotten raises
        RetryExpired, and is not applied; an id of the caller's own says nothing of its age, and would be.
        """
        return await self._link.drive(self._twin.new_commit_id())

    async def clear_history(self) -> int:
        """Removes the past states; the state and its version stay. Returns how many were removed."""
        return await self._link.run(protocol.clear(self.keys, self._twin.actor))

    async def delete(self, *, branches: bool = True) -> int:
        """Removes the twin with all its keys, model and branches too. Returns the version that it had, or 0."""
        return await self._link.drive(deleting.delete(self.keys, self._twin.actor, with_branches=branches))

    # --- reading ---------------------------------------------------------------------------------------------

    async def get_current_state(self) -> State:
        """The state, the caller's own copy; empty before the first commit."""
        return await self._link.read(protocol.current_state(self.keys))

    @property
    async def current_state(self) -> State:
        """The same as `get_current_state`."""
        return await self.get_current_state()

    async def snapshot(self) -> Snapshot:
        """The state, with its version and who committed it when."""
        return await self._link.read(protocol.snapshot(self.keys, self._twin.settings.read_from))

    async def get_history(self, limit: int | None = None) -> list[State]:
        """The past states, oldest first: the most recent ``limit`` of them, or all."""
        return await self._link.drive_reading(reads.history(self._twin, limit))

    @property
    def state_history(self) -> AsyncStateHistory:
        """The past states as a sequence, oldest first, read from Redis as they are asked for."""
        return AsyncStateHistory(self._link, self._twin)

    @property
    async def history_length(self) -> int:
        """How many past states are kept at most."""
        return await self._link.drive(reads.history_length(self.keys))

    async def set_history_length(self, length: int) -> None:
        """Changes how many past states are kept at most; those over it are removed at once."""
        await self._link.drive(self._twin.set_history_length(length))

    @property
    async def history(self) -> str:
        """How past states are kept, ``full`` or ``compact``; the states themselves are `state_history`."""
        return await self._link.drive(reads.history_form(self.keys))

    async def set_history(self, form: str) -> None:
        """Changes how states are kept from now on, ``full`` or ``compact``; those of the past stay as they are."""
        await self._link.drive(self._twin.set_history(form))

    async def get_commits(self, limit: int | None = None, before: int | None = None) -> list[HistoryEntry]:
        """Commits with author, patch and state, newest first, the current one included."""
        return await self._link.read(reads.commits(self.keys, limit, before))

    async def get_state_at_time(self, timestamp: str | datetime) -> State | None:
        """The state that held at a time: the newest whose own timestamp is not after it; None where none is kept."""
        return await self._link.read(reads.at_time(self.keys, timestamp))

    async def get_state_at_version(self, version: int) -> State | None:
        """The state at a version; None where there is no such version, or it has left the history."""
        return await self._link.drive_reading(reads.at_version(self.keys, version))

    async def diff(self, old_version: int, new_version: int | None = None) -> list[Change]:
        """What changed from one version to another, or to the current state: pointer, before, after."""
        return await self._link.drive_reading(reads.diff(self.keys, old_version, new_version))

    # --- following -------------------------------------------------------------------------------------------

    def subscribe(
        self,
        since: int | str | None = None,
        *,
        paths: Iterable[str] | None = None,
        source: Source = "channel",
        timeout: float | None = None,
        heartbeat: float | None = None,
    ) -> AsyncSubscription:
        """The events of the twin: every commit in the order of the versions, each once (docs/delivery.md).

        It stands once it was awaited, entered, or asked for its first event.
        """
        wish = Wish.of(since, paths, source, timeout, heartbeat)
        return self._closed_with(AsyncSubscription(self._link.ready, self.keys, wish, self._patience))

    async def on_change(
        self,
        callback: Callable[[Event], object],
        *,
        paths: Iterable[str] | None = None,
        since: int | str | None = None,
        source: Source = "channel",
    ) -> AsyncHandle:
        """Calls back for each event, in order; ``close()`` of what it returns ends that.

        The callback may be a coroutine function.
        """
        check_callback(callback)
        subscription = await self.subscribe(since, paths=paths, source=source)
        return self._closed_with(AsyncHandle(subscription, callback))

    def mirror(self, *, max_age: float | None = None) -> AsyncMirror:
        """A local copy of the state, for reading only, that the events keep current.

        It is current once it was awaited, or entered.
        """
        return self._closed_with(AsyncMirror(self._link.ready, self.keys, self._patience, max_age))

    # --- checking, model -------------------------------------------------------------------------------------

    async def validate_state(self, state: Any) -> tuple[bool, str]:
        """Whether the state would be accepted by `set_state`, and else why not. Changes nothing."""
        return await self._link.drive(self._twin.validate(state))

    async def verify(self) -> list[Disagreement]:
        """Whether state, meta and history are what commits made, byte for byte: where they are not, in words."""
        return await self._link.drive(verify.verify(self.keys))

    async def audit(self, logs: Iterable[str | Path] = ()) -> AuditReport:
        """What `verify` proves, and the commit ids: each once, as the clients' logs (`Journal`, docs/audit.md) say."""
        return await self._link.drive(audit.audit(self.keys, await asyncio.to_thread(audit.read_logs, logs)))

    async def repair(
        self, apply: bool = False, *, adopt: bool | None = None, model: type[BaseModel] | None = None
    ) -> RepairReport:
        """What is wrong with the twin, and what would make it right; with ``apply`` it is done, atomically."""
        known = model or self._twin.model
        report = await self._link.drive(
            repair.repair(self.keys, apply=apply, adopt=adopt, model=known, actor=self._twin.actor)
        )
        if report.applied:
            with suppress(StateError):  # that it has another model now is for the next commit to say
                await self._link.drive(self._twin.open())
        return report

    async def publish_model(
        self, model: type[BaseModel], *, validation: str | None = None, force: bool = False
    ) -> None:
        """Replaces the twin's model: from now on its rules bind every writer."""
        await self._link.drive_alone(self._twin.publish_model(model, validation, force))

    @property
    async def config(self) -> StoredConfig:
        """The twin's settings as they stand in Redis."""
        return await self._link.run(protocol.config(self.keys))

    @property
    async def schema(self) -> Any:
        """The published model's JSON Schema."""
        return await self._link.run(protocol.published_schema(self.keys))

    # --- files -----------------------------------------------------------------------------------------------

    async def export_state(self, file_path: str | Path | None = None) -> bool:
        """Writes the state to a file, whole or not at all: pretty-printed JSON, every number with its digits."""
        text = await self._link.run(protocol.state_text(self.keys))
        return await asyncio.to_thread(self._write_file, text, file_path)

    async def import_state(self, file_path: str | Path) -> bool:
        """Commits the state in a file, validated like any commit, its numbers with their digits."""
        text = await asyncio.to_thread(self._read_file, file_path)
        await self._link.drive(self._twin.set(text, Options(), "import"))
        return True

    # --- what is built on it ---------------------------------------------------------------------------------

    async def run(self, call: protocol.Call[T]) -> T:
        """One round trip of a call that ``protocol.py`` makes, with this manager's retries, deadline and errors."""
        return await self._link.run(call)

    async def drive(self, flow: Flow[T]) -> T:
        """Runs a flow (``flows.py``) to its end: all the round trips that it asks for, each as `run`."""
        return await self._link.drive(flow)

    # --- itself ----------------------------------------------------------------------------------------------

    @property
    def client(self) -> connection.AsyncClient:
        """The redis-py client underneath, for what this class does not do.

        Raises:
            UsageError: the twin is not open yet.
        """
        return self._link.store.client

    async def close(self) -> None:
        """Gives back the connections, whoever else has this object; the next AsyncStateManager(...) of it is new."""
        self._forget()
        await asyncio.gather(*(one.close() for one in self._stop_following()), return_exceptions=True)
        await self._link.close()

    async def __aenter__(self) -> Self:
        try:
            await self._link.ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._was_last():
            await self.close()
