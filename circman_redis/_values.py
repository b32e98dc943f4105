"""What stands for a Python value in JSON: one step at a time for orjson, or the whole value with its path."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import orjson

from circman_redis.errors import InvalidJSON
from circman_redis.patch import join_pointer

MAX_DEPTH: Final = 64
"""Levels of objects and arrays; ``{}`` is one."""
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1

# The reasons of a refusal: where the commit script refuses the same, it says the same.
CIRCULAR = "a circular reference"
DUPLICATE = "a duplicate key"
KEY = "a key that is not a string"
LONE_SURROGATE = "a lone surrogate in a string"
NO_FORM = "a type that has no JSON form"
NOT_FINITE = "NaN and Infinity are not JSON"
OVER_DOUBLE = "a number that is not finite"
TOO_BIG = "an integer beyond 64 bits"
TOO_DEEP = f"deeper than {MAX_DEPTH} levels"

_ADVICE = {
    CIRCULAR: "leave out what leads back",
    DUPLICATE: "keep one of them",
    KEY: "use str(key)",
    NO_FORM: "make it a dict, list, str, number or bool first",
    NOT_FINITE: "leave it out",
    OVER_DOUBLE: "a double ends at 1.8e308",
    TOO_BIG: "write it as a string or as a float",
    TOO_DEEP: "flatten it",
}

# Dates and dataclasses come to `step`, for orjson would also write times, and leave out what starts with _.
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
# Only for what a `Walk` returns: with it orjson imports numpy when it meets a type that it does not know.
WITH_NUMPY = OPTIONS | orjson.OPT_SERIALIZE_NUMPY
_WIDEST = 8  # bytes of the widest number that orjson takes out of an array


class _RefusedError(TypeError):
    """Says why a value cannot be written as JSON."""


def invalid(what: str, path: Iterable[str | int], reason: str, found: str = "") -> InvalidJSON:
    """The error for a place that cannot be written or read.

    Args:
        what: what was written or read, such as "state".
        path: a name or an index per level.
        reason: what is wrong there.
        found: what stands there, in a few words.
    """
    pointer = join_pointer(path)
    message = f"{what} at {pointer}: {reason}" if pointer else f"{what}: {reason}"
    message += f" ({found})" if found else ""
    message += f"; {_ADVICE[reason]}" if reason in _ADVICE else ""
    return InvalidJSON(message, {"pointer": pointer, "reason": reason})


def name_of(value: object) -> str:
    """The name of a value's type, with its module where that is not plain Python."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def loaded(module: str, name: str) -> Any:
    """A class of a package that may not be there, for isinstance: without it no value can be one."""
    return getattr(sys.modules.get(module), name, ())


def is_dataclass(value: object) -> bool:
    """Whether it is an instance of a dataclass, not one itself."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def step(value: Any) -> object:
    """What stands for ``value`` in JSON; a TypeError for what is not accepted. Called by orjson as well."""
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, loaded("pydantic.main", "BaseModel")):
        return value.model_dump(mode="python", by_alias=True, warnings=False)
    if isinstance(value, loaded("numpy", "ndarray")):
        return _array(value)
    if isinstance(value, loaded("numpy", "generic")):
        return _scalar(value)
    raise _RefusedError(NO_FORM)


def _iso(value: datetime) -> str:
    text = value.isoformat()
    if not text[:1].isdigit():  # pandas' NaT is a datetime that says so
        raise _RefusedError("not a date")
    if (value.utcoffset() or timedelta()) % timedelta(minutes=1):  # RFC 3339 writes whole minutes
        return _iso(value.astimezone(UTC))
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _digits(value: Decimal) -> orjson.Fragment:
    if not value.is_finite():
        raise _RefusedError(NOT_FINITE)
    text = str(value)
    if text.lstrip("-").isdigit() and not MIN_INTEGER <= value <= MAX_INTEGER:
        raise _RefusedError(TOO_BIG)
    if math.isinf(float(value)):
        raise _RefusedError(OVER_DOUBLE)
    return orjson.Fragment(text)


_WRITERS: tuple[tuple[Any, Callable[[Any], object]], ...] = (
    (datetime, _iso),  # before date, which it is one of
    (date, date.isoformat),
    (Decimal, _digits),
    (UUID, str),
    (float, float),
    (tuple, list),
    (Mapping, dict),
)


def _array(value: Any) -> object:
    """A numpy array as one that orjson takes, or as a list of what it holds."""
    numpy = sys.modules["numpy"]
    if numpy.ma.is_masked(value):
        raise _RefusedError("an array with masked items")
    array = numpy.asarray(value)
    if array.ndim == 0:
        return array[()]
    if array.dtype.kind in "biufM" and array.dtype.itemsize <= _WIDEST:
        return numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return list(array)


def _scalar(value: Any) -> object:
    """A numpy scalar as text that orjson made of it, or as what Python has for it."""
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.longdouble):
        return Decimal(str(value))
    if isinstance(value, numpy.integer) and not isinstance(value, numpy.timedelta64):
        return int(value)
    if not isinstance(value, (numpy.bool_, numpy.floating, numpy.datetime64)):
        raise _RefusedError(NO_FORM)
    if not numpy.isfinite(value):
        raise _RefusedError(NOT_FINITE)
    try:
        return orjson.Fragment(orjson.dumps(value, option=WITH_NUMPY))
    except TypeError as error:  # a year that has no ISO form
        raise _RefusedError(str(error)) from error


_SURE = frozenset({str, int, bool, type(None), datetime, date, Decimal, UUID})


def is_plain(value: object) -> bool:
    """Whether orjson can be trusted with a value; where not, a `Walk` has to tell.

    It writes NaN as null, goes deeper than a state may be, and does not count tuples as levels: orjson
    3.13 crashes the process on a circle through a tuple, and on some thousand tuples inside one another.
    """
    return _are_plain((value,), MAX_DEPTH)


def _are_plain(items: Iterable[Any], levels: int) -> bool:
    for item in items:
        kind = type(item)
        if kind in _SURE:
            continue
        if kind is float:
            if not math.isfinite(item):
                return False
        elif kind is dict:
            if not levels or not _are_plain(item.values(), levels - 1):
                return False
        elif not ((kind is list or kind is tuple) and levels and _are_plain(item, levels - 1)):
            return False
    return True


class Walk:
    """The slow way: goes through a value in Python, names the first fault, and returns what orjson takes."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.path: list[str | int] = []
        self.open: set[int] = set()

    def fault(self, reason: str, value: object, detail: str = "") -> InvalidJSON:
        return invalid(self.what, self.path, reason, f"{name_of(value)} {detail}".rstrip())

    def plain(self, value: Any) -> Any:
        leaf = _LEAVES.get(type(value)) or next((read for kind, read in _KINDS if isinstance(value, kind)), None)
        if leaf:
            return leaf(self, value)
        if id(value) in self.open:
            raise self.fault(CIRCULAR, value)
        self.open.add(id(value))
        plain = self.container(value)
        self.open.remove(id(value))
        return plain

    def container(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.members(value)
        if isinstance(value, list):
            return self.items(value)
        simpler = self.simpler(value)
        if isinstance(simpler, loaded("numpy", "ndarray")):
            return self.numpy_array(simpler)
        return self.plain(simpler)

    def simpler(self, value: Any) -> Any:
        try:
            return step(value)
        except _RefusedError as refused:
            raise self.fault(str(refused), value) from refused
        except Exception as error:
            raise self.fault(f"cannot be read: {error}", value) from error

    def members(self, value: dict[Any, Any]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        self.check_level(value)
        for key, item in dict.items(value):  # as orjson does, whatever a subclass makes of it
            name = self.key(key)
            if name in plain:
                raise self.fault(DUPLICATE, key, repr(name))
            self.path.append(name)
            plain[name] = self.plain(item)
            self.path.pop()
        return plain

    def items(self, value: Iterable[Any]) -> list[Any]:
        plain: list[Any] = []
        self.check_level(value)
        for index, item in enumerate(value):
            self.path.append(index)
            plain.append(self.plain(item))
            self.path.pop()
        return plain

    def numpy_array(self, value: Any) -> Any:
        # Dates may be beyond what orjson writes; they go the long way, as what has a fault does to find it.
        fits = len(self.path) + value.ndim <= MAX_DEPTH and value.dtype.kind != "M"
        return value if fits and sys.modules["numpy"].isfinite(value).all() else self.items(value)

    def check_level(self, value: object) -> None:
        if len(self.path) >= MAX_DEPTH:
            raise self.fault(TOO_DEEP, value)

    def key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise self.fault(KEY, key, repr(key))
        return str.__str__(self.text(key))

    def text(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.fault(LONE_SURROGATE, value, repr(value[error.start])) from error
        return value

    def integer(self, value: int) -> int:
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise self.fault(TOO_BIG, value, f"of {value.bit_length()} bits")
        return value

    def number(self, value: float) -> float:
        if not math.isfinite(value):
            raise self.fault(NOT_FINITE, value, str(float(value)))
        return float(value)

    def enum(self, value: Enum) -> Any:
        return self.plain(value.value)

    def unchanged(self, value: Any) -> Any:
        return value


_LEAVES: dict[type, Callable[[Walk, Any], Any]] = {
    str: Walk.text,
    int: Walk.integer,
    float: Walk.number,
    bool: Walk.unchanged,
    type(None): Walk.unchanged,
    orjson.Fragment: Walk.unchanged,
}
# What is no leaf by its type may be one by its parents; an Enum may be a str or an int as well.
_KINDS: tuple[tuple[type, Callable[[Walk, Any], Any]], ...] = (
    (Enum, Walk.enum),
    (str, Walk.text),
    (int, Walk.integer),
    (float, Walk.number),
)
