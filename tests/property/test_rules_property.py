"""The script's check of rules against the plain Python reference in rules_check.py."""

from __future__ import annotations

import json
import re
from typing import Any

from circman_redis import refusals
from circman_redis.errors import StateValidationError, Violation
from circman_redis.patch import join_pointer, merge
from circman_redis.rules_check import check
from tests.lua.support import RawTwin
from tests.property.texts import PLAIN, Decisions, Number, Style, decisions, on_servers

KEYS = ["a", "b", "c", "x/y", "~", "*", "-", '"', "{", "é"]
PLACES = [*KEYS[:6], "*", "*", "-", "-"]
TYPES = ["object", "array", "string", "integer", "number", "boolean", "null"]
LEVELS = ["standard", "strict"]
NUMBERS = ["0", "1", "-1", "2", "2.0", "1.5", "-0.0", "1e300", "1E0", "12345678901234567890", "-9223372036854775808"]
BOUNDS = [0, 1, 2, -1, 1.5, 0.0, 9007199254740991]
STRINGS = [
    *("", "a", "b", "ab", "é", "éé", "😀", "a\n", '"{', "null", "true", "2", "x" * 250),
    *("2026-11-22T14:00:00Z", "2026-11-22 14:00:00.5+01:00", "2026-02-29T00:00:00Z", "2026-11-22t14:00:00z"),
]
CHOICES: list[Any] = [None, True, False, 0, 1, 2, 1.5, "a", "é", '"{', "", "true"]


class Draw(Decisions):
    """Rules and the values that meet them."""

    def rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        kind = self.below(4)
        if kind == 1:
            rule["type"] = sorted({self.pick(TYPES) for _ in range(2 + self.below(2))})
        elif kind:
            rule["type"] = self.pick(TYPES)
        for _ in range(self.below(4)):
            keyword = self.pick(list(self.KEYWORDS))
            rule[keyword] = self.KEYWORDS[keyword](self)
        return rule

    def object_rule(self) -> dict[str, Any]:
        required = [self.pick(KEYS) for _ in range(self.below(3))]
        return {"type": "object", "required": list(dict.fromkeys(required))} | (
            {"additionalProperties": False} if self.below(2) else {}
        )

    KEYWORDS: dict[str, Any] = {  # noqa: RUF012 - a table
        **{
            name: lambda self: self.pick(BOUNDS)
            for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        },
        "minLength": lambda self: self.below(3),
        "maxLength": lambda self: self.below(3),
        "enum": lambda self: [self.pick(CHOICES) for _ in range(1 + self.below(3))],
        "const": lambda self: self.pick(CHOICES),
        "format": lambda self: self.pick(["date-time", "date-time", "email"]),
        "required": lambda self: [self.pick(KEYS)],
        "additionalProperties": lambda self: False,
    }

    def rules(self) -> dict[str, dict[str, Any]]:
        """Rules for the root and for places below places."""
        rules = {"": self.object_rule()}
        for _ in range(2 + self.below(8)):
            token = self.pick(PLACES)
            place = self.pick(list(rules)) + (f"/{token}" if token in "*-" else join_pointer([token]))
            rules[place] = self.object_rule() if self.below(3) == 0 else self.rule()
        return rules

    def key(self) -> str:
        return self.pick(KEYS)

    def leaf(self) -> Any:
        kind = self.below(5)
        if kind <= 1:
            return Number(self.pick(NUMBERS))
        return self.pick(STRINGS) if kind <= 3 else self.pick([None, True, False])

    def member(self, depth: int = 0) -> Any:
        kind = self.below(6)
        if kind == 4 and depth < 3:
            return [self.member(depth + 1) for _ in range(self.below(4))]
        return self.members(depth + 1) if kind == 5 and depth < 4 else self.leaf()

    def members(self, depth: int = 0) -> dict[str, Any]:
        return {self.key(): self.member(depth) for _ in range(self.below(5))}

    def patch(self, state: dict[str, Any]) -> dict[str, Any]:
        """A merge patch for the state: goes down into it, removes, and replaces."""
        patch: dict[str, Any] = {}
        for _ in range(1 + self.below(4)):
            key = self.pick(list(state)) if state and self.below(2) else self.key()
            below = state.get(key)
            if self.below(4) == 0:
                patch[key] = None
            else:
                patch[key] = self.patch(below) if isinstance(below, dict) and self.below(4) else self.member(1)
        return patch


draws = decisions.map(lambda drawn: Draw(bytes(drawn.rest)))


def violations_of(twin: RawTwin, text: str, op: str) -> list[Violation]:
    """What the script refuses a commit for, as Python callers get it; nothing where it commits."""
    return parsed(twin, twin.error_of(lambda: twin.commit(text, op=op)))


def parsed(twin: RawTwin, reply: str) -> list[Violation]:
    error = refusals.error_of(reply, twin.keys)
    assert isinstance(error, StateValidationError if reply else type(None)), reply
    return list(error.violations) if isinstance(error, StateValidationError) else []


def assert_same(found: list[Violation], expected: list[Violation]) -> None:
    """The same violations in the same order; a value of more than 200 bytes is only told by its size."""
    assert [(one.pointer, one.rule) for one in found] == [(one.pointer, one.rule) for one in expected]
    for one, other in zip(found, expected, strict=True):
        size = re.fullmatch(r"\((\d+) bytes\)", one.value) if isinstance(one.value, str) else None
        text = json.dumps(other.value, ensure_ascii=False, separators=(",", ":"))
        if size:
            assert int(size[1]) > 200
            assert len(text.encode()) > 150
        else:
            assert json.dumps(one.value) == json.dumps(other.value)


@on_servers(700, draw=draws)
def test_a_set_breaks_what_the_reference_says(raw: RawTwin, draw: Draw) -> None:
    """The same violations in the same order: pointer, keyword, what the rule asks for, and the value."""
    rules = draw.rules()
    level = draw.pick(LEVELS)
    text = Style(space=draw.pick(["", " "])).write(draw.members())
    twin = RawTwin(raw.client)
    twin.bind(rules, level)
    found = violations_of(twin, text, "set")
    expected = check(json.loads(text), rules, level)
    assert_same(found, expected)
    assert (twin.state_bytes is None) == bool(expected)


def touched(patch: Any, before: Any, pointer: str = "") -> tuple[set[str], set[str]]:
    """The pointers that a patch names, and those below which all is new."""
    named, new = set(), set()
    for key, value in patch.items():
        place = pointer + join_pointer([key])
        named.add(place)
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            more = touched(value, old, place)
            named |= more[0]
            new |= more[1]
        else:
            new.add(place)
    return named, new


@on_servers(700, draw=draws)
def test_a_merge_breaks_what_it_touched_of_the_result(raw: RawTwin, draw: Draw) -> None:
    """Of all that the reference finds in the resulting state: what the patch named, and what it made anew.

    What was bad before, and stays untouched, is not reported.
    """
    rules = draw.rules()
    level = draw.pick(LEVELS)
    before = draw.members()
    patch = draw.patch(before)
    twin = RawTwin(raw.client)
    twin.set(PLAIN.write(before))
    twin.bind(rules, level)
    found = violations_of(twin, PLAIN.write(patch), "merge")
    patch, before = json.loads(PLAIN.write(patch)), json.loads(PLAIN.write(before))
    named, new = touched(patch, before)
    expected = [
        violation
        for violation in check(merge(before, patch), rules, level)
        if violation.pointer in named or any(violation.pointer.startswith(place + "/") for place in new)
    ]
    assert sorted((one.pointer, *one.rule) for one in found) == sorted((one.pointer, *one.rule) for one in expected)


@on_servers(250, draw=draws)
def test_a_first_merge_is_checked_like_a_whole_state(raw: RawTwin, draw: Draw) -> None:
    """There is nothing from before: all of it is new, and what is required has to be there."""
    rules = draw.rules()
    level = draw.pick(LEVELS)
    patch = draw.patch({})
    twin = RawTwin(raw.client)
    twin.bind(rules, level)
    found = violations_of(twin, PLAIN.write(patch), "merge")
    expected = check(merge({}, json.loads(PLAIN.write(patch))), rules, level)
    assert sorted((one.pointer, *one.rule) for one in found) == sorted((one.pointer, *one.rule) for one in expected)


@on_servers(150, draw=draws)
def test_level_none_checks_nothing(raw: RawTwin, draw: Draw) -> None:
    """Whatever the rules are."""
    twin = RawTwin(raw.client)
    twin.bind(draw.rules(), "none")
    assert violations_of(twin, PLAIN.write(draw.members()), "set") == []


@on_servers(250, draw=draws)
def test_publishing_a_model_checks_the_state_like_a_set(raw: RawTwin, draw: Draw) -> None:
    """configure's publish refuses with the violations that a set of the same state would have."""
    rules = draw.rules()
    level = draw.pick(LEVELS)
    state = PLAIN.write(draw.members())
    twin = RawTwin(raw.client)
    twin.set(state)
    model = {"model": "M", "model_hash": "h", "checks": "server", "validation": level}
    expected = check(json.loads(state), rules, level)
    refusal = twin.error_of(lambda: twin.configure("publish", model=model, rules=rules))
    assert_same(parsed(twin, refusal), expected)
    assert twin.client.exists(twin.keys.rules) == (not expected)
