"""check(): what each rule means, and what each level takes of it."""

from __future__ import annotations

from typing import Any

import pytest

from circman_redis.errors import UsageError
from circman_redis.rules import check

BIG = 10**400  # an integer that no double reaches


def broken(value: Any, rule: dict[str, Any]) -> list[str]:
    """The keywords that a value breaks, under one rule."""
    found = check({"f": value}, {"": {"type": "object"}, "/f": rule}, "strict")
    assert all(violation.pointer == "/f" for violation in found)
    assert all(violation.rule == {keyword: rule[keyword]} for violation in found for keyword in violation.rule)
    return [next(iter(violation.rule)) for violation in found]


VALUES: dict[str, list[Any]] = {
    "object": [{}, {"a": 1}],
    "array": [[], [1]],
    "string": ["", "1", "true"],
    "integer": [0, -3, 22.0, 1e300, 2**64, BIG],
    "number": [0.5, -1e-9],
    "boolean": [True, False],
    "null": [None],
}


@pytest.mark.parametrize("wanted", VALUES)
@pytest.mark.parametrize("kind", VALUES)
def test_type_is_the_type_of_json(wanted: str, kind: str) -> None:
    """true is no number, 22.0 is an integer, and every integer is a number."""
    fits = kind == wanted or (kind == "integer" and wanted == "number")
    for value in VALUES[kind]:
        assert broken(value, {"type": wanted}) == ([] if fits else ["type"])


def test_a_list_of_types_is_a_choice() -> None:
    rule = {"type": ["string", "integer", "null"]}
    assert [value for value in ("a", 1, 2.0, None) if broken(value, rule)] == []
    assert [value for value in (1.5, True, [], {}) if not broken(value, rule)] == []


@pytest.mark.parametrize(
    ("rule", "keeps", "breaks"),
    [
        ({"minimum": 0}, [0, -0.0, 1, BIG, "-1", None, True], [-1, -1e-300, -BIG]),
        ({"maximum": 1}, [1, 1.0, -5, -BIG, "2"], [2, 1.0000000000000002, BIG]),
        ({"exclusiveMinimum": -273.15}, [-273.14, 0, "x"], [-273.15, -274]),
        ({"exclusiveMaximum": 10}, [9, 9.999, [11]], [10, 10.0, 11]),
        ({"minLength": 2}, ["ab", "éé", "😀😀", 1], ["", "a", "😀"]),
        ({"maxLength": 2}, ["", "ab", "😀😀", [1, 2, 3]], ["abc", "😀😀😀", "e\u0301e\u0301"]),
        ({"enum": ["a", 1, None, False]}, ["a", 1, 1.0, None, False], ["b", 2, True, 0, "1", [], {}]),
        ({"enum": [0.1]}, [0.1], [0.10000000000000002, "0.1"]),
        ({"const": True}, [True], [1, 1.0, "true", False]),
        ({"const": 1}, [1, 1.0], [True, "1", 2]),
        ({"const": None}, [None], [0, False, ""]),
        ({"const": "a"}, ["a"], ["A", "a ", None]),
        (
            {"format": "date-time"},
            ["2025-02-24T14:20:07.123456", "2025-02-24 14:20:07+01:00", 5],
            ["", "now", "2025-02-30T00:00:00Z", "2025-02-24"],
        ),
    ],
    ids=str,
)
def test_a_keyword_means_what_json_schema_says(rule: dict[str, Any], keeps: list[Any], breaks: list[Any]) -> None:
    """And it says nothing of values of another type than it is about."""
    assert [value for value in keeps if broken(value, rule)] == []
    assert [value for value in breaks if broken(value, rule) != list(rule)] == []


def test_numbers_compare_as_doubles() -> None:
    """As they do in Lua: beyond 2**53 neighbours are one."""
    assert broken(2**53 + 1, {"maximum": 2**53}) == []
    assert broken(2**53 + 2, {"maximum": 2**53}) == ["maximum"]


def test_where_the_type_fails_nothing_else_of_that_place_is_told() -> None:
    rules = {"": {"type": "object"}, "/f": {"type": "object", "required": ["a"], "minLength": 9}, "/f/a": {}}
    assert [violation.rule for violation in check({"f": "x"}, rules, "strict")] == [{"type": "object"}]
    assert broken("x", {"type": ["number", "null"], "minLength": 9, "enum": [1]}) == ["type"]


def test_one_place_may_break_several_keywords_told_in_one_order() -> None:
    rule = {
        "format": "date-time",
        "const": "b",
        "enum": ["a"],
        "maxLength": 2,
        "minLength": 9,
        "type": "string",
    }
    assert broken("xyz", rule) == ["minLength", "maxLength", "enum", "const", "format"]
    rule = {"exclusiveMaximum": 1, "exclusiveMinimum": 9, "maximum": 2, "minimum": 8}
    assert broken(5, rule) == ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]


RULES: dict[str, dict[str, Any]] = {
    "": {"type": "object", "required": ["z", "name", "a/b"], "additionalProperties": False},
    "/name": {"type": "string"},
    "/a~1b": {"type": "integer"},
    "/z": {},
    "/parts": {"type": "object"},
    "/parts/*": {"type": "object", "required": ["n"], "additionalProperties": False},
    "/parts/*/n": {"type": "integer"},
    "/parts/main": {"type": "string"},
    "/tags": {"type": ["array", "null"]},
    "/tags/-": {"type": "string", "maxLength": 3},
}


def told(state: Any, level: str) -> list[tuple[str, dict[str, Any], Any]]:
    return [(one.pointer, dict(one.rule), one.value) for one in check(state, RULES, level)]


def test_all_violations_are_told_in_the_order_of_the_document() -> None:
    state = {
        "tags": ["ok", "long", 7],
        "x~y": {"deep": 1},
        "parts": {"p": {"n": "1", "o": 2}, "q": {}},
        "a/b": 1.5,
    }
    assert told(state, "strict") == [
        ("/tags/1", {"maxLength": 3}, "long"),
        ("/tags/2", {"type": "string"}, 7),
        ("/x~0y", {"additionalProperties": False}, {"deep": 1}),
        ("/parts/p/n", {"type": "integer"}, "1"),
        ("/parts/p/o", {"additionalProperties": False}, 2),
        ("/parts/q/n", {"required": True}, None),
        ("/a~1b", {"type": "integer"}, 1.5),
        ("/z", {"required": True}, None),
        ("/name", {"required": True}, None),
    ]


def test_standard_asks_for_no_field_and_minds_no_unknown_one() -> None:
    assert told({"unknown": {"n": "x"}, "parts": {"q": {"o": 1}}}, "standard") == []
    assert told({"parts": {"q": {"n": "x"}}}, "standard") == [("/parts/q/n", {"type": "integer"}, "x")]


def test_none_checks_nothing() -> None:
    assert told({"name": 1}, "none") == []
    assert told([], "none") == []


def test_standard_is_the_default() -> None:
    assert check({"name": 1}, RULES) == check({"name": 1}, RULES, "standard") != []


def test_another_level_is_an_error() -> None:
    with pytest.raises(UsageError, match="none, standard, strict"):
        check({}, RULES, "loose")


def test_a_rule_of_a_key_goes_before_the_rule_of_any_key() -> None:
    assert told({"parts": {"main": "x", "other": {"n": 1}}}, "standard") == []
    assert told({"parts": {"main": {"n": 1}}}, "standard") == [("/parts/main", {"type": "string"}, {"n": 1})]


def test_the_keys_star_and_dash_are_keys_like_others_in_a_map() -> None:
    for key in ("*", "-"):
        assert told({"parts": {key: {"n": "x"}}}, "standard") == [(f"/parts/{key}/n", {"type": "integer"}, "x")]


def test_a_state_that_is_no_object_breaks_the_rule_of_the_root() -> None:
    assert told([], "standard") == [("", {"type": "object"}, [])]


def test_what_has_no_rule_is_not_looked_into() -> None:
    assert check({"a": {"b": 1}}, {"": {"type": "object"}, "/a/b": {"type": "string"}}, "strict") == []
    assert check({"a": 1}, {}, "strict") == []


def test_null_where_it_is_allowed_is_not_looked_into() -> None:
    assert told({"tags": None}, "standard") == []
