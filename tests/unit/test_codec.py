"""Values into JSON and back: what is accepted, what is refused and where, and which digits are kept."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import ChainMap, OrderedDict, namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel

from circman_redis.codec import JSONText, check_text, compact, decode, encode, pretty, tokens
from circman_redis.errors import InvalidJSON, StateTooLarge
from circman_redis.patch import same

NAN, INF = math.nan, math.inf
INTEGERS = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=6)


class Mode(StrEnum):
    AUTO = "auto"


class Old(str, Enum):  # noqa: UP042 - the older way to write it, which hashes differently
    A = "a"


class Level(IntEnum):
    HIGH = 3


class Odd(Enum):
    NAN = NAN
    BIG = 2**64
    PAIR = (1, "x")
    DATE = date(2026, 11, 22)
    SET = frozenset({1})


class Text(str):
    __slots__ = ()


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


def refused(value: Any) -> InvalidJSON:
    with pytest.raises(InvalidJSON) as caught:
        encode(value)
    return caught.value


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
        "sys.exit(', '.join({'numpy', 'pydantic', 'redis'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""
    )


# --- refused ----------------------------------------------------------------------------------------------

NOT_FINITE = {
    "NaN": ({"a": {"b": NAN}}, "/a/b"),
    "Infinity": ({"a": [1, -INF]}, "/a/1"),
    "beside a null": ({"a": None, "b": (1, [INF])}, "/b/1/0"),
    "behind a name that wants escapes": ({"a/b~c": NAN}, "/a~1b~0c"),
    "float subclass": ({"a": Real("nan")}, "/a"),
    "numpy float64": ({"a": np.float64("nan")}, "/a"),
    "numpy float32": ({"a": np.float32("inf")}, "/a"),
    "numpy long double": ({"a": np.longdouble("nan")}, "/a"),
    "numpy array": ({"a": np.array([0.0, 1.0, NAN])}, "/a/2"),
    "numpy array of two dimensions": ({"a": np.array([[0.0, 1.0], [INF, 1.0]], "f4")}, "/a/1/0"),
    "numpy NaT": ({"a": np.datetime64("NaT")}, "/a"),
    "numpy array with NaT": ({"a": np.array(["2026", "NaT"], "M8[s]")}, "/a/1"),
    "dataclass": (Cell("c", NAN), "/_hidden"),
    "enum": ({"a": [Odd.NAN]}, "/a/0"),
    "pydantic model": ({"a": Pump(flow_rate=NAN)}, "/a/flowRate"),
    "mapping": (Readings(a=NAN), "/a"),
    "named tuple": ({"a": Point(1, NAN)}, "/a/1"),
    "decimal": ({"a": [Decimal("NaN")]}, "/a/0"),
    "signalling decimal": ({"a": Decimal("sNaN")}, "/a"),
    "infinite decimal": ({"a": Decimal("-Infinity")}, "/a"),
}


@pytest.mark.parametrize(("value", "pointer"), NOT_FINITE.values(), ids=NOT_FINITE)
def test_nan_and_infinity_are_refused_with_their_path(value: Any, pointer: str) -> None:
    """Wherever it hides: orjson would write null, which a merge reads as 'delete'."""
    error = refused(value)
    assert error.details == {"pointer": pointer, "reason": "NaN and Infinity are not JSON"}
    assert f"state at {pointer}: NaN and Infinity are not JSON" in str(error)


TOO_BIG = {
    "above": ({"a": [2**64]}, "/a/0", "int of 65 bits"),
    "below": ({"a": -(2**63) - 1}, "/a", "int of 64 bits"),
    "a million digits": ({"a": 10**1_000_000}, "/a", "int of"),
    "enum": ({"a": Odd.BIG}, "/a", "int of 65 bits"),
    "decimal": ({"a": Decimal(2**64)}, "/a", "decimal.Decimal"),
    "negative decimal": ({"a": Decimal(-(2**63) - 1)}, "/a", "decimal.Decimal"),
    "array of objects": ({"a": np.array([1, 2**70], object)}, "/a/1", "int of 71 bits"),
}


@pytest.mark.parametrize(("value", "pointer", "found"), TOO_BIG.values(), ids=TOO_BIG)
def test_integers_beyond_64_bits_are_refused_with_their_path(value: Any, pointer: str, found: str) -> None:
    error = refused(value)
    assert error.details == {"pointer": pointer, "reason": "an integer beyond 64 bits"}
    assert found in str(error)


def test_a_decimal_beyond_every_double_is_refused() -> None:
    """1E+400 is a JSON number, but Infinity to whoever reads it."""
    assert refused({"a": Decimal("1E+400")}).details == {
        "pointer": "/a",
        "reason": "a number that is not finite",
    }
    assert refused({"a": Decimal("1E+999999999")}).details["pointer"] == "/a"


NO_FORM = {
    "bytes": (b"x", "bytes"),
    "bytearray": (bytearray(b"x"), "bytearray"),
    "memoryview": (memoryview(b"x"), "memoryview"),
    "set": ({1}, "set"),
    "enum of a frozenset": (Odd.SET, "frozenset"),
    "complex": (1j, "complex"),
    "object": (object(), "object"),
    "function": (len, "builtin_function_or_method"),
    "class": (Cell, "type"),
    "model class": (Pump, "ModelMetaclass"),
    "module": (json, "module"),
    "generator": ((i for i in ()), "generator"),
    "range": (range(3), "range"),
    "dict view": ({}.keys(), "dict_keys"),
    "time": (time(1, 2), "datetime.time"),
    "timedelta": (timedelta(1), "datetime.timedelta"),
    "not a time": (NotATime(2026, 1, 1), "NotATime"),
    "numpy bytes": (np.bytes_(b"x"), "numpy.bytes_"),
    "numpy complex": (np.complex128(1j), "numpy.complex128"),
    "numpy timedelta": (np.timedelta64(1, "s"), "numpy.timedelta64"),
    "numpy date beyond the years": (np.datetime64(2**62, "Y"), "numpy.datetime64"),
    "numpy record": (np.array([(1, 2)], [("a", "i4"), ("b", "i4")])[0], "numpy.void"),
    "masked array": (np.ma.array([1, 2], mask=[0, 1]), "MaskedArray"),
}


@pytest.mark.parametrize(("value", "kind"), NO_FORM.values(), ids=NO_FORM)
def test_any_other_type_is_refused_with_its_path_and_type(value: Any, kind: str) -> None:
    """Nothing is turned into text on a guess."""
    error = refused({"a": [None, {"b~/c": value}]})
    assert error.details["pointer"] == "/a/1/b~0~1c"
    assert kind in str(error)


@pytest.mark.parametrize(
    "value",
    [np.array([1j]), np.array([1], "m8[ns]"), np.array([(1,)], [("a", "i4")]), np.array([b"x"])],
    ids=["complex", "timedelta", "record", "bytes"],
)
def test_what_an_array_holds_is_refused_as_it_is_alone(value: Any) -> None:
    assert refused({"a": value}).details["pointer"] == "/a/0"


@pytest.mark.parametrize("key", [1, None, True, 1.5, (1,), b"a", Level.HIGH, Odd.PAIR, date(2026, 1, 1)])
def test_keys_that_are_not_strings_are_refused_with_their_path(key: Any) -> None:
    """JSON has no others, and 1 and "1" would become one."""
    error = refused({"a": {"b": {key: 1}}})
    assert error.details == {"pointer": "/a/b", "reason": "a key that is not a string"}
    assert repr(key) in str(error)
    assert type(key).__name__ in str(error)


def test_an_enum_and_a_string_that_make_the_same_key_are_refused() -> None:
    """Two members of a dict to Python, a duplicate key in JSON."""
    value = {Old.A: 1, "a": 2}
    assert len(value) == 2
    assert refused({"x": value}).details == {"pointer": "/x", "reason": "a duplicate key"}


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": ["ok", "x\ud800y"]}, "/a/1"),
        ({"a": {"x\udfff": 1}}, "/a"),
        ({"a": Text("\ud800")}, "/a"),
        ({"a": np.str_("\ud800")}, "/a"),
    ],
)
def test_lone_surrogates_are_refused_with_their_path(value: Any, pointer: str) -> None:
    """In values and in keys; the message can be printed."""
    error = refused(value)
    assert error.details == {"pointer": pointer, "reason": "a lone surrogate in a string"}
    assert str(error).encode()


WRAPPERS = {
    "dict": (lambda inner: {"a": inner}, "a"),
    "list": (lambda inner: [inner], "0"),
    "tuple": (lambda inner: (inner,), "0"),
    "mapping": (lambda inner: Readings(a=inner), "a"),
    "dataclass": (Slim, "value"),
    "model": (lambda inner: Pump(flow_rate=inner), "flowRate"),
    "array": (lambda inner: np.array([inner, None], object)[:1], "0"),
}


@pytest.mark.parametrize(("wrap", "token"), WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("levels", [65, 200, 400])
def test_more_than_64_levels_are_refused_with_their_path(wrap: Any, token: str, levels: int) -> None:
    """64 are accepted, of every kind; {} is one."""
    assert encode(nested(64, wrap), root="any")
    with pytest.raises(InvalidJSON, match="deeper than 64 levels") as caught:
        encode(nested(levels, wrap), root="any")
    assert caught.value.details == {"pointer": f"/{token}" * 64, "reason": "deeper than 64 levels"}


def test_depth_is_not_counted_in_brackets() -> None:
    """Wide is not deep, and brackets in strings are no levels."""
    assert decode(encode({"wide": [[1, {}]] * 200, "text": "[{" * 200}))["wide"][199] == [1, {}]


def test_the_dimensions_of_an_array_are_levels() -> None:
    deep = np.zeros((1,) * 60)
    assert encode(nested(4, lambda inner: {"a": deep if inner == 1 else inner}))
    assert refused(nested(5, lambda inner: {"a": deep if inner == 1 else inner})).details["pointer"] == (
        "/a" * 5 + "/0" * 59
    )


def circles() -> Iterator[tuple[Any, str]]:
    to_itself: dict[str, Any] = {"a": {}}
    to_itself["a"]["b"] = to_itself
    yield to_itself, "/a/b"
    listed: list[Any] = [1]
    listed.append((listed,))
    yield {"x": listed}, "/x/1/0"
    cell = Cell("c")
    cell.parts.append(cell)
    yield {"cell": cell}, "/cell/parts/0"
    mapping = Readings()
    mapping.items_["me"] = mapping
    yield mapping, "/me"


@pytest.mark.parametrize(("value", "pointer"), list(circles()), ids=["dict", "list", "dataclass", "mapping"])
def test_circular_references_are_refused_with_their_path(value: Any, pointer: str) -> None:
    assert refused(value).details == {"pointer": pointer, "reason": "a circular reference"}


def test_a_circular_model_is_refused() -> None:
    """Pydantic finds it by itself; its words are passed on."""
    pump = Pump()
    pump.flow_rate = [pump]
    error = refused({"a": pump})
    assert error.details["pointer"] == "/a"
    assert "Circular reference" in str(error)


def test_a_value_that_fails_while_it_is_read_is_named() -> None:
    """The error of the value's own code is chained."""
    error = refused({"a": Broken(b=1)})
    assert error.details["pointer"] == "/a"
    assert "the sensor is gone" in str(error)
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize(
    "value", [None, 1, "x", [], (), {1}, NAN, object(), np.zeros(2), Mode.AUTO, b"{}", Cell]
)
def test_a_top_level_that_is_no_object_is_refused(value: Any) -> None:
    """Before anything else is found wrong with it."""
    error = refused(value)
    assert error.details == {"pointer": "", "reason": "must be a JSON object"}
    assert (
        f"state must be a JSON object (a dict), not {type(value).__module__.replace('builtins', '')}"
        in str(error)
    )


def test_a_model_that_is_no_object_is_refused() -> None:
    assert refused(RootModel[list[int]]([1])).details["reason"] == "must be a JSON object"


def test_the_message_names_what_was_written() -> None:
    with pytest.raises(InvalidJSON, match=r"^adjustments at /a: NaN"):
        encode({"a": NAN}, what="adjustments")


def test_size_is_limited() -> None:
    """The limit itself is accepted; one byte more is not, and the error has both sizes."""
    assert encode({"a": "ä"}, max_bytes=10)
    with pytest.raises(StateTooLarge, match=r"state: 10 bytes of JSON, over the limit of 9") as caught:
        encode({"a": "ä"}, max_bytes=9)
    assert caught.value.details == {"size": 10, "limit": 9}


# --- text -------------------------------------------------------------------------------------------------

GOOD_TEXT = [
    '{"price": 22.10, "big": 12345678901234567890, "e": [1E+5, -0, 0.0e-0, 1e-400]}',
    '{"a": [18446744073709551615, -9223372036854775808], "a ": "\\ud83d\\ude00"}',
    '\n\t{ "A" : {"A": [ ] } }\r\n ',
    '{"ä": "\x7f\u2028\\u0000\\/"}',
    json.dumps(nested(64)),
]


@pytest.mark.parametrize("text", GOOD_TEXT)
def test_good_text_is_passed_on_as_it_is(text: str) -> None:
    """Digits, spaces, escapes: not one byte is changed, from str or from bytes."""
    assert check_text(text) == text.encode()
    assert check_text(text.encode()) == text.encode()
    assert check_text(JSONText(text)) == JSONText(text.encode()) == text.encode()


BAD_TEXT = {
    "duplicate key": ('{"a":{"b":1,"c":2,"b":1}}', "/a/b", "a duplicate key"),
    "duplicate key, escaped": ('{"a":1,"\\u0061":2}', "/a", "a duplicate key"),
    "NaN": ('{"a":[NaN]}', "/a/0", "NaN and Infinity are not JSON"),
    "Infinity": ('{"a":Infinity}', "/a", "NaN and Infinity are not JSON"),
    "-Infinity": ('{"a":{"b/c":-Infinity}}', "/a/b~1c", "NaN and Infinity are not JSON"),
    "1e999": ('{"a":[0,1e999]}', "/a/1", "a number that is not finite"),
    "-1.0E+400": ('{"a":-1.0E+400}', "/a", "a number that is not finite"),
    "large integer": ('{"a":18446744073709551616}', "/a", "an integer beyond 64 bits"),
    "small integer": ('{"a":-9223372036854775809}', "/a", "an integer beyond 64 bits"),
    "integer of 10,000 digits": ('{"a":' + "9" * 10_000 + "}", "/a", "an integer beyond 64 bits"),
    "lone surrogate": ('{"a":["\\ud800"]}', "/a/0", "a lone surrogate in a string"),
    "surrogates in the wrong order": ('{"a":"\\ude00\\ud83d"}', "/a", "a lone surrogate in a string"),
    "lone surrogate in a key": ('{"a":{"\\udc00":1}}', "/a", "a lone surrogate in a string"),
    "65 levels": (json.dumps(nested(65)), "/a" * 64, "deeper than 64 levels"),
    "65 levels of arrays": ('{"a":' + "[" * 64 + "]" * 64 + "}", "/a" + "/0" * 63, "deeper than 64 levels"),
    "100,000 levels": ("[" * 100_000, "", "deeper than 64 levels"),
    "array": ("[]", "", "must be a JSON object"),
    "number": (" 1 ", "", "must be a JSON object"),
}


@pytest.mark.parametrize(("text", "pointer", "reason"), BAD_TEXT.values(), ids=BAD_TEXT)
def test_bad_text_is_refused_with_its_path(text: str, pointer: str, reason: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(InvalidJSON, match=reason) as caught:
            check_text(form)
        assert caught.value.details == {"pointer": pointer, "reason": reason}


NOT_JSON = {
    "empty": (b"", 1, 1),
    "comma at the end": (b'{"a": 1,\n "b": 2,}', 2, 9),
    "leading zero": (b'{"a": 01}', 1, 8),
    "no digit behind the point": (b'{"a": 1.}', 1, 8),
    "plus": (b'{"a": +1}', 1, 7),
    "lower-case nan": (b'{"a": nan}', 1, 7),
    "single quotes": (b"{'a': 1}", 1, 2),
    "tab in a string": (b'{"a": "\t"}', 1, 8),
    "two documents": (b"{}\n{}", 2, 1),
    "form feed": (b'{"a":\x0c1}', 1, 6),
    "comment": (b"{} // no", 1, 4),
    "byte order mark": (b"\xef\xbb\xbf{}", 1, 1),
    "UTF-16": ("{}".encode("utf-16-le"), 1, 2),
    "invalid UTF-8": (b'{\n"\xc3\xa4a": "\xff"}', 2, 8),
    "overlong": (b'{"a": "\xc0\x80"}', 1, 8),
    "encoded surrogate": (b'{"a": "\xed\xa0\x80"}', 1, 8),
}


@pytest.mark.parametrize(("text", "line", "column"), NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_refused_with_its_line_and_column(text: bytes, line: int, column: int) -> None:
    with pytest.raises(InvalidJSON, match=f"^the file, line {line}, column {column}: ") as caught:
        check_text(text, what="the file")
    assert (caught.value.details["line"], caught.value.details["column"]) == (line, column)


def test_a_raw_lone_surrogate_in_a_str_is_refused() -> None:
    """From the command line it may come so (PEP 383)."""
    with pytest.raises(InvalidJSON, match="line 1, column 8: a lone surrogate"):
        check_text('{"a": "\udcff"}')
    with pytest.raises(InvalidJSON, match="a lone surrogate"):
        JSONText('{"a": "\udcff"}')


def test_text_has_the_size_limit_and_the_choice_of_root_too() -> None:
    assert check_text("[22.10]", root="any", max_bytes=7) == b"[22.10]"
    with pytest.raises(StateTooLarge, match="7 bytes"):
        check_text("[22.10]", root="any", max_bytes=6)


@given(VALUES)
@settings(deadline=None)
def test_whatever_encode_writes_is_good_text(value: Any) -> None:
    """The two judges agree on what a state may hold."""
    text = encode({"a": value})
    assert check_text(text) == text


@pytest.mark.parametrize("text", ["", "{", "nul", "\ufeff{}", b"\xff", '"\ud800"', "{} {}", "NaN"])
def test_junk_is_not_decoded(text: str | bytes) -> None:
    for read in (decode, tokens, compact, pretty):
        with pytest.raises(InvalidJSON, match=r"^JSON text: ") as caught:
            read(text)
        assert isinstance(caught.value.__cause__, orjson.JSONDecodeError)


# --- printing ---------------------------------------------------------------------------------------------


def test_pretty() -> None:
    """A line per member and item, empty ones on one; digits as they were, strings in their short form."""
    stored = r'{"a":22.10,"list":[1E+5,{"x":[]}, [ ] ],"empty":{},"t":"\u007b\u0022\u005c\u00e4\n\u001f\/"}'
    assert pretty(stored) == (
        "{\n"
        '  "a": 22.10,\n'
        '  "list": [\n'
        "    1E+5,\n"
        "    {\n"
        '      "x": []\n'
        "    },\n"
        "    []\n"
        "  ],\n"
        '  "empty": {},\n'
        '  "t": "{\\"\\\\ä\\n\\u001f/"\n'
        "}"
    )
    assert pretty("[1,2]", indent=4) == "[\n    1,\n    2\n]"
    assert pretty(b" 1.50 ") == "1.50"


def test_compact() -> None:
    """One line, no white space but in strings."""
    assert (
        compact('{ "a b" : [ 1.50 , "\\u007b , \\u007d" ] , "c" : { } }\n') == '{"a b":[1.50,"{ , }"],"c":{}}'
    )


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@given(st.dictionaries(st.text(max_size=8), NUMBERS | VALUES.map(json.dumps), max_size=5), st.integers(0, 4))
@settings(deadline=None)
def test_printing_keeps_every_number_and_value(members: dict[str, str], indent: int) -> None:
    """Only white space and the escapes of strings change."""
    text = "{" + " , ".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"
    shown = pretty(text, indent)
    numbers = [part for part in tokens(text) if part[0] in "-0123456789"]
    assert [part for part in tokens(shown) if part[0] in "-0123456789"] == numbers
    assert compact(shown) == compact(text)
    assert json.loads(shown) == json.loads(text)
    assert json.dumps(json.loads(text), ensure_ascii=False, indent=indent) == pretty(
        json.dumps(json.loads(text)), indent
    )
