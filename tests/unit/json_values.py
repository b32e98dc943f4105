"""Values that may be JSON: what hypothesis draws, and one class of every kind that a caller may bring."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum, IntEnum, StrEnum
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

NAN, INF = math.nan, math.inf
INTEGERS = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
# Few and awkward, so that two documents often share some.
KEYS = st.text('ab"{~/é', max_size=2)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
# Texts that a float cannot hold, or would write in another way, among others.
NUMBERS = st.tuples(
    st.sampled_from(["", "-"]),
    st.integers(0, 10**18).map(str),
    st.sampled_from(["", ".0", ".10", ".12345678901234567890"]),
    st.sampled_from(["", "e5", "E+05", "e-7"]),
).map("".join)


class Mode(StrEnum):
    AUTO = "auto"


class Old(str, Enum):  # noqa: UP042 - the older way to write it
    A = "a"


class Level(IntEnum):
    HIGH = 3


class Odd(Enum):
    NAN = NAN
    BIG = 2**64
    PAIR = (1, "x")
    DATE = date(2026, 11, 22)
    TEXT = "text"
    SET = frozenset({1})


class Text(str):
    __slots__ = ()


class Tag(str):
    """A string that is equal to none but itself."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class Whole(int):
    pass


class Real(float):
    pass


Point = namedtuple("Point", "x y")


@dataclass
class Cell:
    name: str
    _hidden: float = 1.5
    parts: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Slim:
    value: Any


class Pump(BaseModel):
    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)
    flow_rate: Any = Field(default=1.5, alias="flowRate")


class Node(BaseModel):
    child: Node | None = None


class Readings(Mapping[str, Any]):
    """A mapping that is not a dict."""

    def __init__(self, **items: Any) -> None:
        self.items_ = items

    def __getitem__(self, key: str) -> Any:
        return self.items_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_)

    def __len__(self) -> int:
        return len(self.items_)


class Broken(Readings):
    def __getitem__(self, key: str) -> Any:
        raise KeyError("the sensor is gone")


class NotATime(datetime):
    """As pandas' NaT: a datetime that is none."""

    def isoformat(self, *_: Any, **__: Any) -> str:
        return "NaT"


def nested(levels: int, wrap: Any = lambda inner: {"a": inner}) -> Any:
    value: Any = wrap(1)
    for _ in range(levels - 1):
        value = wrap(value)
    return value
