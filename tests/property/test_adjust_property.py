"""adjust against Python: the same double, in as few digits as repr needs; integers exactly or not at all."""

from __future__ import annotations

import re

from hypothesis import assume
from hypothesis import strategies as st

from tests.lua.support import RawTwin, number
from tests.property.texts import on_servers

finite = st.floats(allow_nan=False, allow_infinity=False)
# Where the spacing of doubles changes, where %g changes its form, and where there are few digits to begin with.
edges = (
    st.integers(-1074, 1023).map(lambda exponent: 2.0**exponent)
    | st.integers(-323, 308).map(lambda exponent: float(f"1e{exponent}"))
    | st.floats(min_value=5e-324, max_value=2.3e-308)
    | st.decimals(min_value=-1000, max_value=1000, places=3).map(float)
)
doubles = finite | edges | edges.map(lambda double: -double)
integers = (
    st.integers(-10, 10)
    | st.integers(-(2**64 - 1) // 2, 2**64 - 1)
    | st.builds(lambda sign, near: sign * (2**53 + near), st.sampled_from([-1, 1]), st.integers(-3, 3))
    | st.integers(-(2**53), 2**53)
)


def significant(text: str) -> str:
    """The digits of a number that count, without sign, point, exponent and zeros at either end."""
    return re.sub(r"[eE].*|[-.]", "", text).strip("0")


def added(twin: RawTwin, old: str, delta: str) -> str:
    twin.set(number(old))
    twin.adjust(x=delta)
    return twin.state.removeprefix('{"x":').removesuffix("}")


def assert_shortest(text: str, double: float) -> None:
    assert float(text) == double
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?(e-?[1-9]\d*)?", text)
    assert re.search("[.e]", text)
    assert significant(text) == significant(repr(double))


@on_servers(300, double=doubles)
def test_a_double_is_written_in_as_few_digits_as_can_be(raw: RawTwin, double: float) -> None:
    """Every double, by adding it to nothing: its digits are those of Python's repr."""
    assert_shortest(added(RawTwin(raw.client), "0.0", repr(double)), double)


@on_servers(200, old=doubles, delta=doubles)
def test_the_sum_of_floats_is_pythons(raw: RawTwin, old: float, delta: float) -> None:
    """To the last bit."""
    assume(abs(old + delta) != float("inf"))
    assert_shortest(added(RawTwin(raw.client), repr(old), repr(delta)), old + delta)


@on_servers(100, old=doubles, delta=st.integers(-(2**63), 2**64 - 1), swap=st.booleans())
def test_a_float_makes_it_float_arithmetic(raw: RawTwin, old: float, delta: int, swap: bool) -> None:
    """An integer beside a float is taken as a double."""
    operands = (str(delta), repr(old)) if swap else (repr(old), str(delta))
    assert_shortest(added(RawTwin(raw.client), *operands), old + float(delta))


@on_servers(300, old=integers, delta=integers)
def test_integers_are_added_exactly_or_refused(raw: RawTwin, old: int, delta: int) -> None:
    """Exactly where both and the sum are within 2^53; else refused, and nothing changed."""
    twin = RawTwin(raw.client)
    if max(abs(old), abs(delta), abs(old + delta)) <= 2**53:
        assert added(twin, str(old), str(delta)) == str(old + delta)
        return
    twin.set(number(str(old)))
    assert twin.error_of(lambda: twin.adjust(x=str(delta))).startswith("CIRCMAN_INVALID")
    assert (twin.state, twin.version) == (number(str(old)), 1)
