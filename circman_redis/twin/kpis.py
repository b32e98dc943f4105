"""Pure: the key figures of a twin, by the places of `TwinState`; what the states do not say is None."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from circman_redis.patch import resolve
from circman_redis.results import HistoryEntry
from circman_redis.timestamps import parse_timestamp
from circman_redis.twin.threshold_rule import is_number

_STATUS, _RATE, _ENERGY = (f"/production_line/{name}" for name in ("status", "production_rate", "energy_consumption"))
_EFFICIENCY, _DEFECTS = "/production_line/efficiency", "/production_line/defect_rate"
_RUNNING = "running"
_HOUR = timedelta(hours=1)

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stock:
    """How much there is of a material.

    Attributes:
        material: its name.
        inventory: units.
    """

    material: str
    inventory: float


@dataclass(frozen=True, slots=True)
class Kpis:
    """The key figures of a twin. None where the states do not say, or say what is out of its unit's bounds.

    The first five are of one state, the last two of `period`: of each state as long as it held.

    Attributes:
        production_rate: units per hour.
        efficiency: fraction, 0 to 1.
        yield_rate: fraction of the units that are good, 0 to 1: 1 - ``defect_rate``.
        quality: fraction, 0 to 1: the mean of the qualities of all materials that have one.
        lowest_stock: the material of which there is the least, in units; of several the one that comes first.
        availability: fraction, 0 to 1: time that the line's status was ``running`` / time that it had a status.
        energy_per_unit: kWh per unit: the rises of ``energy_consumption`` / the units made, which are the sum of
            ``production_rate`` x hours. A fall of the energy is a meter that was set back, and counts as none.
        period: seconds from the oldest state that was looked at to the newest; 0 where there is one only.
    """

    production_rate: float | None = None
    efficiency: float | None = None
    yield_rate: float | None = None
    quality: float | None = None
    lowest_stock: Stock | None = None
    availability: float | None = None
    energy_per_unit: float | None = None
    period: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object; those that are not known are null."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Held:
    """A state, how long it held, and the one that followed.

    Attributes:
        state: the state.
        following: the state after it.
        time: above 0.
    """

    state: State
    following: State
    time: timedelta


def kpis_of(state: State, commits: Sequence[HistoryEntry] = ()) -> Kpis:
    """The key figures of a state and of what came before it.

    Args:
        state: the current one; any JSON object.
        commits: the newest ones, newest first, as `StateManager.get_commits` returns them.
    """
    past = list(held(commits))
    defects = _fraction(state, _DEFECTS)
    return Kpis(
        production_rate=_amount(state, _RATE),
        efficiency=_fraction(state, _EFFICIENCY),
        yield_rate=None if defects is None else 1 - defects,
        quality=_quality(state),
        lowest_stock=_lowest_stock(state),
        availability=_availability(past),
        energy_per_unit=_energy_per_unit(past),
        period=sum((one.time for one in past), timedelta()).total_seconds(),
    )


def held(commits: Sequence[HistoryEntry]) -> Iterator[Held]:
    """How long the states before the newest one held, newest first.

    As in `StateManager.get_state_at_time`: a state holds from its own timestamp, where it has one, until that of any
    later version; so one that a later version overtook did not hold.

    Args:
        commits: newest first.
    """
    if not commits:
        return
    following, until = commits[0].state, _moment(commits[0])
    for entry in commits[1:]:
        since = _moment(entry)
        if since < until:
            yield Held(entry.state, following, until - since)
            following, until = entry.state, since


def _moment(entry: HistoryEntry) -> datetime:
    try:
        return parse_timestamp(entry.timestamp or "")
    except (ValueError, TypeError):
        return parse_timestamp(entry.committed_at)


def _quality(state: State) -> float | None:
    found = [_fraction(one, "/quality") for _, one in _materials(state)]
    known = [one for one in found if one is not None]
    return math.fsum(known) / len(known) if known else None


def _lowest_stock(state: State) -> Stock | None:
    found = [(name, _amount(one, "/inventory")) for name, one in _materials(state)]
    stocks = [Stock(name, inventory) for name, inventory in found if inventory is not None]
    return min(stocks, key=lambda one: one.inventory, default=None)


def _materials(state: State) -> Iterator[tuple[str, Any]]:
    materials = state.get("materials")
    if isinstance(materials, Mapping):
        yield from materials.items()


def _availability(past: Sequence[Held]) -> float | None:
    known = [one for one in past if isinstance(resolve(one.state, _STATUS, None), str)]
    running = [one.time for one in known if resolve(one.state, _STATUS) == _RUNNING]
    time = sum((one.time for one in known), timedelta())
    return sum(running, timedelta()) / time if time else None


def _energy_per_unit(past: Sequence[Held]) -> float | None:
    energy = units = 0.0
    for one in past:
        rate, before, after = _amount(one.state, _RATE), _amount(one.state, _ENERGY), _amount(one.following, _ENERGY)
        if rate is None or before is None or after is None:
            continue
        energy += max(0.0, after - before)
        units += rate * (one.time / _HOUR)
    found = energy / units if units else None
    return found if found is None or math.isfinite(found) else None


def _fraction(document: Any, pointer: str) -> float | None:
    return _number(document, pointer, 1.0)


def _amount(document: Any, pointer: str) -> float | None:
    return _number(document, pointer, sys.float_info.max)


def _number(document: Any, pointer: str, most: float) -> float | None:
    """The number from 0 to ``most`` at a pointer, as it is written: a count stays one."""
    value = resolve(document, pointer, None)
    return value if is_number(value) and 0 <= value <= most else None
