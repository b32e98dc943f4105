"""Constants that are wrong: each with its place and what is allowed, all at once; files that are junk."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from circman_redis import UsageError
from circman_redis.cli._json import dumps
from circman_redis.twin import constant_sources as sources
from circman_redis.twin.constant_sources import LARGEST_FILE, PACKAGED, variable_of
from circman_redis.twin.constants import SECTIONS, ConstantsService
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


# --- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = [
    ("digital_twin", "name", "'a b'", "'a b': twin id 'a b': use 1 to 128 of"),
    ("digital_twin", "name", "7", "7: Input should be a valid string"),
    ("digital_twin", "update_frequency", "0", "0: Input should be greater than"),
    ("digital_twin", "update_frequency", "inf", "inf: Input should be"),
    ("digital_twin", "update_frequency", "nan", "nan: Input should be"),
    ("digital_twin", "update_frequency", "true", "True: Input should be a valid number"),
    ("digital_twin", "history_length", "0", "0: Input should be greater than or equal to 1"),
    ("digital_twin", "history_length", "10.0", "10.0: Input should be a valid integer"),
    ("digital_twin", "history_length", "1_000_000_000_000_000", "1000000000000000: Input should be less than"),
    ("digital_twin", "simulation_steps", "-1", "-1: Input should be greater than or equal to 1"),
    ("digital_twin", "synchronization_mode", "'fast'", "'fast': Input should be 'real_time', 'batch', 'manual' or"),
    ("digital_twin", "log_level", "'info'", "'info': Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or"),
    ("simulation", "steps", "'ten'", "'ten': Input should be a valid integer"),
    ("simulation", "steps", "[10]", "[10]: Input should be a valid integer"),
    ("simulation", "step_seconds", "0.0", "0.0: Input should be greater than 0"),
    ("simulation", "seed", "-1", "-1: Input should be greater than or equal to 0"),
    ("simulation", "seed", "9223372036854775808", "9223372036854775808: Input should be less than"),
    ("simulation", "seed", "'random'", "'random': Input should be a valid integer"),
    ("simulation", "parameters", "3", "3: Input should be a valid dictionary"),
    ("synchronization", "mode", "2026-11-22", "datetime.date(2026, 11, 22): Input should be 'real_time'"),
    ("synchronization", "interval", "-0.5", "-0.5: Input should be greater than 0"),
    ("synchronization", "timeout", "1e7", "10000000.0: Input should be less than or equal to 1000000"),
    ("synchronization", "batch_size", "0", "0: Input should be greater than or equal to 1"),
    ("state_management", "history_length", "0", "0: Input should be greater than or equal to 1"),
    ("state_management", "validation", "'most'", "'most': Input should be 'none', 'standard' or 'strict'"),
    ("state_management", "max_bytes", "1", "1: Input should be greater than or equal to 2"),
    ("state_management", "durability", "'replicas:0'", "'replicas:0': durability='replicas:0': use 'none'"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "name", "text", "told"), WRONG)
def test_a_bad_value_is_told_with_its_place(section: str, name: str, text: str, told: str, write: Write) -> None:
    file = write(f"[{section}]\n{name} = {text}\n")
    assert refused(file).startswith(f"{file}: {section}.{name}={told}")
    with pytest.raises(UsageError) as caught:
        ConstantsService(environment={variable_of(section, name): text})
    assert str(caught.value).startswith(f"{variable_of(section, name)}={told}")
    assert isinstance(caught.value.__cause__, ValidationError)


WRONG_RULES = [
    ("thresholds = 3", "thresholds=3: it has to be a list of tables: [[thresholds]]"),
    ("[thresholds]\nname = 'a'", "thresholds={'name': 'a'}: it has to be a list of tables: [[thresholds]]"),
    ("thresholds = [3]", "thresholds[0]=3: "),
    ("[[thresholds]]\nvalue = 1", "thresholds[0].pointer: it is missing"),
    ("[[thresholds]]\nname = 'a'\nvalue = 1", "thresholds['a'].comparison: it is missing"),
    (
        "thresholds = [RULE, {name='a', colour='red'}]",
        "thresholds['a'].colour: a rule has no such name; it has name, p",
    ),
    (
        "thresholds = [RULE, {name='a', severity='bad'}]",
        "thresholds['a'].severity='bad': Input should be 'info', 'warn",
    ),
    (
        "thresholds = [RULE, {name='a', hysteresis=-1}]",
        "thresholds['a'].hysteresis=-1: Input should be greater than or",
    ),
    (
        "thresholds = [RULE, {pointer='a'}]",
        "thresholds[1].pointer='a': JSON Pointer 'a': must be empty or start with /",
    ),
    ("thresholds = [{name='a', pointer='', comparison='less_than', value='x'}]", "less_than needs a number"),
    ("thresholds = [{name='a', pointer='', comparison='less_than', value=nan}]", "NaN and Infinity are not JSON"),
    ("thresholds = [{name='a', pointer='', comparison='equal', value=07:32:00}]", "a type that has no JSON form"),
    ("thresholds = [RULE, RULE]", "several rules have the same name: hot"),
]


@pytest.mark.parametrize(("text", "told"), WRONG_RULES)
def test_a_bad_rule_is_told_by_its_name(text: str, told: str, write: Write) -> None:
    file = write(text.replace("RULE", "{name='hot', pointer='/a', comparison='greater_than', value=1}"))
    said = refused(file)
    assert told in said
    assert f"{file}: thresholds" in said
    by_variable = refused(_THRESHOLDS="[{name='a', colour=1}, {name=3}]")
    assert "CIRCMAN_CONSTANTS__THRESHOLDS['a'].colour: a rule has no such name" in by_variable
    assert "CIRCMAN_CONSTANTS__THRESHOLDS[1].pointer: it is missing" in by_variable


def test_a_bad_parameter_is_told_by_its_name(write: Write) -> None:
    file = write("[simulation.parameters]\na = 'x'\nb = true\nc = 1\nd = inf\n")
    said = refused(file)
    assert f"{file}: simulation.parameters.a='x': Input should be a valid number" in said
    assert "simulation.parameters.b=True" in said
    assert "simulation.parameters.c" not in said
    assert "simulation.parameters.d=inf: Input should be a finite number" in said
    assert "CIRCMAN_CONSTANTS__SIMULATION__PARAMETERS.a='x': " in refused(_SIMULATION__PARAMETERS="{a = 'x'}")


def test_what_there_is_not_is_told_with_what_there_is(write: Write) -> None:
    file = write("[simulaton]\nsteps = 1\n[simulation]\nspeed = 1\n")
    said = refused(file)
    assert f"{file}: there is no section 'simulaton'; there are digital_twin, simulation, synchronization," in said
    assert f"{file}: simulation has no 'speed'; it has steps, step_seconds, seed, parameters" in said
    assert refused(write("simulation = 3")) == f"{file}: simulation=3: it has to be a table: [simulation]"
    assert "simulation=[{}]: it has to be a table" in refused(write("[[simulation]]"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "CIRCMAN_CONSTANTS__SECTION__NAME"),
        ("_", "CIRCMAN_CONSTANTS__SECTION__NAME"),
        ("__", "SECTION one of DIGITAL_TWIN, SIMULATION, SYNCHRONIZATION, STATE_MANAGEMENT"),
        ("_FILES", "CIRCMAN_CONSTANTS_FILE, CIRCMAN_CONSTANTS__THRESHOLDS"),
        ("_SIMULATION__STEPS", "CIRCMAN_CONSTANTS__SECTION__NAME"),
        ("__SIMULATON__STEPS", "CIRCMAN_CONSTANTS__SECTION__NAME"),
        ("__SIMULATION", "CIRCMAN_CONSTANTS__SIMULATION__SEED"),
        ("__SIMULATION__", "CIRCMAN_CONSTANTS__SIMULATION__SEED"),
        ("__SIMULATION__SPEED", "CIRCMAN_CONSTANTS__SIMULATION__SEED"),
        ("__SIMULATION__STEPS__", "CIRCMAN_CONSTANTS__SIMULATION__STEPS"),
        ("__SIMULATION__PARAMETERS__A", "CIRCMAN_CONSTANTS__SIMULATION__PARAMETERS"),
        ("__THRESHOLDS__RULES", "there are CIRCMAN_CONSTANTS__THRESHOLDS"),
        ("__simulation__steps", "CIRCMAN_CONSTANTS__SECTION__NAME"),
        ("__\udcff", "CIRCMAN_CONSTANTS__SECTION__NAME"),
    ],
)
def test_a_variable_that_gives_nothing_is_told(name: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        ConstantsService(environment={f"CIRCMAN_CONSTANTS{name}": "1", "CIRCMAN_TWIN": "a", "OTHER": "1"})
    assert str(caught.value).startswith(f"{f'CIRCMAN_CONSTANTS{name}'!r}: there is no such constant; there are ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", " ", "1\nsteps = 2", "1\n[simulation]", "1, 2", "= 3", "[" * 5000, "9" * 5000, "\x00", "\udcff", '"""', "é"],
)
def test_a_text_that_is_no_toml_is_plain_and_no_number(text: str) -> None:
    assert refused(_SIMULATION__STEPS=text).startswith("CIRCMAN_CONSTANTS__SIMULATION__STEPS='")
    assert refused(_DIGITAL_TWIN__NAME=text).startswith("CIRCMAN_CONSTANTS__DIGITAL_TWIN__NAME='")


def test_a_text_that_is_a_number_can_be_quoted() -> None:
    assert constants(_DIGITAL_TWIN__NAME='"7"').get_digital_twin_config().name == "7"
    assert "is a string in quotes" in refused(_DIGITAL_TWIN__NAME="7")
    assert constants(_DIGITAL_TWIN__NAME="007").get_digital_twin_config().name == "007"


def test_all_that_is_wrong_is_told_at_once(write: Write) -> None:
    """Of the file and of the environment, also where a later value is right."""
    file = write("no = 1\n[simulation]\nsteps = 0\nspeed = 1\n[synchronization]\ntimeout = -1\nmode = 'x'\n")
    said = refused(file, _SIMULATION__STEPS="5", _SIMULATION__SEED="x", _NOTHING="1")
    assert said.splitlines()[0] == "7 things are wrong with the constants:"
    for part in ("'no'", "simulation.steps=0", "'speed'", "timeout=-1", "mode='x'", "SEED='x'", "NOTHING'"):
        assert said.count(part) == 1, part
    with pytest.raises(UsageError) as caught:
        constants(file)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    said = refused("/nowhere.toml", _SIMULATION__SEED="x")
    assert "'/nowhere.toml'" in said
    assert "SEED='x'" in said


def test_a_bad_packaged_file_is_told_as_well(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    file = write(PACKAGED.read_bytes().replace(b"steps = 10", b"steps = 0"))
    monkeypatch.setattr(sources, "PACKAGED", file)
    said = refused()
    assert f"{file}: digital_twin.simulation_steps=0" in said
    assert f"{file}: simulation.steps=0" in said
    file.unlink()
    assert "cannot be read" in refused()


# --- junk files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: 10", "it is no TOML: "),
        ("[simulation]\nsteps = 1\nsteps = 2\n", "it is no TOML: Cannot overwrite a value (at line 3"),
        ("{}", "it is no TOML: "),
        ("a = 'b", "it is no TOML: "),
        (b"a = '\xff'", "it is no text in UTF-8: "),
        (b"\xff\xfea\x00", "it is no text in UTF-8: "),
        (b"\xef\xbb\xbf[simulation]", "it is no TOML: "),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "9" * 5000, "4300 digits"),
        ("#" * (LARGEST_FILE + 1), "it is larger than 1,048,576 bytes"),
    ],
    ids=range(10),
)
def test_a_file_that_is_none_of_ours(text: str | bytes, told: str, write: Write) -> None:
    file = write(text)
    assert refused(file).startswith(f"'{file}': {told}" if "digits" not in told else f"'{file}': ")
    assert told in refused(file)
    assert refused(FILE=str(file)).startswith(f"CIRCMAN_CONSTANTS_FILE='{file}': ")


def test_a_file_of_the_largest_size_is_read(write: Write) -> None:
    assert constants(write("#" * LARGEST_FILE)).to_json() == DEFAULTS | {
        "simulation": {**DEFAULTS["simulation"], "seed": None}
    }
    assert constants(write("")).get("simulation", "steps") == 10


def test_what_cannot_be_read(tmp_path: Path, write: Write) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    folder = "it is a folder, or something else that is no file"
    for path in (tmp_path, "", pipe, "/dev/zero"):
        assert folder in refused(path)
    assert "it cannot be read: No such file" in refused(tmp_path / "none.toml")
    assert "it cannot be read: Not a directory" in refused(write("") / "b")
    assert "it cannot be read: File name too long" in refused("x" * 300)
    assert "null byte" in refused("a\0b")
    assert "int" in refused(3)
    assert "bytes" in refused(b"a.toml")
    if os.geteuid() != 0:
        closed = write("")
        closed.chmod(stat.S_IWUSR)
        assert "it cannot be read: Permission denied" in refused(closed)


NAMES = st.sampled_from([*SECTIONS, "steps", "name", "rules", "parameters", "x", "", "é"])
TOML = st.recursive(
    st.sampled_from(["1", "-1", "0.5", "nan", "inf", "true", "'a'", "'none'", "2026-11-22", "07:32:00", "9" * 400]),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    | st.dictionaries(NAMES.map(lambda name: f"'{name}'"), inner, max_size=3).map(
        lambda table: "{" + ", ".join(f"{name} = {value}" for name, value in table.items()) + "}"
    ),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(NAMES.map(lambda name: f"'{name}'"), TOML, max_size=4))
def test_any_toml_is_taken_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text("\n".join(f"{name} = {value}" for name, value in document.items()), encoding="utf-8")
    accepted_or_refused(file, {})


@given(st.sampled_from([variable_of(*one) for one in OTHERS]), st.text(max_size=20) | TOML)
def test_any_variable_is_taken_or_refused_in_words(variable: str, text: str) -> None:
    accepted_or_refused(None, {variable: text})


def accepted_or_refused(file: Path | None, environment: Mapping[str, str]) -> None:
    """No other error, and a service that can be asked."""
    try:
        service = ConstantsService(file, environment=environment)
    except UsageError:
        return
    assert json.loads(dumps(service.to_json())).keys() == SECTIONS.keys()
