"""What the rules mean: the reference, in Python, of the check that the commit script makes of a whole state.

Rules map a place to the JSON Schema keywords that hold there. A place is a JSON Pointer (RFC 6901) in which
``*`` is any key and ``-`` any array item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from circman_redis.errors import UsageError, Violation
from circman_redis.models import LEVELS
from circman_redis.patch import join_pointer
from circman_redis.timestamps import parse_timestamp

Rule = Mapping[str, Any]
Rules = Mapping[str, Rule]

ANY_KEY: Final = "/*"
ANY_ITEM: Final = "/-"


def check(state: Any, rules: Rules, level: str = "standard") -> list[Violation]:
    """Check a whole state against rules.

    Each keyword means what JSON Schema 2020-12 (core section 10, validation section 6) says it means, with
    numbers compared as IEEE doubles and ``format: date-time`` as in ``timestamps``. A member's rule is that
    of ``<place>/<key>`` where there is one, else that of ``<place>/*``. What has no rule is not looked into,
    nor is what has another type than its rule asks for.

    Args:
        state: JSON values: dict, list, str, int, float, bool, None.
        rules: place -> rule, such as ``compile_model`` makes.
        level: ``none`` checks nothing; ``standard`` all but ``required`` and ``additionalProperties``;
            ``strict`` all.

    Returns:
        Every violation, in the order of the document; at one place ``type`` comes alone, the others in the
        order of ``RULE_KEYWORDS``. Missing members follow those that are there.

    Raises:
        UsageError: for another level.
    """
    if level not in LEVELS:
        raise UsageError(f"level {level!r}: use one of {', '.join(LEVELS)}")
    if level == "none":
        return []
    return list(_Walk(rules, level == "strict").place("", "", state))


class _Walk:
    """One walk through a state; ``place`` is where its rule stands, ``pointer`` where the value does."""

    def __init__(self, rules: Rules, strict: bool) -> None:
        self.rules = rules
        self.strict = strict

    def place(self, place: str, pointer: str, value: Any) -> Iterator[Violation]:
        rule = self.rules.get(place)
        if rule is None:
            return
        if not _has_type(value, rule.get("type", ())):
            yield Violation(pointer, {"type": rule["type"]}, value)
            return
        for keyword, holds in _CHECKS.items():
            if keyword in rule and not holds(value, rule[keyword]):
                yield Violation(pointer, {keyword: rule[keyword]}, value)
        if isinstance(value, dict):
            yield from self.members(place, pointer, value, rule)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.place(place + ANY_ITEM, f"{pointer}/{index}", item)

    def members(self, place: str, pointer: str, members: dict[str, Any], rule: Rule) -> Iterator[Violation]:
        closed = self.strict and rule.get("additionalProperties") is False
        for key, member in members.items():
            step = join_pointer([key])
            own = place + step if place + step in self.rules else place + ANY_KEY
            if closed and own not in self.rules:
                yield Violation(pointer + step, {"additionalProperties": False}, member)
            else:
                yield from self.place(own, pointer + step, member)
        if self.strict:
            missing = (key for key in rule.get("required", ()) if key not in members)
            yield from (Violation(pointer + join_pointer([key]), {"required": True}) for key in missing)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    """22.0 is an integer: JSON has one kind of number (JSON Schema core, section 4.2.3)."""
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_integer,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _has_type(value: Any, wanted: str | list[str] | tuple[()]) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    return not names or any(_TYPES[name](value) for name in names)


def _double(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # what no double reaches is beyond every bound
        return float("inf") if number > 0 else float("-inf")


def _same(value: Any, wanted: Any) -> bool:
    """Equal as JSON scalars: 1 and 1.0 are, 1 and true are not."""
    if _is_number(value) and _is_number(wanted):
        return _double(value) == _double(wanted)
    return type(value) is type(wanted) and bool(value == wanted)


def _is_timestamp(text: str) -> bool:
    try:
        parse_timestamp(text)
    except ValueError:
        return False
    return True


def _bound(holds: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: not _is_number(value) or holds(_double(value), _double(bound))


def _length(holds: Callable[[int, int], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: not isinstance(value, str) or holds(len(value), bound)


# Keyword -> whether a value keeps to it; in the order in which violations at one place are told.
_CHECKS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "minimum": _bound(lambda value, bound: value >= bound),
    "maximum": _bound(lambda value, bound: value <= bound),
    "exclusiveMinimum": _bound(lambda value, bound: value > bound),
    "exclusiveMaximum": _bound(lambda value, bound: value < bound),
    "minLength": _length(lambda length, bound: length >= bound),
    "maxLength": _length(lambda length, bound: length <= bound),
    "enum": lambda value, wanted: any(_same(value, one) for one in wanted),
    "const": _same,
    "format": lambda value, wanted: wanted != "date-time" or not isinstance(value, str) or _is_timestamp(value),
}

TYPE_NAMES: Final = tuple(_TYPES)
RULE_KEYWORDS: Final = ("type", *_CHECKS, "required", "additionalProperties")
"""Every keyword that a rule may have."""
