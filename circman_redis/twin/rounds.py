"""Rounds of a twin: its data sources are asked, and what changed is committed, at once or several rounds together."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

from circman_redis import protocol
from circman_redis.codec import encode_exactly
from circman_redis.errors import (
    InvalidJSON,
    RetryExpired,
    StateError,
    StateTooLarge,
    StateValidationError,
    StoreUnavailable,
    Unconfirmed,
)
from circman_redis.manager import StateManager
from circman_redis.results import Commit, State
from circman_redis.timestamps import format_timestamp
from circman_redis.twin.domain import DomainEvents, Kind
from circman_redis.twin.layers import Layer, in_turn, read, trials
from circman_redis.twin.reports import SourceReports
from circman_redis.twin.sources import SourceFunction, Sources

log = logging.getLogger("circman_redis.twin")

MOST_TOGETHER = 1000
"""Rounds that one call commits, at most: as many as `StateManager.update_many` takes."""

MOST_HELD = 10_000
"""Rounds that are held at most, while they cannot be committed; then the oldest are dropped."""

_OWN = 1024  # commits that are remembered as one's own


@dataclass(frozen=True, slots=True)
class _Held:
    """A round that is to be committed later.

    Attributes:
        layers: what the sources said.
        at: when they did, by this machine's clock.
    """

    layers: tuple[Layer, ...]
    at: str


class Rounds:
    """The rounds of one twin in this process; threads may share it, and have one round at a time.

    Args:
        manager: the twin's.
    """

    def __init__(self, manager: StateManager) -> None:
        self.manager = manager
        self.sources = Sources()
        self._reports = SourceReports(manager.twin, self.publish)
        self._events: DomainEvents | None = None
        self._making_events = threading.Lock()
        self._lock = threading.Lock()
        self._held: deque[_Held] = deque()
        self._unsure: tuple[str, list[_Held], list[State]] | None = None  # what was sent together, and not answered
        self._own: dict[str, None] = {}

    @property
    def events(self) -> DomainEvents:
        """The domain events of the twin."""
        with self._making_events:
            if self._events is None:
                self._events = DomainEvents(self.manager)
            return self._events

    @property
    def held(self) -> int:
        """How many rounds are held, to be committed later."""
        return len(self._held) + (len(self._unsure[1]) if self._unsure else 0)

    def register(self, name: str, fn: SourceFunction, timeout: float | None = None) -> None:
        """Adds a source; arguments and errors are those of `Sources.register`."""
        self.sources.register(name, fn, timeout)

    def unregister(self, name: str) -> None:
        """Removes a source."""
        self.sources.unregister(name)
        self._reports.forget(name)

    def is_own(self, position: str) -> bool:
        """Whether a commit is one of these rounds', of those that were made lately."""
        return position in self._own

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Says that something happened to the twin; a branch has no domain events, and nothing is said of it."""
        if "@" not in self.manager.twin:
            self.events.publish(cast("Kind", kind), data)

    def close(self) -> None:
        """Gives back the connections of the domain events; they are made again where they are needed."""
        with self._making_events:
            events, self._events = self._events, None
        if events is not None:
            events.close()

    def update(
        self, external_data: Any = None, *, timeout: float, stop: threading.Event | None = None
    ) -> Commit | None:
        """One round: asks the sources, and commits what changed as one merge patch; what is held goes first.

        Args:
            external_data: the caller's own, a JSON object that goes over the sources'; None for none.
            timeout: seconds that a source may take.
            stop: once it is set, no source is waited for any more.

        Returns:
            The last commit; None where nothing changed.

        Raises:
            InvalidJSON: ``external_data`` is no JSON object.
            StateValidationError: it breaks the twin's rules. The other errors are those of `StateManager.update_state`.
        """
        own = [] if external_data is None else [Layer(None, read(external_data, "external_data"))]
        with self._lock:
            layers = self._collect(timeout, stop)
            before = self._commit_held()
            return self._commit_round([*layers, *own]) or before

    def hold(self, *, timeout: float, stop: threading.Event | None = None) -> None:
        """Asks the sources, and holds what they said for `commit_held`."""
        with self._lock:
            layers = self._collect(timeout, stop)
            if layers:
                self._held.append(_Held(layers, format_timestamp(datetime.now(UTC))))
            if len(self._held) > MOST_HELD:
                self._held.popleft()
                log.warning("twin %r: %d rounds cannot be committed: dropped the oldest", self.manager.twin, MOST_HELD)
            self._reports.publish()

    def commit_held(self) -> Commit | None:
        """Commits what is held: a version for each round that changed something; those of one call all or none.

        Returns:
            The last commit; None where nothing changed.

        Raises:
            StoreError: the server, or the way to it, is at fault; what was not committed is held still.
        """
        with self._lock:
            return self._commit_held()

    # --- a round -----------------------------------------------------------------------------------------------------

    def _collect(self, timeout: float, stop: threading.Event | None) -> tuple[Layer, ...]:
        collected = self.sources.collect(timeout, stop)
        self._reports.failing(collected.failures)
        return collected.layers

    def _commit_round(self, layers: Sequence[Layer], stamp: str | None = None) -> Commit | None:
        """Commits what the layers change, but for those of sources that the rules refuse."""
        state = self.manager.run(protocol.exact_state(self.manager.keys)) if layers else {}
        search = trials(state, layers)
        commit: Commit | None = None
        refused: dict[str, str] = {}
        trial = next(search)
        while True:
            error = None
            try:
                commit = self._commit(in_turn(state, [(trial, stamp)]))
            except StateValidationError as refusal:
                error = refusal
            try:
                trial = search.send(error)
            except StopIteration as end:
                refused = end.value
                break
        self._settle(layers, refused)
        return commit

    def _commit(self, patches: Sequence[State]) -> Commit | None:
        if not patches:
            return None
        (patch,) = patches
        commit = self.manager.update_state(encode_exactly(patch))
        self._remember([commit])
        return commit

    def _settle(self, layers: Iterable[Layer], refused: dict[str, str]) -> None:
        """Tells of the sources whose data were refused, and of those that are well."""
        self._reports.failing([self.sources.refuse(name, why) for name, why in refused.items()])
        well = {name for name, status in self.sources.status.items() if not status.error}
        self._reports.well(layer.source for layer in layers if layer.source in well)
        self._reports.publish()

    def _remember(self, commits: Iterable[Commit]) -> None:
        self._own |= dict.fromkeys(commit.position for commit in commits)
        for position in list(islice(self._own, max(0, len(self._own) - _OWN))):
            del self._own[position]

    # --- several rounds together -------------------------------------------------------------------------------------

    def _commit_held(self) -> Commit | None:
        commit = self._send_again()
        while self._held:
            commit = self._commit_some(list(islice(self._held, MOST_TOGETHER))) or commit
        return commit

    def _commit_some(self, rounds: list[_Held]) -> Commit | None:
        """Commits the oldest of those that are held; one at a time where they cannot be committed together."""
        state = self.manager.run(protocol.exact_state(self.manager.keys))
        stamps = self.manager.config.auto_timestamp
        patches = in_turn(state, [(one.layers, one.at if stamps else None) for one in rounds])
        if len(patches) < 2:  # noqa: PLR2004 - one is no several
            return self._one_by_one(rounds, stamps)
        commit_id = self.manager.new_commit_id()
        try:
            commit = self._commit_together(patches, commit_id)
        except (StateValidationError, StateTooLarge):
            return self._one_by_one(rounds, stamps)
        except StoreUnavailable as error:
            if error.commit_id:
                self._unsure = commit_id, rounds, patches
                self._drop(rounds)
            raise
        except Unconfirmed:
            self._drop(rounds)
            raise
        self._drop(rounds)
        self._settle([layer for one in rounds for layer in one.layers], {})
        return commit

    def _commit_together(self, patches: Iterable[State], commit_id: str) -> Commit:
        commits = self.manager.update_many([encode_exactly(patch) for patch in patches], commit_id=commit_id)
        self._remember(commits)
        return commits[-1]

    def _one_by_one(self, rounds: Sequence[_Held], stamps: bool) -> Commit | None:
        commit = None
        for one in rounds:
            try:
                commit = self._commit_round(one.layers, one.at if stamps else None) or commit
            except (StateTooLarge, InvalidJSON) as error:  # it will never be anything else
                log.warning("twin %r: the round of %s is left out: %s", self.manager.twin, one.at, error)
            except Unconfirmed:
                self._drop([one])
                raise
            self._drop([one])
        return commit

    def _drop(self, rounds: Sequence[_Held]) -> None:
        for _ in rounds:
            self._held.popleft()

    def _send_again(self) -> Commit | None:
        """Finds out about the rounds of which it is not known whether they were committed; commits them if not."""
        if self._unsure is None:
            return None
        commit_id, rounds, patches = self._unsure
        try:
            commit = self._commit_together(patches, commit_id)
        except RetryExpired as error:
            log.warning("twin %r: whether %d rounds were committed: %s", self.manager.twin, len(rounds), error)
            commit = None
        except StateError:  # refused, so they were not; what is wrong with them shows when they are committed anew
            self._held.extendleft(reversed(rounds))
            commit = None
        except Unconfirmed:
            self._unsure = None
            raise
        self._unsure = None
        return commit
