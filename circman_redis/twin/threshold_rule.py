"""Pure: when a value of the state is out of bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from circman_redis.codec import decode, encode
from circman_redis.frozen import freeze
from circman_redis.patch import MISSING, same, split_pointer

Comparison = Literal["greater_than", "less_than", "equal", "not_equal"]
Severity = Literal["info", "warning", "critical"]

LONGEST_DURATION = 1e9
"""Seconds; some 31 years."""

_DIGITS = Context(prec=1000, traps=[])
"""Two doubles, 1.8e308 and 5e-324 at their furthest, are less than 700 decimal digits apart: nothing is rounded."""


def _pointer(text: str) -> str:
    split_pointer(text)
    return text


def _json(value: Any) -> Any:
    """As the state would hold it, and nobody can change it."""
    return freeze(decode(encode(value, what="value", root="any")))


class ThresholdRule(BaseModel):
    """When a value of the state is out of bounds, and how grave that is.

    Attributes:
        name: tells it from the other rules: 1 to 128 of ``A-Z a-z 0-9 _ . : -``.
        pointer: JSON Pointer (RFC 6901) of the value that is watched.
        comparison: how the value has to stand to the limit to breach the rule: ``greater_than`` or ``less_than``
            it, ``equal`` or ``not_equal`` to it.
        value: the limit, in the watched value's unit. A number; for ``equal`` and ``not_equal`` any JSON value.
        severity: ``info``, ``warning`` or ``critical``.
        hysteresis: how far a number has to come back from the limit before the breach is over, in the watched
            value's unit; 0 or more. It is 0 for ``equal`` and ``not_equal``.
        minimum_duration: seconds that a breach has to last before it counts; 0 or more. It is for whoever keeps the
            time: `is_breached` knows none.

    Raises:
        pydantic.ValidationError: (a ValueError) for anything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")
    pointer: Annotated[str, AfterValidator(_pointer)]
    comparison: Comparison
    value: Annotated[Any, AfterValidator(_json)]
    severity: Severity = "warning"
    hysteresis: float = Field(default=0.0, ge=0)
    minimum_duration: float = Field(default=0.0, ge=0, le=LONGEST_DURATION)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self._has_order and not is_number(self.value):
            raise ValueError(f"{self.comparison} needs a number as its value")
        if not self._has_order and self.hysteresis:
            raise ValueError(f"{self.comparison} has no hysteresis: leave it out, or 0")
        return self

    @property
    def _has_order(self) -> bool:
        return self.comparison in {"greater_than", "less_than"}

    def is_breached(self, value: Any, was_breached: bool) -> bool:
        """Whether the rule is breached.

        ``greater_than`` 80 with a hysteresis of 5 is breached above 80, and from then on until the value is 75 or less.
        Numbers are compared as they are written in decimal digits, so that 0.3 less 0.1 is 0.2.

        Args:
            value: what stands at the pointer; `MISSING` where nothing does, which breaches no rule.
            was_breached: whether the rule was breached by the value before this one.
        """
        if value is MISSING:
            return False
        if not self._has_order:
            return alike(value, self.value) is (self.comparison == "equal")
        if not is_number(value):
            return False
        above, below = (value, self.value) if self.comparison == "greater_than" else (self.value, value)
        beyond = _DIGITS.subtract(_exact(above), _exact(below))
        return beyond > (_exact(self.hysteresis).copy_negate() if was_breached else 0)


def is_number(value: object) -> bool:
    """Whether it is a JSON number: true is none, nor is NaN."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, as `patch.same` says; but 22 is 22.0, for it is as much."""
    if is_number(one) and is_number(other):
        return _exact(one) == _exact(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return same(one, other)


def _exact(number: Any) -> Decimal:
    """The number that its digits say: 0.1 is a tenth, and not the double beside it."""
    return Decimal(float.__repr__(number) if isinstance(number, float) else int(number))
