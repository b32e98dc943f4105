"""Values into JSON: what is accepted, and how it is written."""

from __future__ import annotations

import subprocess
import sys
from collections import ChainMap, OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from pydantic import RootModel

from circman_redis.codec import decode, encode
from circman_redis.patch import same
from tests.unit.json_values import (
    OBJECTS,
    VALUES,
    Cell,
    Level,
    Mode,
    Odd,
    Old,
    Point,
    Pump,
    Readings,
    Real,
    Slim,
    Text,
    Whole,
)

# --- accepted ---------------------------------------------------------------------------------------------

ACCEPTED = {
    "null": (None, b"null"),
    "booleans": ([True, False], b"[true,false]"),
    "largest integer": (2**64 - 1, b"18446744073709551615"),
    "smallest integer": (-(2**63), b"-9223372036854775808"),
    "float keeps its point": (22.0, b"22.0"),
    "float": (1740407422.123456, b"1740407422.123456"),
    "negative zero": (-0.0, b"-0.0"),
    "text": ("ä/\x7f\u2028\U0001f600", '"ä/\x7f\u2028\U0001f600"'.encode()),
    "empty": ([[], {}, ""], b'[[],{},""]'),
    "tuple": ((1, (2,)), b"[1,[2]]"),
    "named tuple": (Point(1, 2.0), b"[1,2.0]"),
    "str subclass": (Text("x"), b'"x"'),
    "int subclass": (Whole(3), b"3"),
    "float subclass": (Real(3), b"3.0"),
    "key of a str subclass": ({Text("k"): 1}, b'{"k":1}'),
    "key that is a StrEnum": ({Mode.AUTO: 1}, b'{"auto":1}'),
    "key that is a str and an Enum": ({Old.A: 1}, b'{"a":1}'),
    "ordered dict": (OrderedDict(b=1, a=2), b'{"b":1,"a":2}'),
    "mapping": (Readings(b=1, a=Readings()), b'{"b":1,"a":{}}'),
    "chain map": (ChainMap({"a": 1}), b'{"a":1}'),
    "mapping proxy": (MappingProxyType({"a": 1}), b'{"a":1}'),
    "datetime": (datetime(2026, 11, 22, 14, 0, 0, 120), b'"2026-11-22T14:00:00.000120"'),
    "datetime in UTC": (datetime(2026, 11, 22, 14, tzinfo=UTC), b'"2026-11-22T14:00:00Z"'),
    "datetime with a zone": (
        datetime(2026, 11, 22, 14, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
        b'"2026-11-22T14:00:00-05:30"',
    ),
    "datetime with seconds in its zone": (
        datetime(1890, 1, 1, tzinfo=timezone(timedelta(minutes=53, seconds=28))),
        b'"1889-12-31T23:06:32Z"',
    ),
    "date": (date(2026, 11, 22), b'"2026-11-22"'),
    "uuid": (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    "enum": ([Mode.AUTO, Level.HIGH, Odd.PAIR, Odd.DATE], b'["auto",3,[1,"x"],"2026-11-22"]'),
    "decimal": (Decimal("22.10"), b"22.10"),
    "decimal with an exponent": (Decimal("1E+30"), b"1E+30"),
    "decimal with 30 digits": (
        Decimal("3.14159265358979323846264338327"),
        b"3.14159265358979323846264338327",
    ),
    "decimal integer": (Decimal(2**64 - 1), b"18446744073709551615"),
    "decimal zero": ([Decimal("-0"), Decimal("0E-10"), Decimal("1E-999")], b"[-0,0E-10,1E-999]"),
    "dataclass": (Cell("c", parts=[Slim(1)]), b'{"name":"c","_hidden":1.5,"parts":[{"value":1}]}'),
    "pydantic model by alias": (Pump(flow_rate=date(2026, 1, 2)), b'{"flowRate":"2026-01-02"}'),
    "pydantic root model": (RootModel[list[int]]([1, 2]), b"[1,2]"),
    "numpy scalars": (
        [np.float64(0.1), np.float32(0.1), np.int8(-3), np.uint64(2**64 - 1), np.longlong(5), np.bool_(True)],
        b"[0.1,0.1,-3,18446744073709551615,5,true]",
    ),
    "numpy text": (np.str_("x"), b'"x"'),
    "numpy long double": (np.longdouble("0.1"), b"0.1"),
    "numpy date": (np.datetime64("2026-11-22T14:00:00"), b'"2026-11-22T14:00:00"'),
    "numpy array": (np.array([[1.5, 2.0], [3.0, 4.0]]), b"[[1.5,2.0],[3.0,4.0]]"),
    "numpy array, transposed": (np.arange(6).reshape(2, 3).T, b"[[0,3],[1,4],[2,5]]"),
    "numpy array, every second": (np.arange(6)[::2], b"[0,2,4]"),
    "numpy array, big-endian": (np.array([1.5, 2.5], ">f8"), b"[1.5,2.5]"),
    "numpy array, no dimension": (np.array(1.5), b"1.5"),
    "numpy array, empty": ([np.array([]), np.zeros((2, 0))], b"[[],[[],[]]]"),
    "numpy array of float32": (np.array([0.1], "f4"), b"[0.1]"),
    "numpy array of long doubles": (np.array(["0.1"], "g"), b"[0.1]"),
    "numpy array of dates": (np.array(["2026-11-22"], "M8[s]"), b'["2026-11-22T00:00:00"]'),
    "numpy array of texts": (np.array(["a", "b"]), b'["a","b"]'),
    "numpy array of objects": (np.array([1, None, {"a": Decimal("1.0")}], object), b'[1,null,{"a":1.0}]'),
    "masked array without a mask": (np.ma.array([1, 2], mask=[False, False]), b"[1,2]"),
}


@pytest.mark.parametrize(("value", "text"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(value: Any, text: bytes) -> None:
    """Each is written as this JSON, on orjson's way and on the slow one, which a key of an Enum leads to."""
    assert encode(value, root="any") == text
    assert encode({"auto": value}) == b'{"auto":' + text + b"}"
    assert encode({Mode.AUTO: value}) == b'{"auto":' + text + b"}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Cell("c"), b'{"name":"c","_hidden":1.5,"parts":[]}'),
        (Pump(), b'{"flowRate":1.5}'),
        (Readings(a=1), b'{"a":1}'),
        (OrderedDict(), b"{}"),
        (RootModel[dict[str, int]]({"a": 1}), b'{"a":1}'),
    ],
)
def test_top_level_objects(value: Any, text: bytes) -> None:
    """A state may be any of these, not only a dict."""
    assert encode(value) == text


@given(OBJECTS)
@settings(deadline=None)
def test_what_was_written_is_read_back(value: dict[str, Any]) -> None:
    """decode(encode(x)) is x, with 22 and 22.0, true and 1, 0.0 and -0.0 kept apart."""
    assert same(decode(encode(value)), value)


@given(VALUES)
@settings(deadline=None)
def test_both_ways_write_the_same(value: Any) -> None:
    """The slow way, taken where orjson gives up, differs in nothing from the fast one."""
    assert encode({Mode.AUTO: value}) == encode({"auto": value}) == orjson.dumps({"auto": value})


def test_a_shared_value_is_not_a_circle() -> None:
    """The same list in two places is written twice."""
    shared = [None]
    assert encode({"a": shared, "b": [shared, shared]}) == b'{"a":[null],"b":[[null],[null]]}'


def test_plain_python_needs_neither_numpy_nor_pydantic() -> None:
    """They are known where they were imported by somebody, and never imported for a look."""
    code = (
        "import sys; from circman_redis.codec import encode; from decimal import Decimal\n"
        "assert encode({'a': Decimal('1.0')}) == b'{\"a\":1.0}'\n"
        "try: encode({'a': {1}})\nexcept ValueError: pass\nelse: sys.exit('accepted a set')\n"
        "print(*{'numpy', 'pydantic', 'redis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")
