"""Pure: domain events in words that fit a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from circman_redis.twin.domain import DomainEvent
from circman_redis.view.words import brief, local, name_of

_WORDS = {"greater_than": "over", "less_than": "under", "equal": "equal to", "not_equal": "other than"}
_LONGEST = 60  # characters of a value


def happening_line(event: DomainEvent) -> str:
    """When, who, what."""
    return f"{local(event.committed_at):%H:%M:%S}  {name_of(event.actor)}  {in_words(event)}"


def in_words(event: DomainEvent) -> str:
    """What happened, in words."""
    said = _SAID.get(event.kind)
    try:
        return said(event.data) if said else f"{event.kind} {brief(event.data, _LONGEST)}"
    except (KeyError, TypeError):  # somebody else's event: its data is whatever it is
        return f"{event.kind} {brief(event.data, _LONGEST)}"


def _breached(data: Mapping[str, Any]) -> str:
    limit = f"{_WORDS[data['comparison']]} {brief(data['limit'], _LONGEST)}"
    return f"BREACHED {data['threshold']} ({data['severity']}): {data['pointer']} is {_value(data)}, {limit}"


def _cleared(data: Mapping[str, Any]) -> str:
    how = "its rule was removed" if data.get("why") == "removed" else f"{data['pointer']} is {_value(data)}"
    return f"cleared {data['threshold']}: {how}"


def _value(data: Mapping[str, Any]) -> str:
    if data.get("value_omitted"):
        return "long"
    return brief(data["value"], _LONGEST) if "value" in data else "not there"


def _simulated(data: Mapping[str, Any]) -> str:
    runs = data.get("runs", 1)
    several = f" in {runs} runs" if runs > 1 else ""
    return f"simulated {data['steps']} steps{several} from version {data['version']} on"


def _failed(data: Mapping[str, Any]) -> str:
    return f"{data['source']} fails: {brief(data['error'], 2 * _LONGEST)}"


def _joined(data: Mapping[str, Any]) -> str:
    return f"{data['worker']} joined, as {', '.join(data['roles'])}"


def _left(data: Mapping[str, Any]) -> str:
    return f"{data['worker']} left: {data['why']}"


_SAID: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "threshold_breached": _breached,
    "threshold_cleared": _cleared,
    "simulation_result": _simulated,
    "error": _failed,
    "worker_joined": _joined,
    "worker_left": _left,
}
