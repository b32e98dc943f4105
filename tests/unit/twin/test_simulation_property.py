"""What holds of every simulation: any state that fits TwinState, any parameters within their bounds."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.models import TwinState
from circman_redis.patch import diff, resolve
from circman_redis.timestamps import parse_timestamp
from circman_redis.twin.simulation import SimulationEngine
from tests.unit.twin.plant import STATE, P, T, parameters, states

ENGINE = SimulationEngine()
seeds, counts = st.integers(0, 2**64), st.integers(1, 12)


@given(states, parameters, seeds, counts)
def test_every_state_is_one(state: dict[str, Any], given_: dict[str, Any], seed: int, steps: int) -> None:
    """Fits TwinState, also as JSON; timestamps rise; nothing but the quantities and the timestamp is another."""
    before = copy.deepcopy(state)
    result = ENGINE.run_simulation(steps, state, given_, seed)
    found = result.states
    assert state == before
    assert len(found) == steps + 1
    assert found[0] == before
    times = [parse_timestamp(one["timestamp"]) for one in found]
    assert all(one < other for one, other in itertools.pairwise(times))
    assert times == result.times
    for number, one in enumerate(found):
        TwinState.model_validate_json(json.dumps(one, allow_nan=False))
        assert {change.pointer for change in diff(before, one)} <= {*result.quantities, "/timestamp"}
        assert one == result.state(number)


@given(states, parameters, seeds, counts)
def test_what_can_only_fall_never_rises(state: dict[str, Any], given_: dict[str, Any], seed: int, steps: int) -> None:
    """Inventories without supply, and never below 0; and where the line does not run, energy and production."""
    result = ENGINE.run_simulation(steps, state, given_, seed)
    idle = resolve(state, "/production_line/status", default=None) != "running"
    for place, values in result.quantities.items():
        assert np.isfinite(values).all()
        if place.endswith("/inventory") or (idle and place.endswith(("/energy_consumption", "/production_rate"))):
            assert (np.diff(values) <= 0).all()
            assert values[-1] >= 0
        if place.endswith("/energy_consumption") and not idle:
            assert (np.diff(values) >= 0).all()
        if place.endswith(("/quality", "/defect_rate")):
            assert ((values >= 0) & (values <= 1)).all()


@given(parameters, seeds, counts, st.integers(2, 5), counts)
def test_the_same_seed_gives_the_same(given_: dict[str, Any], seed: int, steps: int, runs: int, more: int) -> None:
    """By itself, as run 0 of any ensemble, and as the beginning of a longer one."""
    alone = ENGINE.run_simulation(steps, STATE, given_, seed)
    again = ENGINE.run_simulation(steps, STATE, given_, seed)
    assert again.states == alone.states
    for several in (1, runs):
        ensemble = ENGINE.run_ensemble(several, steps + more, STATE, given_, seed)
        for place, values in alone.quantities.items():
            assert np.array_equal(ensemble.quantities[place][: steps + 1, 0], values)
            assert np.array_equal(ensemble.run(0).quantities[place], ensemble.quantities[place][:, 0])


@given(states, parameters, seeds, counts, st.integers(1, 8))
def test_bands_are_in_order(state: dict[str, Any], given_: dict[str, Any], seed: int, steps: int, runs: int) -> None:
    """The band lies within all runs, and so does the mean; it need not lie within the band (a long tail is enough)."""
    found = ENGINE.run_ensemble(runs, steps, state, given_, seed)
    for place, values in found.quantities.items():
        least, most = values.min(axis=1), values.max(axis=1)
        assert (least <= found.low[place]).all()
        assert (found.low[place] <= found.high[place]).all()
        assert (found.high[place] <= most).all()
        assert (least <= found.mean[place]).all()
        assert (found.mean[place] <= most).all()


@given(seeds)
def test_bands_of_many_runs_hold_the_mean(seed: int) -> None:
    """Where nothing is held to a bound."""
    found = ENGINE.run_ensemble(60, 30, STATE, {}, seed)
    for place in (T, P):
        assert (found.low[place][1:] <= found.mean[place][1:]).all()
        assert (found.mean[place][1:] <= found.high[place][1:]).all()
        assert (found.low[place][1:] < found.high[place][1:])[1:].all()


@given(st.floats(-273, 1000), st.floats(-273, 1000), st.floats(0.05, 1))
def test_without_noise_the_temperature_tends_to_its_target(start: float, target: float, gain: float) -> None:
    """It comes nearer with each step, and does not pass it."""
    given_ = {"noise": False, "temperature_target": target, "temperature_gain": gain}
    state = {"production_line": {"temperature": start}}
    away = np.abs(ENGINE.run_simulation(600, state, given_).quantities[T] - target)
    assert (np.diff(away) <= 1e-9).all()
    assert away[-1] <= 1e-6
