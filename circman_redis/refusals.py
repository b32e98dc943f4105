"""Pure: what a script refuses, as the errors that our callers get; ``docs/wire.md`` has the particulars of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from circman_redis import errors
from circman_redis.codec import decode
from circman_redis.errors import StateError, Violation
from circman_redis.keys import TwinKeys


def is_ours(message: str) -> bool:
    """Whether an error reply is one of a script's own."""
    return message.partition(" ")[0] in ERRORS


def error_of(message: str, keys: TwinKeys) -> StateError | None:
    """The error that a script's error reply stands for, None where it is not one of ours."""
    code, _, particulars = message.partition(" ")
    make = ERRORS.get(code)
    if make is None:
        return None
    details: dict[str, Any] = decode(particulars)
    return make(details, f"twin {keys.twin!r}")


def conflict(keys: TwinKeys, expected: int, actual: int) -> StateError:
    """The error of a commit that expected another version, where that is known before it is sent."""
    return _conflict({"expected": expected, "actual": actual}, f"twin {keys.twin!r}")


def no_state(keys: TwinKeys) -> StateError:
    """The error of what needs a state, where there is none yet."""
    return _no_state({}, f"twin {keys.twin!r}")


def _invalid(details: dict[str, Any], twin: str) -> StateError:
    violations = [
        Violation(one["pointer"], {one["keyword"]: _wanted(one)}, one["value"]) for one in details["violations"]
    ]
    said = "; ".join(map(str, violations))
    return errors.StateValidationError(violations, f"{twin}: the commit breaks its rules: {said}", details)


def _wanted(violation: dict[str, Any]) -> Any:
    keyword = violation["keyword"]
    return {"required": True, "additionalProperties": False}.get(keyword, violation["rule"].get(keyword))


def _conflict(details: dict[str, Any], twin: str) -> StateError:
    expected, actual = details["expected"], details["actual"]
    found = f"is at version {actual}, not {expected}"
    if expected == actual:
        found = f"was made again, or set back by a failover, since version {expected} was read"
    message = f"{twin} {found}: read it again, and decide again"
    return errors.StateConflict(message, expected, actual)


def _bad_json(details: dict[str, Any], twin: str) -> StateError:
    place = f" at {details['pointer'] or '/'}" if "pointer" in details else ""
    return errors.InvalidJSON(f"{twin}: refused{place}: {details['reason']}", details)


def _too_large(details: dict[str, Any], twin: str) -> StateError:
    if "max_bytes" not in details:
        message = (
            f"{twin}: {details['commits']} commits of its size in one call; at most {details['most']} (and at least 1)"
        )
    else:
        message = f"{twin}: {details['bytes']} bytes are over its limit of {details['max_bytes']} (max_bytes)"
    return errors.StateTooLarge(message, details)


def _no_state(details: dict[str, Any], twin: str) -> StateError:
    if details.get("version"):
        message = f"{twin} has no state of version {details['version']}: it never was, or has left the history"
    else:
        message = f"{twin} has no state yet: commit one with set_state or update_state"
    return errors.NoState(message, details)


def _model(details: dict[str, Any], twin: str) -> StateError:
    if not details["yours"]:
        message = (
            f"{twin} goes by model {details['model']!r}, some of whose checks only Python can make: "
            "open it with model=<that class>"
        )
    else:
        message = f"{twin}: the published model is {details['model'] or 'none'!r} ({details['published'] or '-'}), "
        message += f"the caller's is another ({details['yours']}): publish_model() replaces the published one"
    return errors.ModelMismatch(message, details)


def _expired(details: dict[str, Any], twin: str) -> StateError:
    message = (
        f"{twin}: commit id {details['id']!r} was made or first sent before {details['remembered_since']}, "
        "further back than ids are remembered: look in the history whether it was committed"
    )
    return errors.RetryExpired(message, details)


def _fenced(details: dict[str, Any], twin: str) -> StateError:
    role, holder = details["role"], details["holder"]
    whose = f"{holder!r} has it now" if holder else "it was given back, or never given"
    message = f"{twin}: the role {role!r} is not this worker's any more, {whose}: take it anew before going on"
    return errors.LeaseLost(message, details)


def _corrupt(details: dict[str, Any], twin: str) -> StateError:
    message = f"{twin}: key {details['key']} {details['reason']}: `circman-redis doctor` looks closer"
    return errors.CorruptTwin(message, details)


ERRORS: dict[str, Callable[[dict[str, Any], str], StateError]] = {
    "CIRCMAN_CONFLICT": _conflict,
    "CIRCMAN_INVALID": _invalid,
    "CIRCMAN_BAD_JSON": _bad_json,
    "CIRCMAN_TOO_LARGE": _too_large,
    "CIRCMAN_NO_STATE": _no_state,
    "CIRCMAN_MODEL": _model,
    "CIRCMAN_EXPIRED": _expired,
    "CIRCMAN_FENCED": _fenced,
    "CIRCMAN_CORRUPT": _corrupt,
}
