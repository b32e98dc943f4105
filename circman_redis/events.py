"""What a subscription hands out. All of it is frozen, the states inside too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

from circman_redis import patch as patches
from circman_redis.patch import MISSING, Change
from circman_redis.results import Snapshot, position

FrozenState: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class TwinEvent:
    """What every event has.

    Attributes:
        twin: the twin's id.
        epoch: the twin's, after this event; empty where it has no state.
        version: the twin's, after this event.
    """

    kind: ClassVar[str]

    twin: str
    epoch: str
    version: int

    @property
    def position(self) -> str:
        """Where to go on after this event, later or in another process: ``subscribe(since=event.position)``."""
        return position(self.epoch, self.version, getattr(self, "committed_at", None))

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object."""
        facts = {"event": self.kind, "twin": self.twin, "epoch": self.epoch, "version": self.version}
        return facts | {"position": self.position}


@dataclass(frozen=True)
class StateEvent(TwinEvent):
    """One commit.

    Attributes:
        op: set, import, merge, adjust or external.
        actor: who committed it.
        id: its commit id.
        timestamp: the state's own time (ISO 8601), None where it names none.
        committed_at: the server's clock when it was stored (ISO 8601, UTC).
        patch: the merge patch (RFC 7396) that made it; None for a set, an import or an external.
        state: the state that it made; it cannot be changed, and shares what did not change with `previous`.
        previous: the state before it; None where that has left the history.
    """

    kind: ClassVar[Literal["commit"]] = "commit"

    op: str
    actor: str | None
    id: str | None
    timestamp: str | None
    committed_at: str
    patch: FrozenState | None
    state: FrozenState = field(repr=False)
    previous: FrozenState | None = field(repr=False)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Where `previous` and `state` differ: pointer, before, after.

        Where `previous` is not known: the places that the patch names, with nothing before.
        """
        if self.previous is not None:
            return tuple(patches.diff(self.previous, self.state))
        return tuple(
            Change(pointer, MISSING, patches.resolve(self.state, pointer, MISSING))
            for pointer in patches.pointers(self.patch)
        )

    @property
    def changed(self) -> tuple[str, ...]:
        """The JSON Pointers (RFC 6901) of the places that changed."""
        return tuple(change.pointer for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object: its facts, and what changed with before and after."""
        facts = {name: getattr(self, name) for name in ("op", "actor", "id", "timestamp", "committed_at", "patch")}
        return super().to_json() | facts | {"changes": [change.to_json() for change in self.changes]}


@dataclass(frozen=True)
class HistoryGap(TwinEvent):
    """Versions that left the history before they could be read. The event of `version` comes next.

    Attributes:
        lost: the versions that nobody can hand out any more.
        snapshot: the oldest state that is still there, to go on from; its version is `version`. Empty, with
            version 0, where the twin was deleted.
    """

    kind: ClassVar[Literal["gap"]] = "gap"

    lost: range
    snapshot: Snapshot = field(repr=False)

    @property
    def state(self) -> FrozenState:
        """The state to go on from."""
        return self.snapshot.state

    @property
    def position(self) -> str:
        """Where to go on after this event: before the first version that is still there."""
        return position(self.epoch, self.lost[-1])

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object: the first and the last version lost, and the state to go on from."""
        return super().to_json() | {"lost": [self.lost[0], self.lost[-1]], "state": self.state}


@dataclass(frozen=True)
class StateRolledBack(TwinEvent):
    """The twin is not what it was: deleted, made again, or set back by a failover or an older copy.

    What was committed since comes next, from the snapshot on.

    Attributes:
        previous_epoch: the epoch before.
        previous_version: the last version that was handed out of it.
        snapshot: the state to go on from; its version is `version`. Empty, with version 0 and no epoch, where the
            twin was deleted, whether or not it was made again since.
    """

    kind: ClassVar[Literal["rollback"]] = "rollback"

    previous_epoch: str
    previous_version: int
    snapshot: Snapshot = field(repr=False)

    @property
    def committed_at(self) -> str | None:
        """When the commit of `version` was stored."""
        return self.snapshot.committed_at

    @property
    def state(self) -> FrozenState:
        """The state to go on from."""
        return self.snapshot.state

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object: where the twin was before, and the state to go on from."""
        before = {"previous_epoch": self.previous_epoch, "previous_version": self.previous_version}
        return super().to_json() | before | {"state": self.state}


@dataclass(frozen=True)
class ForeignWrite(TwinEvent):
    """Something else than a commit changed the state, or damaged the history. No version stands for it.

    Attributes:
        key: the key.
        reason: how it was noticed.
        state: what stands there now; None where that is no JSON object.
        committed_at: when the commit of `version` was stored.
    """

    kind: ClassVar[Literal["foreign"]] = "foreign"

    key: str
    reason: str
    state: FrozenState | None = field(repr=False)
    committed_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object: the key, how it was noticed, and what stands there now."""
        return super().to_json() | {"key": self.key, "reason": self.reason, "state": self.state}


@dataclass(frozen=True)
class Heartbeat(TwinEvent):
    """Nothing happened for as long as the caller wanted to wait.

    Attributes:
        connected: whether that is known: False while there is no connection to the server.
        committed_at: when the commit of `version` was stored.
    """

    kind: ClassVar[Literal["heartbeat"]] = "heartbeat"

    connected: bool
    committed_at: str | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return super().to_json() | {"connected": self.connected}


Event: TypeAlias = StateEvent | HistoryGap | StateRolledBack | ForeignWrite | Heartbeat
