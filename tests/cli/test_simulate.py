"""simulate, plot: what becomes of the twin, and what became of it, in numbers and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from circman_redis import StateManager
from circman_redis.cli import simulate
from circman_redis.models import TwinState
from circman_redis.twin.simulation import SimulationEngine
from tests.cli.conftest import Run, lines, value
from tests.cli.test_group import without
from tests.servers import Server
from tests.unit.twin.plant import STATE, M, T

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def plant(twin: StateManager) -> StateManager:
    """Version 1 is a state with all that is simulated."""
    twin.set_state(STATE)
    return twin


def test_simulate_prints_what_the_engine_gives(run: Run, plant: StateManager) -> None:
    found = value(run("simulate", "--steps", "20", "--seed", "7"))
    result = SimulationEngine(plant).run_simulation(20, seed=7)
    assert {name: found[name] for name in ("twin", "version", "steps", "runs", "seed")} == {
        "twin": plant.twin,
        "version": 1,
        "steps": 20,
        "runs": 1,
        "seed": 7,
    }
    assert (found["started"], found["ended"]) == ("2026-11-22T13:00:00.000000Z", "2026-11-22T13:20:00.000000Z")
    assert found["parameters"] == result.parameters.model_dump()
    assert set(found["quantities"]) == set(result.quantities)
    values = result.quantities[T]
    assert found["quantities"][T] == {"first": 30.0, "last": values[-1], "min": values.min(), "max": values.max()}
    assert plant.snapshot().version == 1


def test_simulate_draws_a_seed_that_repeats_it(run: Run, plant: StateManager) -> None:
    first = value(run("simulate"))
    assert value(run("simulate", "--seed", str(first["seed"]))) == first
    assert value(run("simulate"))["seed"] != first["seed"]


def test_simulate_several_runs(run: Run, plant: StateManager) -> None:
    one = value(run("simulate", "--runs", "50", "--seed", "7"))["quantities"][T]
    several = SimulationEngine(plant).run_ensemble(50, 10, seed=7)
    assert (one["last"], one["last_low"], one["last_high"]) == (
        several.mean[T][-1],
        several.low[T][-1],
        several.high[T][-1],
    )


def test_simulate_prints_states(run: Run, plant: StateManager) -> None:
    found = lines(run("simulate", "--steps", "3", "--seed", "7", "--states"))
    assert found == SimulationEngine(plant).run_simulation(3, seed=7).states
    for one in found:
        TwinState.model_validate(one)
    assert "leave out --runs" in run("simulate", "--states", "--runs", "2", code=2).stderr


def test_simulate_takes_parameters_by_name_and_from_files(run: Run, plant: StateManager, tmp_path: Path) -> None:
    """The last one counts."""
    (tmp_path / "given.json").write_text('{"noise": false, "temperature_target": 50}')
    given = ["--parameters", "given.json", "--parameters", "temperature_target=40", "--parameters", "energy_decay=1"]
    found = value(run("simulate", "--steps", "1", *given))
    assert found["quantities"][T]["last"] == 31.0
    assert found["parameters"]["energy_decay"] == 1
    piped = value(run("simulate", "--parameters", "-", "--steps", "1", stdin='{"noise": false}'))
    assert piped["quantities"][T]["last"] == 29.25


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--parameters", "nix=1"], 2, "parameter 'nix': unknown; there are step_seconds"),
        (["--parameters", "noise_spread=1"], 2, "parameter noise_spread='1': Input should be less than 1"),
        (["--parameters", "no.json"], 1, "no.json"),
        (["--plot", "out.gif"], 2, "out.gif: name the picture .png, .svg or .pdf"),
        (["--plot", "no/such/folder.png"], 1, "no/such/folder.png"),
        (["--steps", "0"], 2, "--steps"),
    ],
)
def test_simulate_names_what_is_wrong(
    run: Run, plant: StateManager, arguments: list[str], code: int, said: str
) -> None:
    assert said in run("simulate", *arguments, code=code).stderr


def test_without_a_state_there_is_nothing_to_simulate_or_draw(run: Run, twin: StateManager) -> None:
    for arguments in (["simulate"], ["plot", "/a", "--out", "a.png"]):
        said = run(*arguments, code=1).stderr
        assert said == f"error: twin '{twin.twin}' has no state yet: commit one with `circman-redis set` or `update`\n"


def test_simulate_on_a_terminal(run: Run, plant: StateManager, terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "on_terminal", lambda: True)
    said = run("simulate", "--seed", "7", "--runs", "9")
    assert said.stdout.splitlines()[0].split() == ["quantity", "first", "last", "min", "max", "last_low", "last_high"]
    assert M in said.stdout
    assert said.stderr == f"{plant.twin}, from version 1 on: 10 steps, 9 runs, seed 7\n"


@pytest.mark.parametrize("runs", ["1", "20"])
def test_simulate_draws_a_picture(run: Run, plant: StateManager, tmp_path: Path, runs: str) -> None:
    found = value(run("simulate", "--runs", runs, "--plot", "out.png"))
    assert found["plot"] == "out.png"
    assert (tmp_path / "out.png").read_bytes().startswith(PNG)


def test_a_picture_shows_each_quantity_and_its_band(run: Run, plant: StateManager, tmp_path: Path) -> None:
    run("simulate", "--plot", "one.svg")
    run("simulate", "--plot", "several.svg", "--runs", "20")
    one, several = ((tmp_path / name).read_text() for name in ("one.svg", "several.svg"))
    for picture in (one, several):
        for place in value(run("simulate"))["quantities"]:
            assert f"<!-- {place} -->" in picture
    # A band is a filled area; the lines are none.
    assert several.count('id="FillBetweenPolyCollection') == len(value(run("simulate"))["quantities"])
    assert "FillBetweenPolyCollection" not in one


def test_simulating_a_state_that_is_none_of_the_usual_is_refused(run: Run, twin: StateManager) -> None:
    twin.set_state({"a": 1})
    assert "nothing to simulate: the state has no number at any of" in run("simulate", code=2).stderr


# --- plot ------------------------------------------------------------------------------------------------------------

NAMES: list[Any] = ["a", "b$^\\/~", "µ中"]
ODD = "/odd/b$^\\~1~0"


@pytest.fixture
def past(twin: StateManager) -> StateManager:
    """Seven versions; the third lacks the number."""
    for number in range(7):
        odd = dict.fromkeys(NAMES, number / 2) if number != 2 else dict.fromkeys(NAMES, "none")
        twin.update_state({"odd": odd, "timestamp": f"2026-11-22T14:00:0{number}Z"})
    return twin


def test_plot_draws_numbers_of_the_history(run: Run, past: StateManager, tmp_path: Path) -> None:
    found = value(run("plot", "/odd/a", ODD, "/odd/µ中", "/odd/a", "--out", "out.png"))
    points = {"/odd/a": 6, ODD: 6, "/odd/µ中": 6}
    assert found == {"file": "out.png", "twin": past.twin, "first": 1, "last": 7, "points": points}
    assert (tmp_path / "out.png").read_bytes().startswith(PNG)
    assert past.snapshot().version == 7


@pytest.mark.parametrize(("last", "first", "points"), [("1", 7, 1), ("5", 3, 4), ("50", 1, 6)])
def test_plot_draws_the_last_ones(run: Run, past: StateManager, last: str, first: int, points: int) -> None:
    found = value(run("plot", "/odd/a", "--last", last, "--out", "out.svg"))
    assert (found["first"], found["last"], found["points"]) == (first, 7, {"/odd/a": points})


def test_plot_leaves_a_hole_where_there_is_no_number(run: Run, past: StateManager, tmp_path: Path) -> None:
    """The line is in two parts: it is moved to twice, and drawn to the points between."""
    run("plot", "/odd/a", "--out", "out.svg")
    picture = (tmp_path / "out.svg").read_text()
    drawn = [one.partition("/>")[0] for one in picture.split("<path ")]
    lines_ = [one for one in drawn if "clip-path" in one and one.count("M ") == 2]
    assert [one.count("L ") for one in lines_] == [4]


def test_plot_goes_by_the_states_own_time(run: Run, server: Server, twin: StateManager, tmp_path: Path) -> None:
    """Or by when they were committed, where the states of a model of the user's own have something else there."""
    for stamp in ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"):
        twin.update_state({"n": 1, "timestamp": stamp})
    run("plot", "/n", "--out", "out.svg")
    assert "<!-- 2020 -->" in (tmp_path / "out.svg").read_text()
    with StateManager(f"{twin.twin}-free", url=server.url, validation="none") as free:
        free.set_state({"n": 1, "timestamp": "yesterday"})
        free.update_state({"n": 2, "timestamp": None})
        assert value(run("plot", "/n", "--out", "out.svg", "--twin", free.twin))["points"] == {"/n": 2}


def test_times_at_the_ends_of_the_calendar_cannot_be_drawn(run: Run, twin: StateManager) -> None:
    """The axis would go beyond it."""
    twin.set_state({"n": 1, "timestamp": "0001-01-01T00:00:00Z"})
    assert "cannot be drawn from 0001-01-01T00:00:00+00:00 on" in run("plot", "/n", "--out", "a.png", code=1).stderr


def test_plot_says_where_no_number_stands(run: Run, past: StateManager, tmp_path: Path) -> None:
    said = run("plot", "/odd/a", "/odd/none", "--out", "out.png", code=1).stderr
    assert said == "error: /odd/none: no number stands there in versions 1 to 7\n"
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["/a"], ["--out", "a.png"], ["odd", "--out", "a.png"], ["/odd/a", "--out", "a.jpg"]]
)
def test_plot_used_wrongly(run: Run, past: StateManager, arguments: list[str]) -> None:
    run("plot", *arguments, code=2)


def test_too_many_charts_are_refused(run: Run, twin: StateManager) -> None:
    twin.set_state({"n": dict.fromkeys(map(str, range(61)), 1)})
    said = run("plot", *(f"/n/{number}" for number in range(61)), "--out", "a.png", code=2).stderr
    assert "61 charts on one picture: at most 60" in said


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [("numpy", "twin", ["simulate"]), ("matplotlib", "plot", ["plot", "/odd/a", "--out", "a.png"])],
)
def test_what_is_not_installed_is_said(
    environment: None, past: StateManager, package: str, extra: str, arguments: list[str]
) -> None:
    found = without(package, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert f"error: {package} is needed: pip install 'circman-redis[{extra}]'" in found.stderr
