"""The key figures: by hand, and for whatever a state may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.models import TwinState
from circman_redis.results import HistoryEntry
from circman_redis.timestamps import format_timestamp
from circman_redis.twin.kpis import Kpis, Stock, held, kpis_of
from tests.unit.json_values import OBJECTS
from tests.unit.twin.plant import STATE, states

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def line(**members: Any) -> dict[str, Any]:
    return {"production_line": members}


def entry(version: int, state: dict[str, Any], minutes: float, stored: float | None = None) -> HistoryEntry:
    """A commit whose state is of so many minutes past noon; stored then as well, unless it is said."""
    timestamp = format_timestamp(START + timedelta(minutes=minutes))
    committed_at = format_timestamp(START + timedelta(minutes=minutes if stored is None else stored))
    return HistoryEntry(version, timestamp, committed_at, "merge", "me", None, {}, state)


def commits(*made: tuple[float, dict[str, Any]]) -> list[HistoryEntry]:
    """Newest first, as `get_commits` has them."""
    return [entry(number, state, minutes) for number, (minutes, state) in enumerate(made, 1)][::-1]


def test_figures_of_one_state() -> None:
    found = kpis_of(STATE)
    assert (found.production_rate, found.efficiency, found.yield_rate, found.quality) == (100, 0.9, 0.98, 0.95)
    assert found.lowest_stock == Stock("glass/4~mm", 30.5)
    assert (found.availability, found.energy_per_unit, found.period) == (None, None, 0)
    assert found.to_json()["lowest_stock"] == {"material": "glass/4~mm", "inventory": 30.5}


def test_nothing_is_known_of_nothing() -> None:
    assert kpis_of({}) == Kpis()
    assert kpis_of({}, commits((0, {}))) == Kpis()


def test_quality_is_the_mean_of_those_that_have_one() -> None:
    materials = {"a": {"inventory": 2, "quality": 0.5}, "b": {"inventory": 2}, "c": {"inventory": 9, "quality": 1.0}}
    found = kpis_of({"materials": materials})
    assert found.quality == 0.75
    assert found.lowest_stock == Stock("a", 2)


def test_availability_is_time_and_not_a_count_of_commits() -> None:
    """Running 45 of 60 minutes; what the newest one says has not held yet."""
    past = commits((0, line(status="running")), (10, line(status="idle")), (25, line(status="running")), (60, line()))
    found = kpis_of({}, past)
    assert found.availability == 0.75
    assert found.period == 3600


def test_time_without_a_status_does_not_count() -> None:
    past = commits((0, line(status="running")), (10, line(temperature=3)), (25, line(status="idle")), (35, {}))
    assert kpis_of({}, past).availability == 0.5
    assert kpis_of({}, commits((0, line()), (10, line()))).availability is None
    assert kpis_of({}, commits((0, line(status=7)), (10, line()))).availability is None


def test_a_state_that_was_overtaken_did_not_hold() -> None:
    """The third is of a time before the second: so the second held for no one, as look-ups by time have it."""
    running, idle = line(status="running"), line(status="idle")
    past = commits((0, running), (30, idle), (20, running), (40, idle))
    assert [(one.state, one.time) for one in held(past)] == [
        (running, timedelta(minutes=20)),
        (running, timedelta(minutes=20)),
    ]
    assert kpis_of({}, past).availability == 1.0


def test_where_the_state_names_no_time_the_commit_does() -> None:
    first = HistoryEntry(1, None, format_timestamp(START), "set", None, None, None, line(status="running"))
    second = HistoryEntry(2, "today", format_timestamp(START + timedelta(hours=1)), "set", None, None, None, {})
    assert kpis_of({}, [second, first]).period == 3600


def test_energy_per_unit() -> None:
    """30 + 10 kWh for 100 units/h in half an hour and 60 units/h in an hour; a meter that was set back is no gain."""
    past = commits(
        (0, line(energy_consumption=500, production_rate=100)),
        (30, line(energy_consumption=530, production_rate=60)),
        (90, line(energy_consumption=540.0, production_rate=0)),
        (100, line(energy_consumption=3.0, production_rate=0)),
    )
    assert kpis_of({}, past).energy_per_unit == pytest.approx(40 / 110)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (line(energy_consumption=1), line(energy_consumption=2)),
        (line(production_rate=1), line(energy_consumption=2)),
        (line(production_rate=1, energy_consumption=1), line(production_rate=1)),
        (line(production_rate=0, energy_consumption=1), line(production_rate=0, energy_consumption=2)),
    ],
)
def test_energy_per_unit_of_what_is_not_known(first: dict[str, Any], then: dict[str, Any]) -> None:
    """Neither energy without production, nor production without energy, nor where nothing was made."""
    assert kpis_of({}, commits((0, first), (9, then))).energy_per_unit is None


@pytest.mark.parametrize("wrong", [1.5, -0.1, True, "0.5", None, [0.5], 10**400, float("nan"), float("inf")])
def test_a_fraction_that_is_none(wrong: Any) -> None:
    """A twin that is not validated may hold anything."""
    state = line(efficiency=wrong, defect_rate=wrong) | {"materials": {"a": {"inventory": 1, "quality": wrong}}}
    found = kpis_of(state)
    assert (found.efficiency, found.yield_rate, found.quality) == (None, None, None)


histories = st.lists(st.tuples(st.floats(-1e6, 1e6), states | OBJECTS), max_size=6)


def check(state: Any, made: list[tuple[float, Any]]) -> None:
    found = kpis_of(state, commits(*made))
    for fraction in (found.efficiency, found.yield_rate, found.quality, found.availability):
        assert fraction is None or 0 <= fraction <= 1
    for amount in (found.production_rate, found.energy_per_unit, found.lowest_stock and found.lowest_stock.inventory):
        assert amount is None or 0 <= amount < float("inf")
    assert found.period >= 0


@given(states, histories)
def test_any_state_that_fits(state: dict[str, Any], made: list[tuple[float, Any]]) -> None:
    """Fractions stay fractions, and nothing is raised; what the state says is there."""
    TwinState.model_validate(state)
    check(state, made)
    found = kpis_of(state)
    assert found.production_rate == state.get("production_line", {}).get("production_rate")
    stocks = [one["inventory"] for one in state.get("materials", {}).values()]
    assert (found.lowest_stock.inventory if found.lowest_stock else None) == min(stocks, default=None)


@given(OBJECTS, histories)
def test_any_json_object(state: dict[str, Any], made: list[tuple[float, Any]]) -> None:
    check(state, made)


_wild = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400) | st.just(1e308)
_lines = st.dictionaries(
    st.sampled_from(["status", "production_rate", "energy_consumption", "efficiency", "defect_rate"]), _wild
)
_wild_states = st.fixed_dictionaries(
    {}, optional={"production_line": _lines | _wild, "materials": st.dictionaries(st.text(), _lines | _wild) | _wild}
)


@given(_wild_states, st.lists(st.tuples(st.floats(-1e6, 1e6), _wild_states), max_size=4))
def test_anything_in_their_places(state: dict[str, Any], made: list[tuple[float, Any]]) -> None:
    check(state, made)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_the_parts_of_the_period_are_its_whole(minutes: list[float]) -> None:
    """From the earliest time of those looked at to that of the newest, whatever the order."""
    past = commits(*((one, {}) for one in minutes))
    first, last = min(minutes), minutes[-1]
    assert kpis_of({}, past).period == pytest.approx((last - first) * 60, abs=1e-3)
