"""The rules as a commit meets them: what is checked, at which level, and what a violation tells."""

from __future__ import annotations

import json

import pytest

from tests.lua.support import RawTwin

CELL = {
    "": {"type": "object", "additionalProperties": False, "required": ["name"]},
    "/name": {"type": "string", "minLength": 1},
    "/cells": {"type": "object"},
    "/cells/*": {"type": "object", "additionalProperties": False, "required": ["t", "u"]},
    "/cells/*/t": {"type": "number", "minimum": 0},
    "/cells/*/u": {"type": "string"},
    "/log": {"type": "array"},
    "/log/-": {"type": "object", "required": ["at"], "additionalProperties": False},
    "/log/-/at": {"type": "string", "format": "date-time"},
}


def violations(twin: RawTwin, body: str, op: str = "merge") -> list[tuple[str, str]]:
    with twin.refused("INVALID") as refusal:
        twin.commit(body, op=op)
    return refusal.violations


def test_all_violations_are_told_together(raw: RawTwin) -> None:
    """In the order of the document; what is missing comes after what is there."""
    raw.bind(CELL, "strict")
    state = '{"name":"","cells":{"a":{"t":-1,"x":0},"b":5},"log":[{"at":"now"},{}],"more":1}'
    assert violations(raw, state, "set") == [
        ("/name", "minLength"),
        ("/cells/a/t", "minimum"),
        ("/cells/a/x", "additionalProperties"),
        ("/cells/a/u", "required"),
        ("/cells/b", "type"),
        ("/log/0/at", "format"),
        ("/log/1/at", "required"),
        ("/more", "additionalProperties"),
    ]


def test_a_violation_tells_rule_and_value(raw: RawTwin) -> None:
    """The whole rule of the place as it was published, and the value as it was written."""
    raw.bind(CELL)
    with raw.refused("INVALID") as refusal:
        raw.set('{"cells":{"a":{"t":-1.50}}}')
    assert refusal.details["violations"] == [
        {"pointer": "/cells/a/t", "keyword": "minimum", "rule": CELL["/cells/*/t"], "value": -1.5}
    ]


def test_a_long_value_is_told_by_its_size(raw: RawTwin) -> None:
    """200 bytes are shown, one more are not."""
    raw.bind({"": {"type": "object"}, "/a": {"type": "integer"}})
    for length, shown in ((198, "x" * 198), (199, "(201 bytes)")):
        with raw.refused("INVALID") as refusal:
            raw.set('{"a":"' + "x" * length + '"}')
        assert refusal.details["violations"][0]["value"] == shown


def test_standard_does_not_mind_what_is_missing_or_unknown(raw: RawTwin) -> None:
    """It checks what is there and has a rule."""
    raw.bind(CELL)
    raw.set('{"cells":{"a":{"t":1,"x":0}},"more":{"t":-1}}')
    assert violations(raw, '{"cells":{"a":{"t":-1}}}') == [("/cells/a/t", "minimum")]


def test_a_merge_answers_for_what_it_touches_only(raw: RawTwin) -> None:
    """What was bad before the rules came, and is not named, is let be."""
    raw.set('{"cells":{"old":{"t":-5,"x":1},"bad":7},"more":1}')
    raw.bind(CELL, "strict")
    raw.merge('{"cells":{"new":{"t":1,"u":"C"}}}')
    raw.merge('{"cells":{"old":{"t":2}}}')
    raw.merge('{"cells":{"old":{"x":null}}}')
    assert violations(raw, '{"cells":{"old":{"t":-2}}}') == [("/cells/old/t", "minimum")]
    assert violations(raw, '{"cells":{"bad":8}}') == [("/cells/bad", "type")]
    assert violations(raw, '{"more":2}') == [("/more", "additionalProperties")]


def test_strict_wants_a_new_object_whole(raw: RawTwin) -> None:
    """A new member of a map has to have what is required; one that was there may be merged in part."""
    raw.bind(CELL, "strict")
    raw.set('{"name":"n","cells":{"a":{"t":1,"u":"C"}}}')
    raw.merge('{"cells":{"a":{"t":2}}}')
    assert violations(raw, '{"cells":{"b":{"t":2}}}') == [("/cells/b/u", "required")]
    assert violations(raw, '{"cells":{"b":{"t":2,"u":null}}}') == [("/cells/b/u", "required")]


def test_strict_lets_nobody_remove_what_is_required(raw: RawTwin) -> None:
    """At any depth; standard does."""
    raw.bind(CELL, "strict")
    raw.set('{"name":"n","cells":{"a":{"t":1,"u":"C"}}}')
    assert violations(raw, '{"name":null,"cells":{"a":{"u":null}}}') == [
        ("/cells/a/u", "required"),
        ("/name", "required"),
    ]
    raw.merge('{"cells":{"a":null}}')
    raw.meta(validation="standard")
    raw.merge('{"name":null}')


def test_null_in_a_whole_state_is_a_value(raw: RawTwin) -> None:
    """It is there, so nothing is missing; whether it may be null is the rule's to say."""
    raw.bind({"": {"type": "object", "required": ["a", "b"]}, "/a": {"type": ["string", "null"]}}, "strict")
    raw.set('{"a":null,"b":null}')
    raw.bind({"": {"type": "object", "required": ["a"]}, "/a": {"type": "string"}}, "strict")
    assert violations(raw, '{"a":null}', "set") == [("/a", "type")]
    assert violations(raw, '{"a":null}') == [("/a", "required")]


def test_a_name_comes_before_a_star(raw: RawTwin) -> None:
    """The rule of '*' holds for the others only; a key '*' or '-' is a key like others."""
    raw.bind({"": {"type": "object"}, "/a": {"type": "string"}, "/*": {"type": "integer"}, "/-": {"type": "null"}})
    raw.set('{"a":"x","b":1,"*":2,"-":null}')
    assert violations(raw, '{"a":1,"b":"x","*":"x","-":1}') == [
        ("/a", "type"),
        ("/b", "type"),
        ("/*", "type"),
        ("/-", "type"),
    ]


def test_arrays_are_checked_as_a_whole(raw: RawTwin) -> None:
    """A patch replaces an array, so every item of it is new; items of arrays of arrays too."""
    raw.bind({"": {"type": "object"}, "/m/-": {"type": "array"}, "/m": {}, "/m/-/-": {"maximum": 5}})
    assert violations(raw, '{"m":[[1,9],[],["x",6],7,[[9]]]}') == [
        ("/m/0/1", "maximum"),
        ("/m/2/1", "maximum"),
        ("/m/3", "type"),
    ]


def test_pointers_are_those_of_rfc_6901(raw: RawTwin) -> None:
    """Slashes and tildes escaped, all else as it is."""
    names = ["x/y", "~", "~1", '"', "\\", "{", "é😀", "\n", "", " "]
    raw.bind({"": {"type": "object"}, "/o": {"type": "object"}, "/o/*": {"type": "integer"}})
    state = json.dumps({"o": dict.fromkeys(names, "x")})
    wanted = [("/o/" + name.replace("~", "~0").replace("/", "~1"), "type") for name in names]
    assert violations(raw, state, "set") == wanted
    assert violations(raw, state) == wanted


@pytest.mark.parametrize("text", ["é" * 3, "😀" * 3, "a\u0301b", '\\"\\n\\\\', "\\u0000\\u007b}"])
def test_lengths_are_in_code_points(raw: RawTwin, text: str) -> None:
    """Not in bytes, and an escape is one character."""
    raw.bind({"": {"type": "object"}, "/a": {"minLength": 3, "maxLength": 3}})
    raw.set(f'{{"a":"{text}"}}')
    raw.bind({"": {"type": "object"}, "/a": {"minLength": 4, "maxLength": 2}})
    assert violations(raw, f'{{"a":"{text}"}}') == [("/a", "minLength"), ("/a", "maxLength")]


def test_rules_bind_every_operation(raw: RawTwin) -> None:
    """Set, import, merge and adjust alike; and a first merge is a whole state."""
    raw.bind({"": {"type": "object", "required": ["b"]}, "/a": {"maximum": 1}}, "strict")
    for op in ("set", "import", "merge"):
        assert violations(raw, '{"a":2}', op) == [("/a", "maximum"), ("/b", "required")]
    raw.set('{"a":1,"b":0}')
    assert violations(raw, '{"/a":1}', "adjust") == [("/a", "maximum")]
