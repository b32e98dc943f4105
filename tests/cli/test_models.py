"""validate, schema show, schema publish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circman_redis import StateManager
from tests.cli.conftest import Run, value

MODELS = "tests.cli.plant"


def test_validate_says_whether_a_state_would_be_accepted(run: Run, twin: StateManager, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('{"environment": {"humidity": 50}}')
    said = run("validate", "good.json")
    assert (said.stdout, said.stderr) == ("", "State is valid\n")
    bad = run("validate", "-", stdin='{"environment": {"humidity": 101}}', code=1)
    assert bad.stderr == "error: /environment/humidity: 101 breaks maximum 100\n"
    assert twin.snapshot().version == 0


def test_validate_goes_by_the_built_in_model_where_there_is_none(run: Run) -> None:
    run("validate", "-", stdin='{"environment": {"humidity": 101}}', code=1)


def test_validate_goes_by_a_given_model_where_there_is_none(run: Run) -> None:
    run("validate", "-", "--model", f"{MODELS}:Checked", stdin='{"level": 1}')
    assert (
        "not a whole number"
        in run("validate", "-", "--model", f"{MODELS}:Checked", stdin='{"level": 1.5}', code=1).stderr
    )


def test_a_model_is_published_and_shown(run: Run, twin: StateManager) -> None:
    said = value(run("schema", "publish", f"{MODELS}:Plant", "--validation", "strict"))
    assert (said["model"], said["validation"], said["checks"]) == ("Plant", "strict", "server")
    assert value(run("schema", "show"))["properties"].keys() == {"name", "level"}
    assert "/name: required" in run("set", "-", stdin='{"level": 1}', code=1).stderr


def test_a_model_that_the_state_does_not_fit_needs_force(run: Run, twin: StateManager) -> None:
    twin.set_state({"level": "high"})
    assert "/level" in run("schema", "publish", f"{MODELS}:Plant", code=1).stderr
    assert value(run("schema", "publish", f"{MODELS}:Plant", "--force"))["model"] == "Plant"


def test_a_model_of_the_working_directory_is_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "just_here.py").write_text("from pydantic import BaseModel\nclass Here(BaseModel):\n    a: int = 0\n")
    assert value(run("schema", "publish", "just_here:Here"))["model"] == "Here"


@pytest.mark.parametrize("spec", ["nowhere:Model", f"{MODELS}:Nothing", f"{MODELS}:not_a_model", MODELS, ":X"])
def test_what_is_no_model_is_wrong_usage(run: Run, spec: str) -> None:
    run("schema", "publish", spec, code=2)


def test_without_a_model_there_is_no_schema_to_show(run: Run) -> None:
    assert "has no published model" in run("schema", "show", code=1).stderr


def test_a_model_with_checks_in_python_is_given_by_name(run: Run) -> None:
    run("schema", "publish", f"{MODELS}:Checked")
    assert "--model MODULE:CLASS" in run("update", '{"level": 1}', code=1).stderr
    assert "--model MODULE:CLASS" in run("validate", "-", stdin='{"level": 1.5}', code=1).stderr
    with_model = ["--model", f"{MODELS}:Checked"]
    assert value(run("update", '{"level": 1}', *with_model))["version"] == 1
    assert "not a whole number" in run("update", '{"level": 1.5}', *with_model, code=1).stderr
    assert json.loads(run("get").stdout)["level"] == 1


def test_the_wrong_model_is_refused(run: Run, twin: StateManager) -> None:
    run("update", "{}")  # which publishes TwinState
    assert "`circman-redis schema publish`" in run("update", "{}", "--model", f"{MODELS}:Plant", code=1).stderr
