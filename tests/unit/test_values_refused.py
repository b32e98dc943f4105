"""Values into JSON: what is refused, and how the place is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from pydantic import RootModel

from circman_redis.codec import decode, encode
from circman_redis.errors import InvalidJSON, StateTooLarge
from tests.unit.json_values import (
    INF,
    NAN,
    Broken,
    Cell,
    Level,
    Mode,
    Node,
    NotATime,
    Odd,
    Point,
    Pump,
    Readings,
    Real,
    Slim,
    Tag,
    Text,
    nested,
)


def refused(value: Any) -> InvalidJSON:
    with pytest.raises(InvalidJSON) as caught:
        encode(value)
    return caught.value


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
    "numpy NaT": ({"a": np.datetime64("NaT", "s")}, "/a"),
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


@pytest.mark.parametrize("key", [1, None, True, 1.5, (1,), b"a", Level.HIGH, Odd.TEXT, date(2026, 1, 1)])
def test_keys_that_are_not_strings_are_refused_with_their_path(key: Any) -> None:
    """JSON has no others, and 1 and "1" would become one."""
    error = refused({"a": {"b": {key: 1}}})
    assert error.details == {"pointer": "/a/b", "reason": "a key that is not a string"}
    assert repr(key) in str(error)
    assert type(key).__name__ in str(error)


def test_two_keys_of_the_same_letters_are_refused() -> None:
    """Two members of a dict to Python, a duplicate key in JSON."""
    value = {Tag("a"): 1, "a": 2}
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


@pytest.mark.parametrize("kind", ["dict", "list", "tuple"])
def test_any_depth_is_survived(kind: str) -> None:
    """orjson 3.13 does not count tuples, and some thousand of them end the process."""
    wrap, token = WRAPPERS[kind]
    assert refused({"a": nested(20_000, wrap)}).details["pointer"] == "/a" + f"/{token}" * 63


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
    node = Node()
    node.child = node
    error = refused({"a": node})
    assert error.details["pointer"] == "/a"
    assert "Circular reference" in str(error)
    pump = Pump()
    pump.flow_rate = [pump]
    assert refused({"a": pump}).details["reason"] == "a circular reference"


def test_a_value_that_fails_while_it_is_read_is_named() -> None:
    """The error of the value's own code is chained."""
    error = refused({"a": Broken(b=1)})
    assert error.details["pointer"] == "/a"
    assert "the sensor is gone" in str(error)
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize("value", [None, 1, "x", [], (), {1}, NAN, object(), np.zeros(2), Mode.AUTO, b"{}", Cell])
def test_a_top_level_that_is_no_object_is_refused(value: Any) -> None:
    """Before anything else is found wrong with it."""
    error = refused(value)
    assert error.details == {"pointer": "", "reason": "must be a JSON object"}
    assert f"state must be a JSON object (a dict), not {type(value).__module__.replace('builtins', '')}" in str(error)


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
