"""The simulation: formulas, defaults, models of one's own, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circman_redis.codec import JSONText
from circman_redis.errors import NoState, StateValidationError, UsageError
from circman_redis.manager import StateManager
from circman_redis.models import TwinState
from circman_redis.results import Snapshot
from circman_redis.twin import physics
from circman_redis.twin.models import MODELS, Step
from circman_redis.twin.parameters import Parameters
from circman_redis.twin.simulated import SimulationResult
from circman_redis.twin.simulation import SimulationEngine
from tests.unit.twin.plant import GLASS, QUIET, STATE, D, E, M, P, Q, T, by_hand, idle

ROOT = Path(__file__).parents[3]


@pytest.fixture
def engine() -> SimulationEngine:
    return SimulationEngine()


# --- formulas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [True, False])
def test_without_noise_a_line_follows_the_formulas_exactly(engine: SimulationEngine, running: bool) -> None:
    found = engine.run_simulation(300, STATE if running else idle(), QUIET).quantities
    for place, values in by_hand(300, Parameters(), running=running).items():
        assert found[place].tolist() == pytest.approx(values, rel=1e-12, abs=1e-300), place
    assert found[GLASS][0] == 30.5


def test_noise_moves_a_step_by_its_factor_and_its_draw(engine: SimulationEngine) -> None:
    """One n for the step; and each w has the deviation that was asked for."""
    given = {"temperature_optimum": 30.0, "temperature_deviation": 0.5, "noise_spread": 0.2}
    found = engine.run_ensemble(4000, 1, STATE, given, seed=3).quantities
    n = (found[E][1] - 100.0) / 2.0
    assert n.min() >= 0.8
    assert n.max() <= 1.2
    assert n.mean() == pytest.approx(1, abs=0.01)
    assert n.std() == pytest.approx(0.4 / 12**0.5, rel=0.05)
    assert found[P][1] == pytest.approx(100.0 * (1 + (0.002 - 0.001) * n), rel=1e-12)
    w = found[T][1] - (30.0 + 0.1 * (22.5 - 30.0))
    assert w.std() == pytest.approx(0.5, rel=0.05)
    for place, deviation in ((Q, 0.002), (D, 0.001)):
        assert found[place][1].std() == pytest.approx(deviation, rel=0.05)
    assert abs(np.corrcoef(found[T][1], found[D][1])[0, 1]) < 0.1


def test_far_from_the_optimum_production_falls_and_beyond_the_limit_it_does_not_grow(engine: SimulationEngine) -> None:
    assert engine.run_simulation(1, STATE, QUIET | {"temperature_optimum": 100.0}).quantities[P][1] < 100
    held = engine.run_simulation(9, STATE, QUIET | {"temperature_optimum": 30.0, "rate_limit": 100.05})
    assert held.quantities[P].max() == 100.05
    beyond = engine.run_simulation(9, STATE, QUIET | {"temperature_optimum": 30.0, "rate_limit": 50.0})
    assert beyond.quantities[P].tolist()[:2] == [100.0, 100.0]


def test_a_material_runs_out_at_0(engine: SimulationEngine) -> None:
    values = engine.run_simulation(60, STATE, QUIET).quantities[GLASS]
    assert values[-1] == 0
    assert values[1] == pytest.approx(29.5)


def test_the_formulas_take_numbers_and_arrays() -> None:
    p = Parameters()
    assert physics.temperature(30.0, 0.0, p) == 29.25
    assert physics.temperature(np.array([30.0, 22.5]), 0.0, p).tolist() == [29.25, 22.5]
    assert physics.temperature(-273.0, -50.0, p) == physics.COLDEST > -273.15
    assert physics.energy(1.0, 0.5, p, running=True) == 2.0
    assert physics.energy(1.0, 0.5, p, running=False) == 0.95
    assert physics.production_rate(100.0, 22.5, 1.0, p, running=True) == pytest.approx(100.1)
    assert physics.production_rate(100.0, 1e15, 1.0, p, running=True) == 0
    assert physics.quality(1.0, 22.5, 0.0, 5.0, p) == 1.0
    assert physics.defect_rate(0.0, 22.5, 0.0, -5.0, p) == 0.0
    assert physics.material(1.0, 1000.0, p) == 0.0


# --- what it starts from and gives -----------------------------------------------------------------------------------


def test_it_starts_from_the_twins_state_and_leaves_it_alone(twin: StateManager) -> None:
    commit = twin.set_state(STATE)
    result = SimulationEngine(twin).run_simulation(5, seed=1)
    assert (result.version, result.epoch) == (1, commit.epoch)
    assert twin.snapshot().version == 1
    assert twin.get_current_state() == STATE
    assert result.states[0] == STATE
    assert SimulationEngine(twin).run_simulation(5, {"production_line": {"temperature": 1}}).version == 0
    old = twin.snapshot()
    twin.update_state({"production_line": {"temperature": 99.0}})
    assert SimulationEngine(twin).run_simulation(5, old, seed=1).states == result.states


def test_without_a_state_there_is_nothing_to_start_from(twin: StateManager, engine: SimulationEngine) -> None:
    with pytest.raises(NoState, match="no state yet"):
        SimulationEngine(twin).run_simulation()
    with pytest.raises(UsageError, match="no state manager"):
        engine.run_simulation()


def test_states_are_the_callers_own_and_the_result_is_frozen(engine: SimulationEngine) -> None:
    given = copy.deepcopy(STATE)
    result = engine.run_simulation(3, given, seed=5)
    result.states[2]["materials"].clear()
    given["production_line"]["temperature"] = 1.0
    assert result.states[2]["materials"]["steel"]["quality"] == result.quantities[Q][2]
    assert result.states[0] == STATE
    assert result.state(-1) == result.states[3]
    assert result.states[3]["timestamp"] == "2026-11-22T13:03:00.000000Z"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seed = 6  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        result.quantities[T][0] = 1
    with pytest.raises(TypeError):
        result.quantities["/x"] = np.zeros(4)  # type: ignore[index]
    with pytest.raises(TypeError):
        result.initial["materials"]["steel"] = {}
    with pytest.raises(UsageError, match="made 3 steps, so use -4 to 3"):
        result.state(4)


def test_a_result_names_the_seed_that_repeats_it(engine: SimulationEngine) -> None:
    first, second = engine.run_simulation(20, STATE), engine.run_simulation(20, STATE)
    assert first.seed != second.seed
    assert first.states != second.states
    assert engine.run_simulation(20, first.initial, first.parameters, first.seed).states == first.states


def test_the_noise_of_a_quantity_does_not_depend_on_the_others(engine: SimulationEngine) -> None:
    """So that two what-ifs with one seed differ by what they change."""
    less = {"production_line": STATE["production_line"]}
    one, other = (engine.run_simulation(9, state, seed=2).quantities for state in (STATE, less))
    for place in other:
        assert np.array_equal(one[place], other[place])


def test_a_quantity_that_the_state_lacks_is_not_made_up(engine: SimulationEngine) -> None:
    result = engine.run_simulation(3, {"materials": {"steel": {"inventory": 5, "quality": 0.5}}}, QUIET)
    assert set(result.quantities) == {M, Q}
    assert result.states[3]["materials"]["steel"]["inventory"] == 5.0
    assert result.quantities[Q][1] == 0.5 + 0.05 * 0.5
    assert "production_line" not in result.states[3]


def test_a_state_may_be_a_model_or_text_or_have_no_timestamp(engine: SimulationEngine) -> None:
    text = JSONText(json.dumps(STATE))
    model = TwinState.model_validate(STATE)
    one, other = (engine.run_simulation(3, given, seed=1).quantities[T] for given in (text, model))
    assert np.array_equal(one, other)
    before = datetime.now(UTC)
    for stamp in ({}, {"timestamp": None}):
        result = engine.run_simulation(3, {"production_line": {"temperature": 1}} | stamp, QUIET)
        assert before <= result.started <= datetime.now(UTC)
        for one in result.states:
            TwinState.model_validate(one)
        assert result.states[0]["timestamp"] < result.states[1]["timestamp"]


def test_an_ensemble_has_its_runs(engine: SimulationEngine) -> None:
    found = engine.run_ensemble(7, 4, STATE, seed=1)
    assert {values.shape for values in found.quantities.values()} == {(5, 7)}
    assert {values.shape for values in (*found.mean.values(), *found.low.values(), *found.high.values())} == {(5,)}
    assert found.run(6).quantities[T].tolist() != found.run(0).quantities[T].tolist()
    with pytest.raises(UsageError, match="there are 7"):
        found.run(7)
    with pytest.raises(ValueError, match="read-only"):
        found.mean[T][0] = 1


def test_a_summary_is_small_and_repeats_the_run(engine: SimulationEngine) -> None:
    """Of a run what its arrays say, of an ensemble the mean and the band as well."""
    found = engine.run_ensemble(7, 40, Snapshot(STATE, 3, "e"), {"noise_spread": 0.2})
    told = json.loads(json.dumps(found.summary()))
    assert (told["version"], told["epoch"], told["runs"], told["steps"]) == (3, "e", 7, 40)
    assert (told["started"], told["ended"]) == ("2026-11-22T13:00:00.000000Z", "2026-11-22T13:40:00.000000Z")
    assert told["quantities"][T] == {
        "first": 30.0,
        "last": found.mean[T][-1],
        "min": found.quantities[T].min(),
        "max": 30.0,
        "last_low": found.low[T][-1],
        "last_high": found.high[T][-1],
    }
    again = engine.run_simulation(told["steps"], STATE, told["parameters"], told["seed"])
    assert again.summary()["quantities"] == found.run(0).summary()["quantities"]
    assert again.summary()["quantities"][M]["last"] == again.quantities[M][-1]


def test_a_run_is_recorded_where_it_is_asked_for() -> None:
    told: list[SimulationResult] = []
    engine = SimulationEngine(recorder=told.append)
    engine.run_simulation(2, STATE)
    assert told == []
    result = engine.run_simulation(2, STATE, record=True)
    assert told == [result]
    with pytest.raises(UsageError, match="no recorder"):
        SimulationEngine().run_simulation(2, STATE, record=True)


# --- models of one's own ---------------------------------------------------------------------------------------------


def humidity(step: Step) -> Any:
    outside = step["/environment/temperature"]
    return step["/environment/humidity"] * 0.9 + outside * 0.1 + step.normal("/environment/humidity")


def test_a_model_of_ones_own(engine: SimulationEngine) -> None:
    engine.register_model("humidity", "/environment/humidity", humidity)
    assert engine.models["humidity"] == "/environment/humidity"
    result = engine.run_simulation(3, STATE, QUIET)
    assert result.quantities["/environment/humidity"].tolist() == pytest.approx([40, 38.1, 36.39, 34.851])
    assert result.states[3]["environment"]["temperature"] == 21.0
    noisy = engine.run_ensemble(5, 3, STATE, seed=1)
    assert noisy.quantities["/environment/humidity"].shape == (4, 5)
    alone = engine.run_simulation(3, STATE, seed=1)
    assert np.array_equal(noisy.quantities["/environment/humidity"][:, 0], alone.quantities["/environment/humidity"])
    assert "humidity" not in SimulationEngine().models


def test_a_model_of_ones_own_takes_the_place_of_one_of_ours(engine: SimulationEngine) -> None:
    """With a * it moves all of them at once: a row for each place."""
    seen: list[tuple[int, ...]] = []

    def restocked(step: Step) -> Any:
        seen.append(np.shape(step["/materials/*/inventory"]))
        assert np.shape(step[GLASS]) == (1, 2)
        assert step.running
        assert step.factor.shape == (2,)
        return step["/materials/*/inventory"] + [[1.0], [2.0]]

    engine.register_model("material", "/materials/*/inventory", restocked)
    found = engine.run_ensemble(2, 3, STATE)
    assert seen == [(2, 2)] * 3
    assert found.quantities[M][-1].tolist() == [1003, 1003]
    assert found.quantities[GLASS][-1].tolist() == [36.5, 36.5]


@pytest.mark.parametrize(
    ("pointer", "move", "error", "said"),
    [
        ("/environment/pressure", humidity, UsageError, "no number at /environment/pressure"),
        ("/system_status", humidity, UsageError, "no number at /system_status"),
        ("/materials/steel/inventory", humidity, UsageError, "'material' and 'own' both move /materials/steel/inv"),
        ("", humidity, UsageError, "the whole state is no number"),
        ("environment", humidity, UsageError, "JSON Pointer 'environment'"),
        ("/environment/humidity", None, UsageError, "give a name, and a callable"),
        ("/environment/humidity", lambda _: [1, 2], UsageError, "model 'own' returned .*, and 1 rows of 1 runs"),
        ("/environment/humidity", lambda _: "x", UsageError, "model 'own' returned 'x'"),
        ("/environment/humidity", lambda _: float("nan"), StateValidationError, "/environment/humidity: step 1 left"),
        ("/environment/humidity", lambda _: 101, StateValidationError, "/environment/humidity: .* less than or equal"),
        ("/environment/humidity", lambda step: step["/system_status"], UsageError, "no number stands there, but str"),
        ("/environment/humidity", lambda step: step["/nothing"], UsageError, "nothing at /nothing"),
        ("/environment/humidity", lambda step: step.normal("/x"), UsageError, "/x: no model moves it"),
    ],
)
def test_a_model_that_does_not_fit_is_named(
    engine: SimulationEngine, pointer: str, move: Any, error: type[Exception], said: str
) -> None:
    def use() -> None:
        engine.register_model("own", pointer, move)
        engine.run_simulation(2, STATE)

    with pytest.raises(error, match=said):
        use()


def test_a_model_cannot_change_what_was(engine: SimulationEngine) -> None:
    def in_place(step: Step) -> Any:
        values: Any = step["/environment/humidity"]
        values += 1
        return values

    engine.register_model("own", "/environment/humidity", in_place)
    with pytest.raises(ValueError, match="read-only"):
        engine.run_simulation(2, STATE)


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"steps": 0}, "steps=0: use a whole number from 1 on"),
        ({"steps": True}, "steps=True"),
        ({"steps": 2.0}, "steps=2.0"),
        ({"seed": -1}, "seed=-1: use a whole number from 0 on"),
        ({"seed": "x"}, "seed='x'"),
        ({"steps": 10**9}, "over the 50,000,000"),
        ({"steps": 1000, "parameters": {"step_seconds": 31_557_600}}, None),
        ({"steps": 9000, "parameters": {"step_seconds": 31_557_600}}, "beyond the year 9999"),
        ({"parameters": {"temprature_gain": 1}}, "'temprature_gain': unknown; there are step_seconds, "),
        ({"parameters": {"noise_spread": 1.0}}, r"parameter noise_spread=1.0: Input should be less than 1"),
        ({"parameters": {"rate_loss": float("nan"), "consumption": -1}}, "parameter rate_loss=.*; parameter consump"),
        ({"parameters": ["x"]}, r"parameters=\['x'\]: give names with values"),
        ({"initial_state": {"note": 1}}, "nothing to simulate: the state has no number at any of /production_line/t"),
        ({"initial_state": Snapshot({})}, "nothing to simulate"),
        ({"initial_state": {"materials": {"a": {"inventory": 2e15}}}}, "/materials/a/inventory: 2e15|2000000"),
    ],
)
def test_a_wrong_argument_is_named(engine: SimulationEngine, arguments: dict[str, Any], said: str | None) -> None:
    given = {"initial_state": STATE} | arguments
    if said is None:
        engine.run_simulation(**given)
        return
    with pytest.raises(UsageError, match=said):
        engine.run_simulation(**given)


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"materials": {"a": {"inventory": -1}}}, "/materials/a/inventory"),
        ({"materials": {"a": {"quality": 1}}}, "/materials/a/inventory"),
        ({"production_line": {"temperature": "warm"}}, "/production_line/temperature"),
        ({"production_line": [1]}, "/production_line"),
        ({"timestamp": "yesterday"}, "/timestamp"),
        ({"timestamp": 5}, "/timestamp"),
    ],
)
def test_a_state_that_is_none_is_refused(engine: SimulationEngine, state: dict[str, Any], place: str) -> None:
    with pytest.raises(StateValidationError) as refused:
        engine.run_simulation(2, STATE | state)
    assert [one.pointer for one in refused.value.violations] == [place]


def test_without_numpy_or_matplotlib_it_says_what_to_install() -> None:
    for package, use in (
        ("numpy", "import circman_redis.twin.simulation"),
        ("matplotlib", "from circman_redis.twin.plots import format_of; format_of('x.png')"),
    ):
        script = f"import sys; sys.modules[{package!r}] = None; {use}"
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
        extra = {"numpy": "twin", "matplotlib": "plot"}[package]
        assert f"UsageError: {package} is needed: pip install 'circman-redis[{extra}]'" in run.stderr


# --- documents -------------------------------------------------------------------------------------------------------


def test_the_parameters_are_documented_with_unit_default_and_bounds() -> None:
    page = (ROOT / "docs/simulation.md").read_text().partition("## The parameters")[2]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|(.*)\|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == list(Parameters.model_fields)
    schema = Parameters.model_json_schema()["properties"]
    for name, unit, default, bounds, _ in rows:
        known = schema[name]
        assert unit.strip() == known["unit"]
        assert json.loads(default) == known["default"], name
        assert bounds.strip() == shown_bounds(known), name
        assert f"{name}: " in str(Parameters.__doc__)


def shown_bounds(known: dict[str, Any]) -> str:
    if known["type"] == "boolean":
        return ""
    low, high = (f"{known[name]:.10g}" if name in known else "" for name in ("minimum", "maximum"))
    low = low or f"above {known['exclusiveMinimum']:g}"
    return f"{low} to {high or 'below {:g}'.format(known['exclusiveMaximum'])}"


def test_the_models_are_documented() -> None:
    page = (ROOT / "docs/simulation.md").read_text()
    for model in MODELS:
        assert f"| `{model.name}` | `{model.pointer}` |" in page
