"""Rules against pydantic: where rules say it all, they and the model agree on what a state may be."""

from __future__ import annotations

import copy
import json
import math
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, Literal

from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from circman_redis.errors import Violation
from circman_redis.models import Environment, Material, ProductionLine, TwinState
from circman_redis.patch import join_pointer
from circman_redis.rules import check, compile_model


class Mode(Enum):
    AUTO = "auto"
    HAND = "hand"


class Leaf(BaseModel):
    size: int = Field(ge=-3, lt=10)
    label: str | None = Field(None, max_length=3)


class Bag(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool]
    count: int = 0


class Zoo(BaseModel):
    """A field for each thing that rules can say."""

    at: datetime
    ended: datetime | None = None
    flag: bool = False
    mode: Mode = Mode.AUTO
    step: Literal[1, 2, "end"] = 1
    choice: Literal["on"] | None = None
    level: Annotated[float, Field(gt=0, le=1)] = 1
    name: str = Field("", min_length=1, max_length=4, alias="na/me~")
    mixed: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=2)] | None = None
    amount: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)] = 0
    leaf: Leaf | None = None
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf] = {}
    grid: list[list[float]] = []
    bag: Bag = Bag()
    anything: Any = None


ZONES = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# A day from either end, so that no zone carries the instant out of the years 0001 to 9999.
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NOT_NEGATIVE = st.floats(0, 1e300)
FRACTIONS = st.floats(0, 1)
CELSIUS = st.floats(-273.15, 1e6, exclude_min=True)
NAMES = st.text(min_size=1, max_size=5)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


LINES = some(
    status=NAMES,
    temperature=CELSIUS,
    energy_consumption=NOT_NEGATIVE,
    production_rate=NOT_NEGATIVE,
    efficiency=FRACTIONS,
    defect_rate=FRACTIONS,
).map(lambda fields: ProductionLine(**fields))
MATERIALS = st.builds(
    lambda inventory, rest: Material(inventory=inventory, **rest),
    st.integers(0, 2**53) | NOT_NEGATIVE,
    some(quality=FRACTIONS),
)
TWINS = st.builds(
    lambda timestamp, rest: TwinState(timestamp=timestamp, **rest),
    TIMES,
    some(
        system_status=NAMES,
        production_line=LINES,
        materials=st.dictionaries(st.text(), MATERIALS, max_size=3),
        environment=some(temperature=CELSIUS, humidity=st.floats(0, 100)).map(lambda some: Environment(**some)),
        quality_metrics=st.dictionaries(st.text(), FINITE, max_size=3),
        resource_metrics=st.dictionaries(st.text(), FINITE | INTEGERS, max_size=3),
    ),
)

LEAVES = st.builds(Leaf, size=st.integers(-3, 9), label=st.none() | st.text(max_size=3))
BAGS = st.builds(
    lambda count, extra: Bag(count=count, **extra),
    INTEGERS,
    st.dictionaries(st.sampled_from(["a", "b/c", "*", "-", ""]), st.booleans()),
)
SCALARS = st.none() | st.booleans() | INTEGERS | FINITE | st.text(max_size=4) | TIMES.map(datetime.isoformat)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
)
ZOOS = st.builds(
    lambda at, rest: Zoo(at=at, **rest),
    TIMES,
    some(
        ended=st.none() | TIMES,
        flag=st.booleans(),
        mode=st.sampled_from(Mode),
        step=st.sampled_from([1, 2, "end"]),
        choice=st.sampled_from(["on", None]),
        level=st.floats(0, 1, exclude_min=True),
        mixed=st.none() | st.integers(0, 2**64 - 1) | st.text(min_size=2),
        amount=st.integers(0, 2**64 - 1) | NOT_NEGATIVE,
        leaf=st.none() | LEAVES,
        leaves=st.lists(LEAVES, max_size=2),
        by_name=st.dictionaries(st.text(), LEAVES, max_size=2),
        grid=st.lists(st.lists(FINITE, max_size=2), max_size=2),
        bag=BAGS,
        anything=ANYTHING,
        **{"na/me~": st.text(min_size=1, max_size=4)},
    ),
)
TWIN_RULES = compile_model(TwinState).rules
ZOO_RULES = compile_model(Zoo).rules


def as_state(model: BaseModel) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True, exclude_unset=isinstance(model, Zoo)))
    return state


def test_rules_say_all_of_these_models() -> None:
    """What the tests below build on."""
    assert compile_model(TwinState).python_checks == ()
    assert compile_model(Zoo).python_checks == ()


@given(TWINS)
def test_every_twin_state_that_pydantic_writes_is_valid_at_the_strictest(twin: TwinState) -> None:
    assert check(as_state(twin), TWIN_RULES, "strict") == []


@given(ZOOS)
def test_every_state_that_pydantic_writes_is_valid_at_the_strictest(zoo: Zoo) -> None:
    assert check(as_state(zoo), ZOO_RULES, "strict") == []


Place = tuple[tuple[str | int, ...], str]


def places(value: Any, rules: dict[str, dict[str, Any]], path: tuple[Any, ...] = (), place: str = "") -> list[Place]:
    """Every path in a state that has a rule, with the place of that rule."""
    if place not in rules:
        return []
    found: list[Place] = [(path, place)]
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, rules, (*path, index), f"{place}/-")
    if isinstance(value, dict):
        for key, member in value.items():
            own = place + join_pointer([key])
            found += places(member, rules, (*path, key), own if own in rules else f"{place}/*")
    return found


def put(state: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    state = copy.deepcopy(state)
    inner = state
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return state


ONE_OF_EACH = {
    "object": {},
    "array": [],
    "string": "x",
    "number": 0.5,
    "integer": 7,
    "boolean": True,
    "null": None,
}


def breaking(rule: dict[str, Any]) -> list[tuple[str, Any]]:
    """Values that break one rule, each with the keyword that it breaks."""
    kinds = rule.get("type", list(ONE_OF_EACH))
    allowed = {kinds} if isinstance(kinds, str) else set(kinds)
    allowed |= {"integer"} if "number" in allowed else set()
    values = [("type", value) for kind, value in ONE_OF_EACH.items() if kind not in allowed]
    by_keyword = {
        "minimum": lambda bound: [bound - 1, math.nextafter(bound, -math.inf)],
        "maximum": lambda bound: [bound + 1, math.nextafter(bound, math.inf)],
        "exclusiveMinimum": lambda bound: [bound, bound - 1],
        "exclusiveMaximum": lambda bound: [bound, bound + 1],
        "minLength": lambda length: ["é" * (length - 1)],
        "maxLength": lambda length: ["😀" * (length + 1)],
        "enum": lambda _: ["none of them", 77],
        "const": lambda _: ["not it", 77],
        "format": lambda _: ["", "2025-02-30T00:00:00Z", "now"],
    }
    for keyword, make in by_keyword.items():
        if keyword in rule:
            values += [(keyword, value) for value in make(rule[keyword])]
    return values


def test_there_is_a_breaking_value_for_every_keyword_but_those_of_objects() -> None:
    tried = {keyword for rule in ZOO_RULES.values() for keyword, _ in breaking(rule)}
    assert tried >= {keyword for rule in ZOO_RULES.values() for keyword in rule} - {
        "required",
        "additionalProperties",
    }


def refused_for_one_thing(state: Any, rules: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    path, place = data.draw(st.sampled_from(places(state, rules)))
    assume(breaking(rules[place]))
    keyword, value = data.draw(st.sampled_from(breaking(rules[place])))
    found = check(put(state, path, value), rules, "strict")
    assert {violation.pointer for violation in found} == {join_pointer(path)}
    broken = [next(iter(violation.rule)) for violation in found]
    # A number in the place of an integer's or of an enum's may break the type before the keyword.
    assert keyword in broken or broken == ["type"]


@given(TWINS, st.data())
def test_one_wrong_value_in_a_twin_state_is_refused_where_it_is(twin: TwinState, data: st.DataObject) -> None:
    refused_for_one_thing(as_state(twin), TWIN_RULES, data)


@given(ZOOS, st.data())
def test_one_wrong_value_is_refused_where_it_is(zoo: Zoo, data: st.DataObject) -> None:
    refused_for_one_thing(as_state(zoo), ZOO_RULES, data)


def objects(state: Any, keyword: str) -> list[Place]:
    return [(path, place) for path, place in places(state, ZOO_RULES) if keyword in ZOO_RULES[place]]


def at(state: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        state = state[step]
    return state


@given(ZOOS, st.data(), st.text())
def test_one_field_more_is_refused_at_the_strictest_only(zoo: Zoo, data: st.DataObject, key: str) -> None:
    state = as_state(zoo)
    path, place = data.draw(st.sampled_from(objects(state, "additionalProperties")))
    assume(isinstance(at(state, path), dict) and place + join_pointer([key]) not in ZOO_RULES)
    more = put(state, (*path, key), 1)
    assert check(more, ZOO_RULES, "standard") == []
    assert check(more, ZOO_RULES, "strict") == [
        Violation(join_pointer([*path, key]), {"additionalProperties": False}, 1)
    ]


@given(ZOOS, st.data())
def test_one_required_field_less_is_refused_at_the_strictest_only(zoo: Zoo, data: st.DataObject) -> None:
    state = as_state(zoo)
    path, place = data.draw(st.sampled_from(objects(state, "required")))
    assume(isinstance(at(state, path), dict))
    key = data.draw(st.sampled_from(ZOO_RULES[place]["required"]))
    less = put(state, path, {name: value for name, value in at(state, path).items() if name != key})
    assert check(less, ZOO_RULES, "standard") == []
    assert check(less, ZOO_RULES, "strict") == [Violation(join_pointer([*path, key]), {"required": True})]


SMALL = st.integers(-4, 11)
OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "object": LEAVES.map(as_state) | st.dictionaries(st.text(), st.booleans() | LEAVES.map(as_state), max_size=1),
    "array": st.lists(LEAVES.map(as_state) | st.lists(SMALL, max_size=2), max_size=1),
    "string": st.text(max_size=4) | TIMES.map(str) | st.sampled_from(["auto", "on", "end", "hand"]),
    "number": SMALL | SMALL.map(float) | FINITE | INTEGERS,
    "integer": SMALL | SMALL.map(float) | INTEGERS,
    "boolean": st.booleans(),
    "null": st.none(),
}


@given(ZOOS, st.data())
def test_what_the_rules_let_in_the_model_lets_in(zoo: Zoo, data: st.DataObject) -> None:
    """Whatever is written into a state: nothing that pydantic refuses gets past the rules."""
    state = as_state(zoo)
    path, place = data.draw(st.sampled_from(places(state, ZOO_RULES)[1:]))
    kinds = ZOO_RULES[place].get("type", list(OF_TYPE))
    kind = data.draw(st.sampled_from([kinds] if isinstance(kinds, str) else kinds))
    changed = put(state, path, data.draw(OF_TYPE[kind]))
    assume(check(changed, ZOO_RULES, "strict") == [])
    Zoo.model_validate_json(json.dumps(changed))
