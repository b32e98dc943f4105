"""What the calls return. All of it is frozen; the states inside are the caller's own copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

State = dict[str, Any]


def position(epoch: str, version: int, committed_at: str | None = None) -> str:
    """A place in a twin's commits as text: ``epoch:version:committed_at``, the last part only where it is known.

    With all three it names one commit for ever: a failover may set a twin back and give a version to another commit.
    """
    return f"{epoch}:{version}:{committed_at}" if committed_at else f"{epoch}:{version}"


def read_position(text: str) -> tuple[str, int, str]:
    """Epoch, version and committed_at of a position, or of a version alone; empty where they are not in it.

    Raises:
        ValueError: it is neither.
    """
    epoch, version, committed_at = "", text, ""
    if ":" in text:
        epoch, version, committed_at = (*text.split(":", 2), "")[:3]
    if not (version.isascii() and version.isdigit() and len(version) <= _DIGITS):
        raise ValueError("neither a version nor a position")
    return epoch, int(version), committed_at


_DIGITS = 18  # of a version, at most


@dataclass(frozen=True, slots=True)
class Commit:
    """One accepted change.

    Attributes:
        version: 1, 2, 3 ... without a gap.
        epoch: a twin deleted and made again has another.
        timestamp: the state's own time (ISO 8601), None where it names none.
        committed_at: the server's clock when it was stored (ISO 8601, UTC).
        duplicate: whether this was a repeated call, answered with the commit that the first one made.
    """

    version: int
    epoch: str
    timestamp: str | None
    committed_at: str
    duplicate: bool = False

    @property
    def position(self) -> str:
        """Where to go on after this commit: ``subscribe(since=commit.position)``."""
        return position(self.epoch, self.version, self.committed_at)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state together with the facts of the commit that made it.

    Attributes:
        state: the state; empty before the first commit.
        version: 0 before the first commit.
        epoch: empty before the first commit.
        timestamp: the state's own time (ISO 8601).
        committed_at: the server's clock when it was stored (ISO 8601, UTC).
        actor: who committed it.
        op: set, import, merge, adjust or external.
        read_from: ``replica`` where a replica was asked: then it may be behind.
    """

    state: State
    version: int = 0
    epoch: str = ""
    timestamp: str | None = None
    committed_at: str | None = None
    actor: str | None = None
    op: str | None = None
    read_from: str = "master"

    @property
    def position(self) -> str:
        """Where to go on after this state: ``subscribe(since=snapshot.position)``."""
        return position(self.epoch, self.version, self.committed_at)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One commit of the past (or the head), with the state that it made.

    Attributes:
        version: its version.
        timestamp: the state's own time (ISO 8601).
        committed_at: the server's clock when it was stored (ISO 8601, UTC).
        op: set, import, merge, adjust or external.
        actor: who committed it.
        id: its commit id.
        patch: the merge patch (RFC 7396) that made it; None for a set, an import or an external.
        state: the state that it made.
    """

    version: int
    timestamp: str | None
    committed_at: str
    op: str
    actor: str | None
    id: str | None
    patch: State | None
    state: State


@dataclass(frozen=True, slots=True)
class StoredConfig:
    """A twin's settings as they stand in Redis; they bind every writer.

    Attributes:
        model: the published model's name, None where none was published yet.
        model_hash: what tells one model from another.
        checks: ``server`` where the script checks all rules, ``python`` where some need the model itself.
        validation: ``none``, ``standard`` or ``strict``.
        history_length: how many superseded commits are kept.
        max_bytes: how large a state may be.
        auto_timestamp: whether the server stamps a commit that names no timestamp.
        history: ``full`` where each superseded commit is kept with its state, ``compact`` where most of them are
            kept with the way back to it.
    """

    model: str | None = None
    model_hash: str | None = None
    checks: str = "server"
    validation: str = "standard"
    history_length: int = 1000
    max_bytes: int = 1_048_576
    auto_timestamp: bool = True
    history: str = "full"


@dataclass(frozen=True, slots=True)
class Page:
    """What came after a version, as much of it as one reply carries.

    Attributes:
        epoch: the twin's.
        newest: the version of the newest commit, which may be beyond this page.
        last: the commit of the last version known; None where it is not there (any more).
        commits: those after it, oldest first, each with the facts of a `HistoryEntry`. The state is left out
            where there is a patch, and the state before it is known or comes before it.
    """

    epoch: str
    newest: int
    last: State | None
    commits: list[State]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a twin's keys do not agree with each other: something else than a commit wrote, or removed, one of them.

    Attributes:
        key: the key that is at fault.
        version: which version it is about; None where it is about no single one.
        says: what is wrong with the key, in words that follow its name.
    """

    key: str
    version: int | None
    says: str

    def __str__(self) -> str:
        return f"{self.key} {self.says}"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found: whether the keys agree, and what became of each commit that the logs tell of.

    Attributes:
        epoch: the twin's; empty where there is no twin.
        first: the oldest version that could be read; 0 where there is none.
        last: the newest.
        commits: how many were read.
        ids: how many ids they have.
        acknowledged: commits that the logs say were acknowledged: all of the following five together.
        found: those that are there once, with the version, epoch and committed_at that their client was told.
        lost: those that are not there, and should be.
        doubled: those that are there more than once.
        differing: those that are there otherwise than their client was told.
        beyond: those older than what could be read: whether they were there cannot be told any more.
        made: unacknowledged commits that are there.
        not_made: unacknowledged commits that are not.
        untold: unacknowledged commits that are not there, and may have left the history.
        refused: commits that were refused; one that is there is a finding.
        unlogged: commits that are there, and that no log tells of.
        torn: lines of the logs that were not written to their end.
        findings: what is wrong, the first hundred of what is wrong with ids.
    """

    epoch: str = ""
    first: int = 0
    last: int = 0
    commits: int = 0
    ids: int = 0
    acknowledged: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    differing: int = 0
    beyond: int = 0
    made: int = 0
    not_made: int = 0
    untold: int = 0
    refused: int = 0
    unlogged: int = 0
    torn: int = 0
    findings: tuple[Disagreement, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found, and what it did or would do about it.

    Attributes:
        twin: the twin's id.
        found: what was wrong before.
        steps: what repairing does, in words and in order; empty where there is nothing to do.
        left: what stays wrong all the same, and what to do about that.
        kept: the keys that what was found is kept in; nobody but their owner removes them.
        applied: whether it was done.
    """

    twin: str
    found: tuple[Disagreement, ...]
    steps: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    applied: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the twin is as commits made it, now."""
        return not self.found or (self.applied and not self.left)

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        found = [{"key": one.key, "version": one.version, "says": one.says} for one in self.found]
        lists = {name: list(getattr(self, name)) for name in ("steps", "left", "kept")}
        return {"twin": self.twin, "found": found, **lists, "applied": self.applied, "whole": self.is_whole}
