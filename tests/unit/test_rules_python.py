"""compile_model(): what rules cannot say is named, as Python's to check."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    PastDatetime,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    Tag,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from circman_redis.rules import CompiledModel, compile_model
from circman_redis.rules_check import RULE_KEYWORDS
from tests.unit.small_models import INT, SUB, Color, Other, Sub, at_f, compiled


class Pair(Enum):
    ONE = (1, 2)


class Node(BaseModel):
    value: int = 0
    children: list[Node] = []
    next: Node | None = None


class Point(NamedTuple):
    x: int


def reasons(found: CompiledModel) -> list[str]:
    """What is Python's to check at ``f`` itself."""
    return [check.removeprefix("/f: ") for check in found.python_checks]


def even(value: Any) -> Any:
    return value


def also(value: Any, more: Any) -> Any:
    return value


STRING = {"": {"type": "string"}}
OBJECT = {"": {"type": "object"}}

IN_PYTHON: list[tuple[Any, dict[str, dict[str, Any]], list[str]]] = [
    (Annotated[str, Field(pattern="a+")], STRING, ["pattern"]),
    (Annotated[float, Field(multiple_of=0.5)], {"": {"type": "number"}}, ["multipleOf"]),
    (
        Annotated[list[int], Field(min_length=1, max_length=3)],
        {"": {"type": "array"}, "/-": INT},
        ["maxItems", "minItems"],
    ),
    (Annotated[dict[str, int], Field(min_length=1)], {"": {"type": "object"}, "/*": INT}, ["minProperties"]),
    (set[int], {"": {"type": "array"}, "/-": INT}, ["uniqueItems"]),
    (tuple[int, str], {"": {"type": "array"}}, ["maxItems", "minItems", "prefixItems"]),
    (dict[int, str], {"": {"type": "object"}, "/*": {"type": "string"}}, ["propertyNames"]),
    (dict[Literal["a"], int], {"": {"type": "object"}, "/*": INT}, ["propertyNames"]),
    (
        dict[Annotated[str, Field(pattern="a")], int],
        OBJECT,
        ["patternProperties", "propertyNames"],
    ),
    (date, STRING, ["format date"]),
    (time, STRING, ["format time"]),
    (timedelta, STRING, ["format duration"]),
    (UUID, STRING, ["format uuid"]),
    (bytes, STRING, ["format binary"]),
    (Json[Any], STRING, ["contentMediaType", "contentSchema"]),
    (Path, STRING, ["format path", "validator 'path_validator'"]),
    (AnyUrl, {"": {"type": "string", "minLength": 1}}, ["format uri", "validator 'wrap_val'"]),
    (SecretStr, STRING, ["format password", "validator 'SecretStr'"]),
    (Decimal, {"": {"type": ["string", "number"]}}, ["decimal"]),
    # What JSON Schema does not tell of.
    (AwareDatetime, {"": {"type": "string", "format": "date-time"}}, ["datetime tz_constraint"]),
    (PastDatetime, {"": {"type": "string", "format": "date-time"}}, ["datetime now_op"]),
    (
        Annotated[datetime, Field(gt=datetime(2020, 1, 1))],
        {"": {"type": "string", "format": "date-time"}},
        ["datetime gt"],
    ),
    (Annotated[str, StringConstraints(strip_whitespace=True)], STRING, ["str strip_whitespace"]),
    (Annotated[float, Field(lt=float("inf"))], {"": {"type": "number"}}, ["float lt"]),
    (Pair, {"": {"type": "array"}}, ["enum"]),
    (Literal[Color.RED], {"": {"type": "string", "const": "red"}}, ["literal"]),
    (Callable[[], int], {"": {}}, ["callable"]),
    # Functions.
    (Annotated[int, AfterValidator(even)], {"": INT}, ["validator 'even'"]),
    (Annotated[int, AfterValidator(functools.partial(also, more=1))], {"": INT}, ["validator 'also'"]),
    (Annotated[int, BeforeValidator(even)], {"": INT}, ["validator 'even'"]),
    (Annotated[int, WrapValidator(also)], {"": INT}, ["validator 'also'"]),
    (Annotated[int, PlainValidator(even)], {"": {}}, ["validator 'even'"]),
    (Annotated[int, AfterValidator(lambda value: value)], {"": INT}, ["validator '<lambda>'"]),
    # Unions that no one rule says: the types, and what binds no more than it should.
    (Sub | Other, OBJECT, ["anyOf"]),
    (Annotated[int, Field(gt=0)] | Annotated[int, Field(lt=-5)], {"": INT}, ["anyOf"]),
    (Annotated[int, Field(gt=5)] | Annotated[float, Field(gt=0)], {"": {"type": "number"}}, ["anyOf"]),
    (Literal["auto"] | float, {"": {"type": ["string", "number"]}}, ["anyOf"]),
    (
        Literal["auto"] | Annotated[float, Field(ge=0)],
        {"": {"type": ["string", "number"], "minimum": 0}},
        ["anyOf"],
    ),
    (list[int] | list[str], {"": {"type": "array"}}, ["anyOf"]),
    (list[int] | Sub, {"": {**SUB, "type": ["object", "array"]}, "/x": INT}, ["items"]),
    (
        Annotated[Annotated[Sub, Tag("s")] | Annotated[Other, Tag("o")], Discriminator(even)],
        OBJECT,
        ["oneOf"],
    ),
    # Bounds that doubles cannot hold apart.
    (Annotated[int, Field(le=2**53)], {"": INT}, ["maximum 9007199254740992"]),
    (Literal[9007199254740993], {"": INT}, ["const 9007199254740993"]),
    # A JSON Schema that says other than the model does.
    (Annotated[int, WithJsonSchema({"type": "string"})], STRING, ["custom JSON Schema"]),
    (
        Annotated[int, Field(json_schema_extra={"maximum": 4})],
        {"": {**INT, "maximum": 4}},
        ["custom JSON Schema"],
    ),
    (Annotated[int, Field(json_schema_extra=dict.clear)], {"": {}}, ["custom JSON Schema"]),
]


@pytest.mark.parametrize(("annotation", "rules", "checks"), IN_PYTHON)
def test_what_rules_cannot_say_is_named(annotation: Any, rules: dict[str, dict[str, Any]], checks: list[str]) -> None:
    """And the rules hold what they can of it, but never more than the model asks."""
    found = compiled(annotation)
    assert reasons(found) == checks
    assert at_f(found) == rules
    assert all(rule.keys() <= set(RULE_KEYWORDS) for rule in found.rules.values())


def test_a_named_tuple_is_left_to_python() -> None:
    assert "prefixItems" in reasons(compiled(Point))


class Window(BaseModel):
    start: int
    end: int

    @field_validator("start")
    @classmethod
    def check_start(cls, value: int) -> int:
        return value

    @model_validator(mode="before")
    @classmethod
    def check_before(cls, data: Any) -> Any:
        return data

    @model_validator(mode="wrap")
    @classmethod
    def check_around(cls, data: Any, handler: Any) -> Any:
        return handler(data)

    @model_validator(mode="after")
    def check_order(self) -> Window:
        return self


@pytest.mark.parametrize(
    ("annotation", "place"),
    [(Window, "/f"), (Window | None, "/f"), (list[Window], "/f/-"), (dict[str, Window], "/f/*")],
)
def test_validators_are_found_where_they_are(annotation: Any, place: str) -> None:
    assert compiled(annotation).python_checks == (
        f"{place}/start: validator 'check_start'",
        f"{place}: model validator 'check_around'",
        f"{place}: model validator 'check_before'",
        f"{place}: model validator 'check_order'",
    )


def test_a_model_used_twice_is_told_of_twice() -> None:
    class Twice(BaseModel):
        one: Window
        two: Window

    checks = compile_model(Twice).python_checks
    assert [check for check in checks if "check_order" in check] == [
        "/one: model validator 'check_order'",
        "/two: model validator 'check_order'",
    ]


def test_validators_of_the_state_itself_are_at_the_root() -> None:
    assert "/: model validator 'check_order'" in compile_model(Window).python_checks


def test_a_recursive_model_is_compiled_up_to_the_recursion() -> None:
    found = compile_model(Node)
    assert found.rules == {
        "": {"type": "object", "additionalProperties": False},
        "/value": INT,
        "/children": {"type": "array"},
        "/children/-": {"type": "object"},
        "/next": {"type": ["object", "null"]},
    }
    assert found.python_checks == ("/children/-: recursive 'Node'", "/next: recursive 'Node'")


def test_what_runs_after_the_fields_is_named() -> None:
    class Late(BaseModel):
        x: int = 0

        def model_post_init(self, context: Any) -> None:
            pass

    class Early(BaseModel):
        x: int = 0

        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)

    @dataclass
    class Post:
        x: int = 0

        def __post_init__(self) -> None:
            pass

    assert reasons(compiled(Late)) == ["model_post_init"]
    assert reasons(compiled(Early)) == ["model custom_init"]
    assert reasons(compiled(Post)) == ["__post_init__"]


HAND_MADE = [
    (core_schema.datetime_schema(microseconds_precision="error"), ["datetime microseconds_precision"]),
    (core_schema.int_schema(metadata={"pydantic_js_updates": {"maximum": 4}}), ["custom JSON Schema"]),
    (core_schema.tagged_union_schema({"a": core_schema.dict_schema()}, even), ["oneOf"]),
    (core_schema.chain_schema([core_schema.str_schema(), core_schema.str_schema()]), ["chain"]),
    (
        core_schema.lax_or_strict_schema(
            core_schema.no_info_after_validator_function(even, core_schema.int_schema()), core_schema.int_schema()
        ),
        ["validator 'even'"],
    ),
    (
        core_schema.json_or_python_schema(core_schema.int_schema(), core_schema.no_info_plain_validator_function(even)),
        [],
    ),
]


@pytest.mark.parametrize(("schema", "checks"), HAND_MADE)
def test_types_with_a_core_schema_of_their_own_are_looked_through(schema: Any, checks: list[str]) -> None:
    """What JSON passes through counts, and what only Python objects pass through does not."""

    class Own:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            return schema

    assert reasons(compiled(Own)) == checks


def test_validators_of_extra_fields_are_found() -> None:
    class Extra(BaseModel):
        model_config = ConfigDict(extra="allow")
        __pydantic_extra__: dict[str, Annotated[int, AfterValidator(even)]]

    assert compile_model(Extra).python_checks == ("/*: validator 'even'",)


def test_a_field_that_may_not_be_given_is_named() -> None:
    @dataclass
    class Given:
        x: int = field(default=0, init=False)

    found = compiled(Given)
    assert [check for check in found.python_checks if check.endswith(": init")] == ["/f/x: init"]


def test_private_attributes_are_no_reason() -> None:
    class Private(BaseModel):
        x: int = 0
        _seen: int = PrivateAttr(default=0)

    assert compile_model(Private).python_checks == ()


@pytest.mark.parametrize(
    "config",
    [
        {"str_strip_whitespace": True},
        {"str_to_lower": True},
        {"str_to_upper": True},
        {"str_min_length": 1},
        {"str_max_length": 9},
        {"validate_by_alias": False, "validate_by_name": True},
        {"json_schema_extra": {"minProperties": 1}},
    ],
)
def test_settings_of_the_model_that_refuse_values_are_named(config: dict[str, Any]) -> None:
    assert compiled(str, **config).python_checks != ()
    assert compiled(str, frozen=True, json_schema_extra={"examples": []}).python_checks == ()


def test_an_alias_with_choices_is_left_to_python() -> None:
    class Choosy(BaseModel):
        a: int = Field(0, validation_alias=AliasChoices("x", "y"))

    assert compile_model(Choosy).python_checks == ("/a: validation alias",)


def test_names_that_a_place_cannot_write_are_left_to_python() -> None:
    """And their object is not closed, for the rules would take them for unknown."""

    class Odd(BaseModel):
        star: int = Field(0, alias="*")
        dash: int = Field(0, alias="-")
        plain: int = 0

    found = compile_model(Odd)
    assert found.rules == {"": {"type": "object"}, "/plain": INT}
    assert found.python_checks == ("/: property '*'", "/: property '-'")
