"""Every error that circman_redis raises.

::

    CircmanError
    ├── StateError                 what was asked for, or what it met, is at fault
    │   ├── InvalidJSON            (ValueError) not the JSON that a state may hold     CIRCMAN_BAD_JSON
    │   ├── StateTooLarge          (ValueError) over the twin's size limit             CIRCMAN_TOO_LARGE
    │   ├── StateValidationError   (ValueError) breaks the twin's rules                CIRCMAN_INVALID
    │   ├── StateConflict          somebody else committed first                       CIRCMAN_CONFLICT
    │   │   └── BranchConflict     a branch and its twin changed the same places
    │   ├── NoState                (LookupError) the twin has no state yet             CIRCMAN_NO_STATE
    │   ├── ModelMismatch          the twin has another model than the caller's        CIRCMAN_MODEL
    │   ├── RetryExpired           a retry too old to tell whether it was applied      CIRCMAN_EXPIRED
    │   ├── LeaseLost              another worker was given the role since             CIRCMAN_FENCED
    │   ├── CorruptTwin            the twin's keys do not agree with each other        CIRCMAN_CORRUPT
    │   └── BadBackup              (ValueError) no backup, or one that was damaged
    ├── StoreError                 the server, or the way to it, is at fault
    │   ├── StoreUnavailable       (ConnectionError) no answer from the server
    │   ├── Unconfirmed            a commit was made, and is not known to be as durable as asked for
    │   ├── NotPermitted           (PermissionError) the user is refused, or lacks a right
    │   ├── ScriptBusy             somebody's script kept the server busy
    │   ├── ReadOnlyReplica        the server is a replica, and takes no writes
    │   ├── StoreFull              the server has no memory left
    │   ├── WritesRefused          the server takes no writes: its disk, or too few replicas
    │   ├── UnsafeEviction         the server may evict the state
    │   ├── StaleMirror            a mirror that cannot be current
    │   └── EmbeddedUnavailable    the embedded server cannot be had or started
    ├── WaitTimeout                (TimeoutError) what was waited for did not come in time
    └── UsageError                 (ValueError) an argument or a setting is wrong
        └── PointerError           (LookupError) a JSON Pointer that leads nowhere
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circman_redis.results import Commit


class CircmanError(Exception):
    """The base of every error of this package."""


class UsageError(CircmanError, ValueError):
    """An argument or a setting is wrong, or contradicts one given before."""


class PointerError(UsageError, LookupError):
    """A JSON Pointer leads to a place that the document does not have."""


class StateError(CircmanError):
    """What was asked for cannot be done on this twin; nothing was changed.

    Attributes:
        details: what the commit script said, as it said it; empty when Python found it first.
    """

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = dict(details or {})


class InvalidJSON(StateError, ValueError):
    """Not the JSON that a state may hold: NaN, a duplicate key, a lone surrogate, too deep, ..."""


class StateTooLarge(StateError, ValueError):
    """The state would be over the twin's size limit."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where a state breaks a rule.

    Attributes:
        pointer: JSON Pointer (RFC 6901) of the place.
        rule: the JSON Schema keyword and what it asks for, such as ``{"minimum": 0}``.
        value: what stands there; None where nothing does.
    """

    pointer: str
    rule: Mapping[str, Any]
    value: Any = None

    def __str__(self) -> str:
        keyword, wanted = next(iter(self.rule.items()), ("rule", None))
        if keyword == "required":
            return f"{self.pointer}: required, and missing"
        if keyword == "additionalProperties":
            return f"{self.pointer}: unknown field, and the model allows none"
        if keyword == "adjust":
            return f"{self.pointer}: cannot be added to: {wanted}"
        if keyword == "python":  # what the model's own validators said
            return f"{self.pointer or '/'}: {wanted}"
        return f"{self.pointer or '/'}: {self.value!r} breaks {keyword} {wanted!r}"


class StateValidationError(StateError, ValueError):
    """The state breaks the twin's rules.

    Attributes:
        violations: every rule broken, each with its JSON Pointer, the rule and the value.
    """

    def __init__(
        self, violations: Sequence[Violation], message: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        self.violations = tuple(violations)
        super().__init__(message or "; ".join(map(str, self.violations)), details)


class StateConflict(StateError):
    """Somebody else committed first.

    Attributes:
        expected: the version that the caller wanted to build on.
        actual: the version that the twin has.
    """

    def __init__(self, message: str, expected: int, actual: int) -> None:
        super().__init__(message, {"expected": expected, "actual": actual})
        self.expected = expected
        self.actual = actual


class BranchConflict(StateConflict):
    """A branch cannot be merged back: its twin was changed, since the fork, where the branch was.

    Attributes:
        pointers: the places in question (JSON Pointers).
    """

    def __init__(self, message: str, expected: int, actual: int, pointers: Sequence[str]) -> None:
        super().__init__(message, expected, actual)
        self.pointers = tuple(pointers)


class LeaseLost(StateError):
    """A role that only one worker has at a time is another's now, or nobody's."""


class NoState(StateError, LookupError):
    """The twin has no state yet, and the call needs one."""


class ModelMismatch(StateError):
    """The twin has another model, or another level of validation, than the caller asked for."""


class RetryExpired(StateError):
    """A retry from further back than commit ids are remembered: whether it was applied cannot be told."""


class CorruptTwin(StateError):
    """The twin's keys do not agree with each other: something else wrote, or removed, one of them."""


class BadBackup(StateError, ValueError):
    """A file is no backup, or not as it was written: cut short, changed, of another format."""


class StoreError(CircmanError):
    """The server refused, or answered with something that it should not have."""


class StoreUnavailable(StoreError, ConnectionError):
    """No answer from the server within the retries.

    Attributes:
        commit_id: set where a commit was under way. Whether it was made is not known; the same call with
            this ``commit_id`` makes it if it was not, and otherwise returns the commit that was made.
    """

    def __init__(self, message: str, commit_id: str | None = None) -> None:
        super().__init__(message)
        self.commit_id = commit_id


class Unconfirmed(StoreError):
    """A commit was made, and was not confirmed in time to be as durable as was asked for.

    The same call with its ``commit_id`` waits for the confirmation again, and makes the commit anew where a failover
    has lost it.

    Attributes:
        commits: what was committed.
        commit_id: the id of the call.
    """

    def __init__(self, message: str, commits: Sequence[Commit], commit_id: str) -> None:
        super().__init__(message)
        self.commits = tuple(commits)
        self.commit_id = commit_id

    @property
    def commit(self) -> Commit:
        """The last of the commits."""
        return self.commits[-1]


class NotPermitted(StoreError, PermissionError):
    """The server refuses the user, or the user lacks a right; nothing was changed."""


class ScriptBusy(StoreError):
    """Somebody's script kept the server busy for the whole of the time-out; nothing was changed."""


class ReadOnlyReplica(StoreError):
    """The server is a replica and takes no writes, and did not become a master in time; nothing was changed."""


class StoreFull(StoreError):
    """The server has reached its maxmemory; nothing was changed."""


class WritesRefused(StoreError):
    """The server takes no writes: its disk is full or fails, or it has too few replicas; nothing was changed."""


class UnsafeEviction(StoreError):
    """When its memory is full, the server evicts keys, the state's among them."""


class EmbeddedUnavailable(StoreError):
    """The embedded server cannot be had on this machine, or could not be started."""


class StaleMirror(StoreError):
    """A mirror is older than it may be, or closed."""


class WaitTimeout(CircmanError, TimeoutError):
    """What was waited for did not come in time."""
