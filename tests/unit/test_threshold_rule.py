"""Threshold rules: what they take, when they are breached; hysteresis, exactly."""

from __future__ import annotations

import pickle
from decimal import Inexact, Rounded, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from circman_redis.patch import MISSING, same
from circman_redis.twin.threshold_rule import ThresholdRule, alike
from tests.unit.json_values import INF, NAN, SCALARS, VALUES

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = VALUES | SCALARS


def rule(comparison: str = "greater_than", value: Any = 80, hysteresis: float = 0.0, **more: Any) -> ThresholdRule:
    given = {"name": "hot", "pointer": "/a", "comparison": comparison, "value": value, "hysteresis": hysteresis}
    return ThresholdRule(**(given | more))


def tenths(number: int) -> float:
    """As a program writes it: 3 is 0.3, and not the sum of three tenths in binary."""
    return float(f"{number}e-1")


@pytest.mark.parametrize(
    ("value", "was_breached", "breached"),
    [
        *[(80, False, False), (80.1, False, True), (75.1, False, False), (-1e300, False, False)],
        *[(2**64 - 1, False, True), (2**64 - 1, True, True)],
        *[(80, True, True), (75.1, True, True), (75, True, False), (75.0, True, False), (74.9, True, False)],
    ],
)  # fmt: skip
def test_greater_than_with_a_hysteresis(value: float, was_breached: bool, breached: bool) -> None:
    """Breached above 80; then until it is 75 or less. Less than is the same, upside down."""
    assert rule(value=80, hysteresis=5).is_breached(value, was_breached) is breached
    assert rule("less_than", -80, 5).is_breached(-value, was_breached) is breached


def test_digits_decide_and_not_doubles() -> None:
    """In binary 0.3 - 0.1 is below 0.2, and 0.1 + 0.2 above 0.3."""
    assert not rule(value=0.3, hysteresis=0.1).is_breached(0.2, True)
    assert not rule("less_than", 0.1, 0.2).is_breached(0.3, True)
    assert rule(value=9007199254740992).is_breached(9007199254740993, False)


@given(st.integers(-100, 100), st.integers(0, 50), st.lists(st.integers(-200, 200), max_size=30))
def test_it_is_what_integers_say(limit: int, band: int, values: list[int]) -> None:
    """In tenths: raised above the limit, cleared at limit less hysteresis, and nowhere else. Never within the band."""
    above = rule(value=tenths(limit), hysteresis=tenths(band))
    below = rule("less_than", tenths(-limit), tenths(band))
    breached = False
    for value in values:
        before, breached = breached, above.is_breached(tenths(value), breached)
        assert below.is_breached(tenths(-value), before) is breached
        assert breached is (value > limit or (before and value > limit - band))
        if limit - band < value <= limit:
            assert breached is before


@given(FINITE, FINITE, st.floats(0, allow_infinity=False), st.booleans())
@example(1.7976931348623157e308, 1.7976931348623157e308, 5e-324, True)
@example(0.2, 0.3, 0.1, True)
def test_it_is_what_fractions_say(value: float, limit: float, hysteresis: float, was_breached: bool) -> None:
    """However far apart the numbers are, and whatever else the program does with decimals."""
    edge = Fraction(repr(limit)) - (Fraction(repr(hysteresis)) if was_breached else 0)
    with localcontext(prec=1, traps=[Inexact, Rounded]):
        breached = rule(value=limit, hysteresis=hysteresis).is_breached(value, was_breached)
        assert rule("less_than", -limit, hysteresis).is_breached(-value, was_breached) is breached
    assert breached is (Fraction(repr(value)) > edge)


@given(JSON, st.booleans())
def test_what_is_no_number_is_neither_greater_nor_less(value: Any, was_breached: bool) -> None:
    assume(isinstance(value, bool) or not isinstance(value, int | float))
    assert not rule().is_breached(value, was_breached)
    assert not rule("less_than").is_breached(value, was_breached)


@pytest.mark.parametrize("comparison", ["greater_than", "less_than", "equal", "not_equal"])
@pytest.mark.parametrize("was_breached", [True, False])
def test_what_is_not_there_breaches_nothing(comparison: str, was_breached: bool) -> None:
    assert not rule(comparison).is_breached(MISSING, was_breached)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_json_does_not_have_is_no_number(value: float) -> None:
    for was_breached in (True, False):
        assert not rule().is_breached(value, was_breached)
        assert not rule("less_than").is_breached(value, was_breached)


@given(JSON, JSON, st.booleans())
@example(22, 22.0, False)
@example([{"a": 22}], [{"a": 22.0}], False)
@example(True, 1, False)
@example(None, False, True)
@example(0.0, -0.0, False)
@example("22", 22, False)
@example({"a": 1, "b": 2}, {"b": 2, "a": 1}, True)
def test_equal_is_the_sameness_of_json_but_for_numbers(one: Any, other: Any, was_breached: bool) -> None:
    """Either is the other's opposite; what is the same is equal, and what is equal has the same kinds and amounts."""
    equal = rule("equal", one).is_breached(other, was_breached)
    assert rule("not_equal", one).is_breached(other, was_breached) is not equal
    assert rule("equal", other).is_breached(one, was_breached) is equal
    assert equal is same(amounts(one), amounts(other))


def amounts(value: Any) -> Any:
    """The value with whole numbers as integers, so that `same` tells their amounts and not how they are written."""
    if isinstance(value, dict):
        return {name: amounts(child) for name, child in value.items()}
    if isinstance(value, list):
        return [amounts(child) for child in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def test_equal_by_hand() -> None:
    assert alike({"a": [1, 22]}, {"a": [1.0, 22.0]})
    assert alike(10**23, 1e23)  # as its digits say; the double beside it is another number
    assert not alike(1, True)
    assert not alike([1], [1, 1])
    assert not alike({"a": 1}, {"b": 1})
    assert not alike({}, [])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": 7}, "name"),
        ({"pointer": "a"}, "must be empty or start with /"),
        ({"pointer": "/a~2"}, "must be empty or start with /"),
        ({"comparison": "greater"}, "'greater_than', 'less_than', 'equal' or 'not_equal'"),
        ({"severity": "fatal"}, "'info', 'warning' or 'critical'"),
        ({"value": "80"}, "greater_than needs a number"),
        ({"value": True}, "greater_than needs a number"),
        ({"value": None}, "greater_than needs a number"),
        ({"value": NAN}, "NaN and Infinity are not JSON"),
        ({"value": {1}}, "no JSON form"),
        ({"value": 2**64}, "an integer beyond 64 bits"),
        ({"comparison": "equal", "value": "\udcff"}, "a lone surrogate"),
        ({"comparison": "equal", "hysteresis": 1}, "equal has no hysteresis"),
        ({"hysteresis": -1}, "greater than or equal to 0"),
        ({"hysteresis": INF}, "finite"),
        ({"hysteresis": "5"}, "valid number"),
        ({"minimum_duration": -0.1}, "greater than or equal to 0"),
        ({"minimum_duration": True}, "valid number"),
        ({"minimum_duration": 1e10}, "less than or equal to"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_what_a_rule_does_not_take(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        rule(**wrong)


def test_a_rule_never_changes() -> None:
    one = rule("equal", {"a": [1]})
    with pytest.raises(ValidationError, match="frozen"):
        one.value = 3
    with pytest.raises(TypeError, match="cannot be changed"):
        one.value["a"] = 2
    with pytest.raises(TypeError, match="cannot be changed"):
        one.value["a"].append(2)
    assert pickle.loads(pickle.dumps(one)) == one
    assert ThresholdRule(**one.model_dump()) == one
