"""constants: what it prints, where each came from, and what is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from circman_redis.cli._group import cli
from circman_redis.twin.constant_sources import PACKAGED
from tests.cli.conftest import value

DEFAULTS = tomllib.loads(PACKAGED.read_text(encoding="utf-8"))


def run(*arguments: str, **environment: str) -> Result:
    """Without any server."""
    given = {f"CIRCMAN_CONSTANTS_{name}": text for name, text in environment.items()}
    return CliRunner().invoke(
        cli, ["constants", *arguments], env={"CIRCMAN_REDIS_URL": "redis://nowhere.invalid", **given}
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plant.toml"
    path.write_text("[digital_twin]\nname = 'plant'\n")
    return path


def test_it_prints_all_of_them() -> None:
    told = value(run())
    assert told == DEFAULTS | {"simulation": DEFAULTS["simulation"] | {"seed": None}}


def test_the_file_and_the_environment(file: Path) -> None:
    assert value(run("--file", str(file)))["digital_twin"]["name"] == "plant"
    assert value(run(FILE=str(file)))["digital_twin"]["name"] == "plant"
    assert value(run("--file", str(file), _DIGITAL_TWIN__NAME="other"))["digital_twin"]["name"] == "other"


def test_where_each_came_from(file: Path) -> None:
    told = value(run("--sources", "--file", str(file), _SIMULATION__STEPS="500"))
    assert told["digital_twin"]["name"] == {"value": "plant", "source": "file", "where": str(file)}
    variable = "CIRCMAN_CONSTANTS__SIMULATION__STEPS"
    assert told["simulation"]["steps"] == {"value": 500, "source": "environment", "where": variable}
    assert told["thresholds"] == {"value": DEFAULTS["thresholds"], "source": "packaged", "where": str(PACKAGED)}


def test_all_that_is_wrong_is_told(file: Path) -> None:
    file.write_text("[digital_twin]\nname = 'a b'\nsize = 3\n")
    said = run("--file", str(file), _SIMULATION__STEPS="0")
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.splitlines()[0] == "error: 3 things are wrong with the constants:"
    for part in ("digital_twin.name='a b'", "has no 'size'", "CIRCMAN_CONSTANTS__SIMULATION__STEPS=0"):
        assert part in said.stderr
    missing = run("--file", "nowhere.toml")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
