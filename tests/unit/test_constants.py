"""The constants: the packaged file against the models, what goes before what, look-ups."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from circman_redis import StateManager, UsageError
from circman_redis.models import TwinState
from circman_redis.results import StoredConfig
from circman_redis.settings import Settings
from circman_redis.twin import constant_sources as sources
from circman_redis.twin.config import TwinConfig
from circman_redis.twin.constant_sources import FILE_VARIABLE, PACKAGED, Source, variable_of
from circman_redis.twin.constants import SECTIONS, ConstantsService
from circman_redis.twin.threshold_rule import ThresholdRule
from tests.servers import Server
from tests.unit.given_constants import OTHERS, Write, constants, refused

DEFAULTS = tomllib.loads(PACKAGED.read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the user's file."""

    def write_(text: str | bytes) -> Path:
        path = tmp_path / "plant.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_


def source_of(service: ConstantsService, section: str, name: str | None) -> Source:
    return next(one.source for one in service.describe() if (one.section, one.name) == (section, name))


# --- the packaged file -----------------------------------------------------------------------------------------------


def test_the_packaged_file_and_the_models_have_the_same_names() -> None:
    """Each section, each name in it, each name of each rule; in the same order."""
    assert list(DEFAULTS) == list(SECTIONS)
    for section, model in SECTIONS.items():
        if section == "thresholds":
            assert [list(one) for one in DEFAULTS[section]] == [list(ThresholdRule.model_fields)] * len(
                DEFAULTS[section]
            )
        else:
            assert list(DEFAULTS[section]) == list(model.model_fields)


@pytest.mark.parametrize("name", ["simulation.steps", "digital_twin.name", "thresholds.rules"])
def test_a_name_that_the_packaged_file_lacks_is_told(monkeypatch: pytest.MonkeyPatch, write: Write, name: str) -> None:
    last = name.rpartition(".")[2]
    text = PACKAGED.read_text(encoding="utf-8")
    text = (
        text.partition("\n[[thresholds]]")[0]
        if last == "rules"
        else re.sub(rf"(?m)^{last} = ", f"other_{last} = ", text)
    )
    monkeypatch.setattr(sources, "PACKAGED", write(text))
    assert f"{name} is missing" in refused()


def test_each_packaged_value_is_said_in_words() -> None:
    """A comment stands above each; where it is a number, the words name a unit or that it is a count."""
    lines = PACKAGED.read_text(encoding="utf-8").splitlines()
    values = [number for number, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert len(values) == sum(
        len(one) for section in DEFAULTS.values() for one in ([section] if isinstance(section, dict) else section)
    )
    units = r"Hz|count|seconds|bytes|celsius|percent|fraction|unit"
    for number in values:
        assert lines[number - 1].startswith("# "), lines[number]
        if re.search(r"= [\d.]+$", lines[number]):
            assert re.search(units, lines[number - 1], re.IGNORECASE), lines[number]


def test_the_defaults_are_those_of_the_code() -> None:
    """A TwinConfig that is told nothing, and what a state manager goes by, say the same."""
    assert constants().get_digital_twin_config() == TwinConfig()
    stored, settings = StoredConfig(), Settings.from_arguments()
    assert constants().get_state_management_config().model_dump() == {
        "history_length": stored.history_length,
        "validation": stored.validation,
        "max_bytes": stored.max_bytes,
        "durability": settings.durability,
    }


def test_the_packaged_rules_watch_places_that_a_state_has() -> None:
    names = {f"/{name}" for name in TwinState.model_fields}
    for part in ("production_line", "environment"):
        names |= {f"/{part}/{name}" for name in type(getattr(TwinState(timestamp="2026-01-01"), part)).model_fields}  # type: ignore[arg-type]
    assert {rule.pointer for rule in constants().get_thresholds()} <= names


def test_a_state_manager_takes_the_section_as_it_is(server: Server, twin_id: str) -> None:
    service = constants(_STATE_MANAGEMENT__HISTORY_LENGTH="7", _STATE_MANAGEMENT__VALIDATION="strict")
    with StateManager(twin_id, url=server.url, **service.get_state_management_config().model_dump()) as twin:
        twin.set_state({"timestamp": "2026-01-01T00:00:00Z"})
        assert (twin.config.history_length, twin.config.validation) == (7, "strict")


# --- what goes before what -------------------------------------------------------------------------------------------


def test_each_level_goes_before_the_one_below(write: Write) -> None:
    """Value by value, each with its source."""
    file = write("[simulation]\nsteps = 20\nstep_seconds = 2\n[digital_twin]\nname = 'plant'\n")
    service = constants(file, _SIMULATION__STEPS="30")
    simulation = service.get_simulation_config()
    assert (simulation.steps, simulation.step_seconds, simulation.seed) == (30, 2.0, None)
    assert service.get_digital_twin_config() == TwinConfig(name="plant")
    assert source_of(service, "simulation", "steps") == Source("environment", "CIRCMAN_CONSTANTS__SIMULATION__STEPS")
    assert source_of(service, "simulation", "step_seconds") == Source("file", str(file))
    assert source_of(service, "simulation", "seed") == Source("packaged", str(PACKAGED))


def test_the_file_is_that_of_the_argument_or_else_of_the_environment(write: Write, tmp_path: Path) -> None:
    file = write("[simulation]\nsteps = 20\n")
    other = tmp_path / "other.toml"
    other.write_text("[simulation]\nsteps = 21\n")
    assert constants(FILE=str(file)).get("simulation", "steps") == 20
    assert constants(other, FILE=str(file)).get("simulation", "steps") == 21
    assert constants(str(other)).get("simulation", "steps") == 21
    assert constants(FILE="").get("simulation", "steps") == 10


def test_the_process_s_environment_is_the_usual_one(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    """It is read when the service is made, and not again."""
    monkeypatch.setenv(FILE_VARIABLE, str(write("[simulation]\nsteps = 20\n")))
    monkeypatch.setenv("CIRCMAN_CONSTANTS__SYNCHRONIZATION__MODE", "batch")
    service = ConstantsService()
    monkeypatch.delenv(FILE_VARIABLE)
    monkeypatch.delenv("CIRCMAN_CONSTANTS__SYNCHRONIZATION__MODE")
    assert (service.get("simulation", "steps"), service.get_synchronization_config().mode) == (20, "batch")
    assert ConstantsService().get_synchronization_config().mode == "real_time"


def test_these_are_all() -> None:
    assert list(OTHERS) == [(section, name) for section, model in SECTIONS.items() for name in model.model_fields]


@pytest.mark.parametrize(("section", "name"), OTHERS)
def test_each_value_can_be_given_by_the_environment_and_by_a_file(section: str, name: str, write: Write) -> None:
    """As a TOML value, or as plain text where that is none; and only that value changes."""
    text, value = OTHERS[section, name]
    by_variable = ConstantsService(environment={variable_of(section, name): text})
    quoted = text if tomllib_reads(text) else f"'{text}'"
    line = f"thresholds = {quoted}" if section == "thresholds" else f"[{section}]\n{name} = {quoted}"
    by_file = constants(write(line))
    for service, kind in ((by_variable, "environment"), (by_file, "file")):
        shown = None if section == "thresholds" else name
        found = {(one.section, one.name): one for one in service.describe()}
        assert (found[section, shown].value, found[section, shown].source.kind) == (value, kind)
        assert [one.source.kind for one in found.values()].count("packaged") == len(OTHERS) - 1


def tomllib_reads(text: str) -> bool:
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return False
    return True


def test_rules_are_one_value(write: Write) -> None:
    """A file that has any replaces all, and so does the variable."""
    file = write("[[thresholds]]\nname='a'\npointer='/a'\ncomparison='equal'\nvalue=[22, {b = 'c'}]\n")
    (rule,) = constants(file).get_thresholds()
    assert rule.is_breached([22.0, {"b": "c"}], False)
    rules = constants(file, _THRESHOLDS="[{name='b', pointer='/b', comparison='less_than', value=1}]").get_thresholds()
    assert [one.name for one in rules] == ["b"]
    assert constants(file).get("thresholds", "a") == rule
    assert source_of(constants(file), "thresholds", None) == Source("file", str(file))


def test_none_takes_a_seed_away(write: Write) -> None:
    file = write("[simulation]\nseed = 7\n")
    assert constants(file).get_simulation_config().seed == 7
    assert constants(file, _SIMULATION__SEED="none").get_simulation_config().seed is None


def test_json_says_all_of_it() -> None:
    told = constants(_SIMULATION__SEED="3").to_json()
    assert told == DEFAULTS | {"simulation": DEFAULTS["simulation"] | {"seed": 3}}
    with_sources = constants(_THRESHOLDS="[]").to_json(with_sources=True)
    assert with_sources["thresholds"] == {
        "value": [],
        "source": "environment",
        "where": "CIRCMAN_CONSTANTS__THRESHOLDS",
    }
    assert with_sources["simulation"]["seed"] == {"value": None, "source": "packaged", "where": str(PACKAGED)}


def test_a_service_and_what_it_hands_out_never_change() -> None:
    service = constants(_SIMULATION__PARAMETERS="{a = 1}")
    with pytest.raises(AttributeError):
        service._sections = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        service.more = 1  # type: ignore[attr-defined]
    with pytest.raises(ValidationError, match="frozen"):
        service.get_digital_twin_config().name = "b"  # type: ignore[misc]
    with pytest.raises(TypeError, match="cannot be changed"):
        service.get_simulation_config().parameters["a"] = 2  # type: ignore[index]
    service.to_json()["simulation"]["parameters"]["a"] = 2
    for one in (service, copy.deepcopy(service), pickle.loads(pickle.dumps(service))):
        assert one.get("simulation", "parameters") == {"a": 1.0}


def test_nothing_is_read_when_it_is_imported() -> None:
    code = (
        "import sys, builtins, pathlib, io; opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append(str(args[0])))\n"
        "import circman_redis.twin.constants\n"
        "print([one for one in opened if one.endswith('.toml')])"
    )
    wrong = {**os.environ, FILE_VARIABLE: "/nowhere.toml", "CIRCMAN_CONSTANTS__NO": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=wrong, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# --- look-ups --------------------------------------------------------------------------------------------------------


def test_get_says_what_there_is() -> None:
    service = constants()
    assert service.get("digital_twin", "log_level") == "INFO"
    assert service.get("thresholds", "line-hot") is service.get_thresholds()[0]
    with pytest.raises(UsageError, match=r"there is no section 'nothing'; there are digital_twin, simulation"):
        service.get("nothing", "steps")
    with pytest.raises(UsageError, match=r"simulation has no 'speed'; it has steps, step_seconds, seed, parameters"):
        service.get("simulation", "speed")
    with pytest.raises(UsageError, match=r"thresholds has no 'rules'; it has line-hot, defect-rate-high"):
        service.get("thresholds", "rules")
    with pytest.raises(UsageError, match="it has nothing"):
        constants(_THRESHOLDS="[]").get("thresholds", "line-hot")


def test_describe_has_every_value_once() -> None:
    found = constants().describe()
    assert [(one.section, one.name or "rules") for one in found] == list(OTHERS)
    assert {one.source for one in found} == {Source("packaged", str(PACKAGED))}


def test_a_twin_config_by_hand() -> None:
    assert TwinConfig(name="plant", update_frequency=2).update_frequency == 2.0
    with pytest.raises(ValidationError) as caught:
        TwinConfig(name="a b", update_frequency=0, log_level="LOUD", speed=1)  # type: ignore[arg-type, call-arg]
    assert {one["loc"][0] for one in caught.value.errors()} == {"name", "update_frequency", "log_level", "speed"}
    with pytest.raises(ValidationError, match="frozen"):
        TwinConfig().name = "b"  # type: ignore[misc]
