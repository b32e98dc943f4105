"""JSON made out of drawn bytes: odd numbers, names that are easily mixed up, every way to write a string.

A strategy per value would be slow; so hypothesis draws one string of bytes, and each decision takes one of them.
Where they run out, the first choice is taken, which is the simplest: so what fails still shrinks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

T = TypeVar("T")
Test = TypeVar("Test", bound=Callable[..., None])

ODD_NUMBERS = [
    *("0", "1", "-0", "-0.0", "1.50", "1E5", "1e+05", "22.0", "0.1", "-1", "7", "1e-7", "0e0", "1740407422.123456"),
    *("12345678901234567890", "18446744073709551615", "-9223372036854775808", "9007199254740993", "5e-324", "1e308"),
    *("10", "100000", "99999999999999999", "999999999999999999", "-0.50", "0.000000000000000000001", "1.0E-10"),
]
# Few and awkward, so that the same names come at several depths, and in the document and in the patch.
NAMES = [
    *("a", "b", "aa", "", ",", ":", ",:", ':"', ":a", "a,", '"', "\\", "{", "}", "[", "]", "{}", "}{", "\\u0061"),
    *("~", "/", "~1", "*", "-", "0", "é", "😀", "\n", "\0", "\x7f", "null", "true", "timestamp", "keys", "%a", "a b"),
]
ALPHABET = 'ab"\\{}[],:~/*-%01. \n\r\t\b\f\0\x1f\x7f\x80éß\u2028\ud7ff\ue000\uffff😀\U0010ffff'


def on_servers(examples: int, **strategies: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """A property that is tried on a server: this many examples, each on a twin of its own that the test makes."""
    quiet = settings(max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
    return lambda test: quiet(given(**strategies)(test))


class Number(str):
    """A number by its digits."""

    __slots__ = ()


class Decisions:
    """The drawn bytes, one decision after another."""

    def __init__(self, drawn: bytes) -> None:
        self.rest = iter(drawn)

    def below(self, n: int) -> int:
        return next(self.rest, 0) % n

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def digits(self, most: int) -> str:
        return "".join(str(self.below(10)) for _ in range(1 + self.below(most)))

    def text(self, most: int) -> str:
        return "".join(self.pick(ALPHABET) for _ in range(self.below(most + 1)))

    def name(self) -> str:
        return self.pick(NAMES) if self.below(4) else self.text(3)

    def string(self) -> str:
        kind = self.below(3)
        return self.pick(NAMES) if kind == 0 else f'"{self.name()}":' if kind == 1 else self.text(8)

    def number(self) -> Number:
        if self.below(3):
            return Number(self.pick(ODD_NUMBERS))
        whole = self.digits(17).lstrip("0") or "0"
        fraction = "." + self.digits(20) if self.below(2) else ""
        exponent = self.pick(["e", "E"]) + self.pick(["", "+", "-"]) + self.digits(2) if self.below(3) == 0 else ""
        return Number(self.pick(["", "-"]) + whole + fraction + exponent)

    def value(self, depth: int = 0) -> Any:
        kind = self.below(10)
        if kind >= 8 and depth < 4:
            return [self.value(depth + 1) for _ in range(self.below(4))]
        if kind >= 5 and depth < 5:
            return self.object(depth + 1)
        return [self.number, self.string, lambda: None, lambda: True, lambda: False][kind % 5]()

    def object(self, depth: int = 0) -> dict[str, Any]:
        return {self.name(): self.value(depth) for _ in range(self.below(6))}

    def patch_of(self, document: dict[str, Any]) -> dict[str, Any]:
        """A patch that names members of the document at every depth, in another order, and others."""
        patch: dict[str, Any] = {}
        known = list(document)
        for _ in range(self.below(4)):
            name = self.pick(known) if known and self.below(3) else self.name()
            below = document.get(name)
            if isinstance(below, dict) and self.below(3):
                patch[name] = self.patch_of(below)
            else:
                patch[name] = None if self.below(3) == 0 else self.value(1)
        return patch

    def write(self, value: Any) -> str:
        """The value as text, in one of the ways to write it."""
        style = Style(bool(self.below(2)), self.pick(["", "", " ", "\n\t", "\r\n "]), not self.below(3))
        return style.write(value)


decisions = st.binary(min_size=20, max_size=250).map(Decisions)


@dataclass(frozen=True)
class Style:
    """How a text is written; the stored form of all of them is the same."""

    ascii_only: bool = False
    space: str = ""
    escape_all: bool = False

    def write(self, value: Any) -> str:
        space = self.space
        if isinstance(value, Number):
            return str(value)
        if isinstance(value, dict):
            members = (f"{space}{self.string(name)}{space}:{space}{self.write(one)}" for name, one in value.items())
            return "{" + f"{space},".join(members) + space + "}"
        if isinstance(value, list):
            return "[" + f"{space},".join(space + self.write(item) for item in value) + space + "]"
        return self.string(value) if isinstance(value, str) else json.dumps(value)

    def string(self, text: str) -> str:
        if self.escape_all:
            units = text.encode("utf-16-be").hex()
            return '"' + "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)) + '"'
        return json.dumps(text, ensure_ascii=self.ascii_only)


PLAIN = Style()
