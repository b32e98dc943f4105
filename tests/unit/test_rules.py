"""compile_model(): the rules that a model becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    FiniteFloat,
    JsonValue,
    PositiveInt,
    RootModel,
    create_model,
)
from pydantic.json_schema import SkipJsonSchema

from circman_redis.errors import UsageError
from circman_redis.models import TwinState
from circman_redis.rules import CompiledModel, compile_model
from circman_redis.rules_check import RULE_KEYWORDS
from tests.unit.small_models import (
    INT,
    SUB,
    Color,
    Data,
    Grade,
    Names,
    Open,
    Shut,
    Sub,
    Typed,
    TypedOpen,
    at_f,
    compiled,
)

IN_RULES: list[tuple[Any, dict[str, dict[str, Any]]]] = [
    (int, {"": INT}),
    (float, {"": {"type": "number"}}),
    (FiniteFloat, {"": {"type": "number"}}),
    (str, {"": {"type": "string"}}),
    (bool, {"": {"type": "boolean"}}),
    (NoneType, {"": {"type": "null"}}),
    (Any, {"": {}}),
    (JsonValue, {"": {}}),
    (datetime, {"": {"type": "string", "format": "date-time"}}),
    (PositiveInt, {"": {"type": "integer", "exclusiveMinimum": 0}}),
    (Annotated[float, Field(ge=0, lt=1)], {"": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}}),
    (Annotated[float, Field(gt=0, le=1)], {"": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}}),
    (
        Annotated[str, Field(min_length=1, max_length=9)],
        {"": {"type": "string", "minLength": 1, "maxLength": 9}},
    ),
    (Color, {"": {"type": "string", "enum": ["red", "blue"]}}),
    (Grade, {"": {"type": "integer", "enum": [1]}}),
    (Literal["a"], {"": {"type": "string", "const": "a"}}),
    (Literal[True], {"": {"type": "boolean", "const": True}}),
    (Literal["a", 1], {"": {"enum": ["a", 1]}}),
    (list[int], {"": {"type": "array"}, "/-": INT}),
    (list[list[Sub]], {"": {"type": "array"}, "/-": {"type": "array"}, "/-/-": SUB, "/-/-/x": INT}),
    (list[Any], {"": {"type": "array"}}),
    (Sequence[int], {"": {"type": "array"}, "/-": INT}),
    (tuple[int, ...], {"": {"type": "array"}, "/-": INT}),
    (dict[str, int], {"": {"type": "object"}, "/*": INT}),
    (Mapping[str, Sub], {"": {"type": "object"}, "/*": SUB, "/*/x": INT}),
    (dict[str, Any], {"": {"type": "object"}}),
    (dict, {"": {"type": "object"}}),
    (Names, {"": {"type": "object"}, "/*": INT}),
    # Objects: closed unless their model is open.
    (Sub, {"": SUB, "/x": INT}),
    (Shut, {"": {"type": "object", "additionalProperties": False}, "/x": INT}),
    (Open, {"": {"type": "object"}, "/x": INT}),
    (TypedOpen, {"": {"type": "object"}, "/x": INT, "/*": {"type": "number"}}),
    (
        Typed,
        {
            "": {"type": "object", "required": ["a"], "additionalProperties": False},
            "/a": INT,
            "/b": {"type": "string"},
        },
    ),
    (
        Data,
        {
            "": {"type": "object", "required": ["a"], "additionalProperties": False},
            "/a": INT,
            "/b": {"type": "string"},
        },
    ),
    # Nullable things and unions, where one rule says exactly the same.
    (int | None, {"": {"type": ["integer", "null"]}}),
    (datetime | None, {"": {"type": ["string", "null"], "format": "date-time"}}),
    (Sub | None, {"": {**SUB, "type": ["object", "null"]}, "/x": INT}),
    (list[int] | None, {"": {"type": ["array", "null"]}, "/-": INT}),
    (Color | None, {"": {"type": ["string", "null"], "enum": ["red", "blue", None]}}),
    (Literal["a"] | None, {"": {"type": ["string", "null"], "enum": ["a", None]}}),
    (Literal["a"] | Grade, {"": {"type": ["string", "integer"], "enum": ["a", 1]}}),
    (bool | int | None, {"": {"type": ["integer", "boolean", "null"]}}),
    (
        PositiveInt | Annotated[str, Field(min_length=2)] | None,
        {"": {"type": ["string", "integer", "null"], "exclusiveMinimum": 0, "minLength": 2}},
    ),
    (int | float, {"": {"type": "number"}}),
    (PositiveInt | float, {"": {"type": "number"}}),
    (
        Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)],
        {"": {"type": "number", "minimum": 0}},
    ),
    (datetime | str, {"": {"type": "string"}}),
    (Literal["auto"] | str, {"": {"type": "string"}}),
    (int | Any, {"": {}}),
    (Sub | str, {"": {**SUB, "type": ["object", "string"]}, "/x": INT}),
    (dict[str, Any] | list[Any] | str, {"": {"type": ["object", "array", "string"]}}),
    (dict[str, int] | list[Any], {"": {"type": ["object", "array"]}, "/*": INT}),
    (int | (str | None), {"": {"type": ["string", "integer", "null"]}}),
    (int | SkipJsonSchema[None], {"": INT}),
    # Words only.
    (Annotated[int, Field(title="T", description="D", examples=[1])], {"": INT}),
    (Annotated[int, Field(json_schema_extra={"unit": "C"})], {"": INT}),
]


@pytest.mark.parametrize(("annotation", "rules"), IN_RULES)
def test_rules_say_it_all(annotation: Any, rules: dict[str, dict[str, Any]]) -> None:
    found = compiled(annotation)
    assert at_f(found) == rules
    assert found.python_checks == ()


def test_keys_are_written_as_json_pointer_and_by_alias() -> None:
    class Named(BaseModel):
        a: int = Field(alias="a/b~c")
        b: int = Field(0, validation_alias="in", serialization_alias="out")

    assert list(compile_model(Named).rules) == ["", "/a~1b~0c", "/in"]
    assert compile_model(Named).rules[""]["required"] == ["a/b~c"]


def test_every_rule_keeps_to_the_keywords_of_the_contract() -> None:
    for annotation, _ in IN_RULES:
        for rule in compiled(annotation).rules.values():
            assert rule.keys() <= set(RULE_KEYWORDS)
            assert rule.get("additionalProperties", False) is False
            assert rule.get("format", "date-time") == "date-time"
            json.dumps(rule, allow_nan=False)


def test_the_schema_is_pydantics() -> None:
    assert compile_model(TwinState).schema == TwinState.model_json_schema()


def test_the_same_class_gives_the_same_object() -> None:
    assert compile_model(Sub) is compile_model(Sub)


def test_the_name_is_the_qualified_one() -> None:
    assert compile_model(Sub).name == "Sub"


def test_a_default_that_is_not_json_is_no_matter() -> None:
    class Made(BaseModel):
        x: Any = object()

    assert compile_model(Made).python_checks == ()


class NotAnObject(RootModel[list[int]]):
    pass


class Unfinished(BaseModel):
    x: NoSuchName  # type: ignore[name-defined] # noqa: F821 - what the test is about


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NotAnObject, "a state is a JSON object"),
        (RootModel[Sub | None], "a state is a JSON object"),
        (Unfinished, "Unfinished.*not fully defined"),
        (dict, "wanted a pydantic BaseModel class"),
        ("TwinState", "wanted a pydantic BaseModel class"),
    ],
)
def test_what_cannot_describe_a_state_is_refused(model: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compile_model(model)


def test_a_root_model_of_an_object_describes_a_state() -> None:
    assert compile_model(Names).rules == {"": {"type": "object"}, "/*": INT}


# The hash.


def model_of(name: str = "Made", doc: str | None = None, **fields: Any) -> CompiledModel:
    made: type[BaseModel] = create_model(name, __doc__=doc, **fields)
    return compile_model(made)


def test_words_and_order_leave_the_hash() -> None:
    one = model_of(a=(int, ...), b=(Annotated[float, Field(ge=0)], ...), c=(int | str | None, 1))
    other = model_of(
        "Renamed",
        "Described.",
        c=(Annotated[str | int | None, Field(title="C")], None),
        b=(Annotated[float, Field(ge=0.0, description="words")], ...),
        a=(int, ...),
    )
    assert one.hash == other.hash
    assert len(one.hash) == 16
    int(one.hash, 16)


@pytest.mark.parametrize(
    "field",
    [
        (int, 1),
        (float, ...),
        (Annotated[int, Field(ge=0)], ...),
        (int | None, ...),
        (Annotated[int, Field(ge=1)], ...),
    ],
)
def test_a_changed_rule_changes_the_hash(field: Any) -> None:
    assert model_of(a=field).hash != model_of(a=(int, ...)).hash


def test_where_python_checks_the_name_and_the_checks_count_too() -> None:
    """The rules alone would not tell such models apart."""
    pattern = (Annotated[str, Field(pattern="a")], ...)
    after = (Annotated[str, AfterValidator(abs)], ...)
    made = [
        model_of("A", f=pattern),
        model_of("B", f=pattern),
        model_of("A", f=after),
        model_of("A", f=(str, ...)),
    ]
    assert len({one.hash for one in made}) == 4
    assert model_of("A", f=pattern).hash == made[0].hash


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    f: T


def test_a_generic_model_is_compiled_for_its_argument() -> None:
    assert compile_model(Box[int]).rules["/f"] == INT
