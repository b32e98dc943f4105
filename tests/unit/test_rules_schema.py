"""JSON Schemas as other hands write them: what is not pydantic's way is either exact or left to Python."""

from __future__ import annotations

from typing import Any

import pytest

from circman_redis.rules_schema import schema_rules

INT = {"type": "integer"}


def at_f(schema: Any, **definitions: Any) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """The rules below ``f``, and what is left to Python there."""
    whole = {"type": "object", "properties": {"f": schema}, "$defs": definitions}
    rules, unsaid = schema_rules(whole)
    assert rules.pop("") == {"type": "object", "additionalProperties": False}
    return (
        {place.removeprefix("/f"): rule for place, rule in rules.items()},
        {what.removeprefix("/f: ") for what in unsaid},
    )


@pytest.mark.parametrize(
    ("schema", "rules"),
    [
        (True, {"": {}}),
        ({}, {"": {}}),
        ({"type": ["string", "null"], "minLength": 1}, {"": {"type": ["string", "null"], "minLength": 1}}),
        ({"type": ["string"]}, {"": {"type": "string"}}),
        ({"minimum": 0}, {"": {"minimum": 0}}),
        ({"allOf": [{"$ref": "#/$defs/Int"}], "maximum": 9}, {"": {**INT, "maximum": 9}}),
        ({"$ref": "#/$defs/Int", "maximum": 9, "title": "words"}, {"": {**INT, "maximum": 9}}),
        ({"anyOf": [INT, INT]}, {"": INT}),
        ({"anyOf": [{"const": 1}, {"const": True}]}, {"": {"enum": [1, True]}}),
        ({"type": "object", "additionalProperties": INT}, {"": {"type": "object"}, "/*": INT}),
        ({"type": "object", "additionalProperties": {}}, {"": {"type": "object"}}),
        ({"type": "array", "items": True}, {"": {"type": "array"}, "/-": {}}),
        ({**INT, "x-unit": "C", "ge": 3, "$comment": "words", "discriminator": {}}, {"": INT}),
    ],
    ids=str,
)
def test_rules_say_it_all(schema: Any, rules: dict[str, dict[str, Any]]) -> None:
    assert at_f(schema, Int=INT) == (rules, set())


@pytest.mark.parametrize(
    ("schema", "rules", "left"),
    [
        (False, {"": {}}, {"false"}),
        ({"type": "array", "items": False}, {"": {"type": "array"}, "/-": {}}, {"/f/-: false"}),
        ({"$ref": "elsewhere.json"}, {"": {}}, {"$ref 'elsewhere.json'"}),
        ({"$ref": "#/$defs/Int", "type": "number"}, {"": INT}, {"type"}),
        ({"allOf": [INT, {"minimum": 0}], "maximum": 9}, {"": {"maximum": 9}}, {"allOf"}),
        ({"anyOf": [INT, {"type": "string"}], "minimum": 3}, {"": {"type": ["string", "integer"]}}, {"minimum"}),
        ({"oneOf": [INT, {"type": "string", "minLength": 1}]}, {"": {"type": ["string", "integer"]}}, {"oneOf"}),
        ({"anyOf": [{"minimum": 3}, {"type": "string"}]}, {"": {}}, {"anyOf"}),
        (
            {"anyOf": [{"type": ["integer", "null"], "minimum": 3}, {"type": "string"}]},
            {"": {"type": ["string", "integer", "null"]}},
            {"anyOf"},
        ),
        ({"not": INT}, {"": {}}, {"not"}),
        ({"enum": [[1], "a"]}, {"": {}}, {"enum"}),
        ({"const": {"a": 1}}, {"": {}}, {"const {'a': 1}"}),
        ({**INT, "minimum": 1e300}, {"": INT}, {"minimum 1e+300"}),
        ({"items": INT}, {"": {}}, {"items"}),
        (
            {"type": ["array", "object"], "items": INT, "properties": {"a": INT}},
            {"": {"type": ["object", "array"], "additionalProperties": False}, "/a": INT},
            {"items"},
        ),
        ({"type": "array", "prefixItems": [INT], "items": INT}, {"": {"type": "array"}}, {"prefixItems"}),
        (
            {"type": "object", "properties": {"a": INT}, "patternProperties": {"^x": INT}},
            {"": {"type": "object"}, "/a": INT},
            {"patternProperties"},
        ),
    ],
    ids=str,
)
def test_what_rules_cannot_say_is_named(schema: Any, rules: dict[str, dict[str, Any]], left: set[str]) -> None:
    """And nothing that the schema lets in is refused."""
    assert at_f(schema, Int=INT) == (rules, left)


def test_a_reference_beside_itself_is_no_recursion() -> None:
    rules, left = at_f(
        {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Int"}, {"$ref": "#/$defs/Int"}]}}, Int=INT
    )
    assert (rules["/-"], left) == (INT, set())


def test_recursion_through_another_model_is_found() -> None:
    one = {"type": "object", "properties": {"other": {"$ref": "#/$defs/Other"}}}
    other = {"type": "object", "properties": {"one": {"$ref": "#/$defs/One"}}}
    rules, left = at_f({"$ref": "#/$defs/One"}, One=one, Other=other)
    assert list(rules) == ["", "/other", "/other/one"]
    assert rules["/other/one"] == {"type": "object"}
    assert left == {"/f/other/one: recursive 'One'"}


def test_recursion_is_found_at_the_first_return_in_whatever_branch_of_a_union_it_starts() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    rules, left = at_f({"anyOf": [{"type": "array"}, {"$ref": "#/$defs/Node"}]}, Node=node)
    assert list(rules) == ["", "/next"]
    assert left == {"/f/next: recursive 'Node'"}
