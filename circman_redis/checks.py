"""Pure: what a commit will make of a state, and why a state would be refused, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from circman_redis import patch
from circman_redis.canonical import canonical
from circman_redis.codec import decode, encode
from circman_redis.errors import StateValidationError, Violation
from circman_redis.results import State, StoredConfig
from circman_redis.timestamps import TIMESTAMP_FORMAT, format_timestamp


def refuse(model: type[BaseModel], state: State, config: StoredConfig) -> None:
    """Raises StateValidationError for what `python_violations` finds."""
    violations = python_violations(model, state, config)
    if violations:
        raise StateValidationError(violations)


def python_violations(model: type[BaseModel], state: State, config: StoredConfig) -> list[Violation]:
    """What the model's own validators say of a state; nothing at level none."""
    if config.validation == "none":
        return []
    if config.auto_timestamp and state.get("timestamp") is None:
        state = {**state, "timestamp": format_timestamp(datetime.now(UTC))}
    try:
        model.model_validate_json(encode(state))
    except ValidationError as error:
        # What is missing or unknown is for the rules to say, by their level.
        ours = [one for one in error.errors() if one["type"] not in {"missing", "extra_forbidden"}]
        return [Violation(patch.join_pointer(one["loc"]), {"python": one["msg"]}, one["input"]) for one in ours]
    return []


def explained(violations: Sequence[Violation]) -> str:
    """All of them, the one of the timestamp first and in the words that callers know."""
    bad = [one for one in violations if one.pointer == "/timestamp" and one.rule.keys() & {"type", "format"}]
    said = [f"Invalid timestamp format: {one.value!r}, wanted {TIMESTAMP_FORMAT}" for one in bad]
    return "; ".join([*said, *(str(one) for one in violations if one not in bad)])


def stored_too_large(text: bytes, max_bytes: int) -> str | None:
    """Why the stored form is over the limit: some bytes in a string take six there. Slow, so only where it is near."""
    size = len(text) if len(text) * 6 <= max_bytes else len(canonical(text).encode())
    return f"state: {size:,} bytes as it is stored, over the limit of {max_bytes:,}" if size > max_bytes else None


def merged(state: State, patches: Sequence[State]) -> list[State]:
    """The states that merge patches make, one after the other."""
    states = []
    for one in patches:
        state = patch.merge(state, one)
        states.append(state)
    return states


def adjusted(state: State, deltas: Mapping[str, Any]) -> State:
    """The state as the script will make it; a place that it will refuse is left for it to name."""
    result: State = decode(encode(state))
    for pointer, delta in deltas.items():
        *parents, last = patch.split_pointer(pointer)
        place = patch.resolve(result, patch.join_pointer(parents), default=None)
        if isinstance(place, dict) and isinstance(place.get(last), int | float):
            place[last] += delta
    return result
