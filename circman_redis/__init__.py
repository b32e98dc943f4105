"""One shared, validated, versioned digital-twin state in Redis: ``StateManager`` is the front door."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from circman_redis._version import __version__

if TYPE_CHECKING:
    from circman_redis.aio import AsyncStateManager
    from circman_redis.callbacks import AsyncHandle, Handle
    from circman_redis.codec import JSONText
    from circman_redis.errors import (
        BadBackup,
        BranchConflict,
        CircmanError,
        CorruptTwin,
        EmbeddedUnavailable,
        InvalidJSON,
        LeaseLost,
        ModelMismatch,
        NoState,
        NotPermitted,
        PointerError,
        ReadOnlyReplica,
        RetryExpired,
        ScriptBusy,
        StaleMirror,
        StateConflict,
        StateError,
        StateTooLarge,
        StateValidationError,
        StoreError,
        StoreFull,
        StoreUnavailable,
        Unconfirmed,
        UnsafeEviction,
        UsageError,
        Violation,
        WaitTimeout,
        WritesRefused,
    )
    from circman_redis.events import Event, ForeignWrite, Heartbeat, HistoryGap, StateEvent, StateRolledBack
    from circman_redis.files import ResultsFolder, ResultsManager
    from circman_redis.journal import Journal
    from circman_redis.manager import StateManager
    from circman_redis.mirror import AsyncMirror, Mirror
    from circman_redis.models import Environment, Material, ProductionLine, TwinState
    from circman_redis.patch import MISSING, Change
    from circman_redis.results import (
        AuditReport,
        Commit,
        Disagreement,
        HistoryEntry,
        RepairReport,
        Snapshot,
        StoredConfig,
    )
    from circman_redis.subscription import AsyncSubscription, Subscription

# Where each public name lives; it is imported when it is asked for, so that `circman-redis --help` is quick.
_HOMES = {
    "aio": ("AsyncStateManager",),
    "callbacks": ("AsyncHandle", "Handle"),
    "codec": ("JSONText",),
    "errors": (
        "BadBackup",
        "BranchConflict",
        "CircmanError",
        "CorruptTwin",
        "EmbeddedUnavailable",
        "InvalidJSON",
        "LeaseLost",
        "ModelMismatch",
        "NoState",
        "NotPermitted",
        "PointerError",
        "ReadOnlyReplica",
        "RetryExpired",
        "ScriptBusy",
        "StaleMirror",
        "StateConflict",
        "StateError",
        "StateTooLarge",
        "StateValidationError",
        "StoreError",
        "StoreFull",
        "StoreUnavailable",
        "Unconfirmed",
        "UnsafeEviction",
        "UsageError",
        "Violation",
        "WaitTimeout",
        "WritesRefused",
    ),
    "events": ("Event", "ForeignWrite", "Heartbeat", "HistoryGap", "StateEvent", "StateRolledBack"),
    "files": ("ResultsFolder", "ResultsManager"),
    "journal": ("Journal",),
    "manager": ("StateManager",),
    "mirror": ("AsyncMirror", "Mirror"),
    "models": ("Environment", "Material", "ProductionLine", "TwinState"),
    "patch": ("MISSING", "Change"),
    "results": ("AuditReport", "Commit", "Disagreement", "HistoryEntry", "RepairReport", "Snapshot", "StoredConfig"),
    "subscription": ("AsyncSubscription", "Subscription"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # which then knows the names above, and no others

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


__all__ = [
    "MISSING",
    "AsyncHandle",
    "AsyncMirror",
    "AsyncStateManager",
    "AsyncSubscription",
    "AuditReport",
    "BadBackup",
    "BranchConflict",
    "Change",
    "CircmanError",
    "Commit",
    "CorruptTwin",
    "Disagreement",
    "EmbeddedUnavailable",
    "Environment",
    "Event",
    "ForeignWrite",
    "Handle",
    "Heartbeat",
    "HistoryEntry",
    "HistoryGap",
    "InvalidJSON",
    "JSONText",
    "Journal",
    "LeaseLost",
    "Material",
    "Mirror",
    "ModelMismatch",
    "NoState",
    "NotPermitted",
    "PointerError",
    "ProductionLine",
    "ReadOnlyReplica",
    "RepairReport",
    "ResultsFolder",
    "ResultsManager",
    "RetryExpired",
    "ScriptBusy",
    "Snapshot",
    "StaleMirror",
    "StateConflict",
    "StateError",
    "StateEvent",
    "StateManager",
    "StateRolledBack",
    "StateTooLarge",
    "StateValidationError",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "StoredConfig",
    "Subscription",
    "TwinState",
    "Unconfirmed",
    "UnsafeEviction",
    "UsageError",
    "Violation",
    "WaitTimeout",
    "WritesRefused",
    "__version__",
]
