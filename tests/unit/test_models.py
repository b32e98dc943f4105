"""TwinState, the model that a twin has unless its user brings another."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from circman_redis.models import Environment, Material, ProductionLine, TwinState
from circman_redis.rules import check, compile_model

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)

SAMPLE: dict[str, Any] = {
    "timestamp": "2025-02-24T14:20:07.123456",
    "system_status": "running",
    "production_line": {
        "status": "running",
        "temperature": 22.5,
        "energy_consumption": 120.5,
        "production_rate": 8.5,
        "efficiency": 0.92,
        "defect_rate": 0.02,
    },
    "materials": {
        "silicon_wafer": {"inventory": 1000, "quality": 0.95},
        "silver_paste": {"inventory": 500, "quality": 0.98},
    },
    "environment": {"temperature": 22.0, "humidity": 45.0},
    "quality_metrics": {"overall": 0.93},
    "resource_metrics": {"energy_efficiency": 0.88},
}

# What TwinState asks of each place. Other programs find it in Redis: a change here is a change for them.
RULES: dict[str, dict[str, Any]] = {
    "": {"type": "object", "required": ["timestamp"], "additionalProperties": False},
    "/timestamp": {"type": "string", "format": "date-time"},
    "/system_status": {"type": "string", "minLength": 1},
    "/production_line": {"type": "object", "additionalProperties": False},
    "/production_line/status": {"type": "string", "minLength": 1},
    "/production_line/temperature": {"type": "number", "exclusiveMinimum": -273.15},
    "/production_line/energy_consumption": {"type": "number", "minimum": 0},
    "/production_line/production_rate": {"type": "number", "minimum": 0},
    "/production_line/efficiency": {"type": "number", "minimum": 0, "maximum": 1},
    "/production_line/defect_rate": {"type": "number", "minimum": 0, "maximum": 1},
    "/materials": {"type": "object"},
    "/materials/*": {"type": "object", "required": ["inventory"], "additionalProperties": False},
    "/materials/*/inventory": {"type": "number", "minimum": 0},
    "/materials/*/quality": {"type": "number", "minimum": 0, "maximum": 1},
    "/environment": {"type": "object", "additionalProperties": False},
    "/environment/temperature": {"type": "number", "exclusiveMinimum": -273.15},
    "/environment/humidity": {"type": "number", "minimum": 0, "maximum": 100},
    "/quality_metrics": {"type": "object"},
    "/quality_metrics/*": {"type": "number"},
    "/resource_metrics": {"type": "object"},
    "/resource_metrics/*": {"type": "number"},
}


def test_the_rules_are_these_and_say_all() -> None:
    compiled = compile_model(TwinState)
    assert compiled.rules == RULES
    assert compiled.python_checks == ()
    assert compiled.name == "TwinState"


def test_the_hash_is_the_same_with_every_pydantic_and_on_every_machine() -> None:
    assert compile_model(TwinState).hash == "31138ed96e8b482f"


def test_the_sample_is_valid_at_the_strictest() -> None:
    assert check(SAMPLE, RULES, "strict") == []


def test_the_sample_comes_back_as_it_went_in() -> None:
    """Every value and every number's kind; the time as text of the same instant."""
    text = TwinState.model_validate(SAMPLE).model_dump_json()
    assert json.loads(text) == SAMPLE
    assert '"inventory":1000,' in text


BAD = [
    ("/system_status", ""),
    ("/production_line/status", ""),
    ("/production_line/temperature", -273.15),
    ("/production_line/energy_consumption", -0.001),
    ("/production_line/production_rate", -1),
    ("/production_line/efficiency", -0.1),
    ("/production_line/efficiency", 1.1),
    ("/production_line/defect_rate", -0.1),
    ("/production_line/defect_rate", 1.1),
    ("/materials/silicon_wafer/inventory", -1),
    ("/materials/silicon_wafer/inventory", -0.5),
    ("/materials/silicon_wafer/quality", -0.1),
    ("/materials/silicon_wafer/quality", 1.1),
    ("/environment/temperature", -300),
    ("/environment/humidity", -1),
    ("/environment/humidity", 100.5),
    ("/quality_metrics/overall", "good"),
    ("/resource_metrics/energy_efficiency", [1]),
    ("/timestamp", "yesterday"),
]


def sample_with(pointer: str, value: Any) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(json.dumps(SAMPLE))
    *way, last = pointer.split("/")[1:]
    place = state
    for key in way:
        place = place[key]
    place[last] = value
    return state


@pytest.mark.parametrize(("pointer", "value"), BAD)
def test_the_model_and_the_rules_refuse_what_is_out_of_range(pointer: str, value: Any) -> None:
    state = sample_with(pointer, value)
    with pytest.raises(ValidationError):
        TwinState.model_validate(state)
    assert [violation.pointer for violation in check(state, RULES)] == [pointer]


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/production_line/temperature", -273.14),
        ("/production_line/efficiency", 0),
        ("/production_line/defect_rate", 1),
        ("/materials/silicon_wafer/inventory", 0),
        ("/materials/silicon_wafer/inventory", 12.5),
        ("/environment/humidity", 100),
        ("/quality_metrics/overall", -5),
    ],
)
def test_the_model_and_the_rules_accept_the_ends_of_the_ranges(pointer: str, value: Any) -> None:
    state = sample_with(pointer, value)
    TwinState.model_validate(state)
    assert check(state, RULES, "strict") == []


def test_only_the_timestamp_is_required() -> None:
    twin = TwinState(timestamp=NOW)
    assert twin.production_line.temperature is None
    assert twin.materials == {}
    assert check(json.loads(twin.model_dump_json()), RULES, "strict") == []
    with pytest.raises(ValidationError, match="timestamp"):
        TwinState.model_validate({})


def test_a_material_needs_its_inventory() -> None:
    with pytest.raises(ValidationError, match="inventory"):
        Material.model_validate({"quality": 0.5})


def test_what_is_absent_is_left_out_and_never_null() -> None:
    """As a merge patch, null would delete, and a made-up value would overwrite."""
    assert TwinState(timestamp=NOW).model_dump(mode="json") == {"timestamp": "2026-11-22T13:00:00Z"}
    assert ProductionLine(temperature=4).model_dump() == {"temperature": 4}
    assert Material(inventory=3).model_dump() == {"inventory": 3}


def test_what_is_put_into_a_part_later_is_written() -> None:
    twin = TwinState(timestamp=NOW)
    twin.production_line.temperature = 4
    twin.materials["glass"] = Material(inventory=3)
    assert twin.model_dump(exclude={"timestamp"}) == {
        "production_line": {"temperature": 4},
        "materials": {"glass": {"inventory": 3}},
    }


def test_what_is_given_as_empty_is_written_as_empty() -> None:
    assert TwinState(timestamp=NOW, materials={}).model_dump(exclude={"timestamp"}) == {"materials": {}}


def test_the_ranges_hold_for_later_assignments() -> None:
    twin = TwinState(timestamp=NOW)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        twin.environment.humidity = -1


def test_null_is_not_a_value_of_any_field() -> None:
    """Python's None means absent; in JSON there is no null to mean it."""
    nulls = dict.fromkeys(SAMPLE)
    assert len(check(nulls, RULES)) == len(SAMPLE)
    assert "null" not in json.dumps(compile_model(TwinState).schema)


def test_nan_and_infinity_are_refused() -> None:
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            TwinState(timestamp=NOW, quality_metrics={"overall": number})
        with pytest.raises(ValidationError):
            Environment(temperature=number)


def test_unknown_fields_are_no_error_for_the_model() -> None:
    assert "color" not in TwinState.model_validate({**SAMPLE, "color": "red"}).model_dump()


@pytest.mark.parametrize("model", [TwinState, ProductionLine, Material, Environment])
def test_the_docstring_tells_of_every_field(model: type[BaseModel]) -> None:
    """And so does the published JSON Schema, whose description it is."""
    told = re.findall(r"^    (\w+): ", model.model_json_schema()["description"], re.MULTILINE)
    assert told == list(model.model_fields)


@pytest.mark.parametrize(
    ("model", "field", "unit"),
    [
        (ProductionLine, "temperature", "degrees Celsius"),
        (ProductionLine, "energy_consumption", "kWh"),
        (ProductionLine, "production_rate", "units per hour"),
        (ProductionLine, "efficiency", "fraction"),
        (ProductionLine, "defect_rate", "fraction"),
        (Material, "inventory", "units"),
        (Material, "quality", "fraction"),
        (Environment, "temperature", "degrees Celsius"),
        (Environment, "humidity", "%"),
    ],
)
def test_the_docstring_names_the_unit(model: type[BaseModel], field: str, unit: str) -> None:
    assert re.search(rf"{field}: [^\n]*{unit}", model.__doc__ or "")
