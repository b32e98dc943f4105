"""Pure: what the calls of a manager that read ask for, and the arguments that they take."""

from __future__ import annotations

import operator
from dataclasses import replace
from datetime import datetime
from typing import Any

from circman_redis import patch, protocol
from circman_redis.errors import UsageError
from circman_redis.flows import Flow, Twin
from circman_redis.keys import TwinKeys
from circman_redis.patch import Change
from circman_redis.protocol import Call
from circman_redis.results import HistoryEntry, State, StoredConfig
from circman_redis.shown import shown
from circman_redis.timestamps import format_timestamp, parse_timestamp


def history(twin: Twin, limit: int | None) -> Flow[list[State]]:
    """The most recent ``limit`` past states, or all; oldest first."""
    most = _whole("limit", limit)
    if most is not None and most <= 0:
        return []
    return (yield from _between(twin, 0, -1 if most is None else most - 1))


def past(twin: Twin, index: int | slice) -> Flow[Any]:
    """The past state at an index, or those of a slice; 0 the oldest, -1 the newest."""
    if isinstance(index, slice):
        everything = yield from _between(twin, 0, -1)
        return everything[index]
    # The list in Redis has the newest first: -1 here is 0 there.
    there = -1 - operator.index(index)
    found = yield from _between(twin, there, there)
    if not found:
        raise IndexError(f"twin {twin.keys.twin!r} has no past state {index}")
    return found[0]


def _between(twin: Twin, start: int, stop: int) -> Flow[list[State]]:
    """The past states from index ``start`` to ``stop``, in one round trip if it is known how they are kept."""
    if twin.config.history == "full":
        states: list[State] | None = yield protocol.history(twin.keys, start, stop)
        if states is not None:
            return states
        twin.config = replace(twin.config, history="compact")  # by somebody else, or it once was
    rebuilt: list[State] = yield protocol.past(twin.keys, start, stop)
    return rebuilt


def past_size(keys: TwinKeys) -> Flow[int]:
    """How many past states there are."""
    size: int = yield protocol.history_size(keys)
    return size


def history_form(keys: TwinKeys) -> Flow[str]:
    """How past states are kept, full or compact."""
    config: StoredConfig = yield protocol.config(keys)
    return config.history


def history_length(keys: TwinKeys) -> Flow[int]:
    """How many past states are kept at most."""
    config: StoredConfig = yield protocol.config(keys)
    return config.history_length


def commits(keys: TwinKeys, limit: int | None, before: int | None) -> Call[list[HistoryEntry]]:
    """At most ``limit`` commits below version ``before``, newest first."""
    return protocol.commits(keys, _whole("limit", limit), _whole("before", before))


def at_version(keys: TwinKeys, version: int) -> Flow[State | None]:
    """The state at a version; None where it is not kept."""
    number = _whole("version", version)
    if number is None:
        raise UsageError("version=None: use a whole number")
    if number <= 0:
        return None
    state: State | None = yield protocol.at_version(keys, number)
    return state


def at_time(keys: TwinKeys, timestamp: str | datetime) -> Call[State | None]:
    """The state that held at a time, which is a datetime or ISO 8601 text."""
    try:
        moment = parse_timestamp(timestamp) if isinstance(timestamp, str) else timestamp
        if not isinstance(moment, datetime):
            raise TypeError("a datetime or ISO 8601 text is wanted")  # noqa: TRY301 - said in one place
        text = format_timestamp(moment)
    except (ValueError, TypeError) as error:
        raise UsageError(f"timestamp={shown(timestamp)}: {error}") from error
    return protocol.at_time(keys, text)


def diff(keys: TwinKeys, old_version: int, new_version: int | None) -> Flow[list[Change]]:
    """What changed from one version to another, or to the current state."""
    old = yield from _known(keys, old_version)
    new = (yield protocol.current_state(keys)) if new_version is None else (yield from _known(keys, new_version))
    return patch.diff(old, new)


def _known(keys: TwinKeys, version: int) -> Flow[State]:
    state = yield from at_version(keys, version)
    if state is None:
        raise UsageError(f"twin {keys.twin!r}: version {version} never was, or has left the history")
    return state


def _whole(name: str, number: Any) -> int | None:
    """A whole number of any kind, numpy's too, or None."""
    if number is None:
        return None
    try:
        if isinstance(number, bool):
            raise TypeError  # noqa: TRY301 - an int to Python only
        return operator.index(number)
    except TypeError:
        raise UsageError(f"{name}={shown(number)}: use a whole number") from None
