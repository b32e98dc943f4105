"""The only place that turns values into JSON and back (RFC 8259)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Self

import orjson

from circman_redis._values import (
    DUPLICATE,
    LONE_SURROGATE,
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    NOT_FINITE,
    OPTIONS,
    OVER_DOUBLE,
    TOO_BIG,
    TOO_DEEP,
    WITH_NUMPY,
    Walk,
    invalid,
    is_dataclass,
    is_plain,
    loaded,
    name_of,
    step,
)
from circman_redis.errors import InvalidJSON, StateTooLarge

Root = Literal["object", "any"]

NOT_AN_OBJECT = "must be a JSON object"
_OPENING, _CLOSING = frozenset("{["), frozenset("}]")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def encode(value: object, *, what: str = "state", max_bytes: int | None = None, root: Root = "object") -> bytes:
    """Writes a value as compact JSON.

    Besides JSON values: tuples, mappings, dataclasses, pydantic models (by alias), numpy scalars and arrays,
    datetime and date (ISO 8601), Decimal (its own digits), UUID, and Enum (its value).

    Args:
        value: what to write.
        what: what it is, for the message of an error.
        max_bytes: the longest text that is accepted, in bytes of UTF-8.
        root: "any" to accept other values than an object at the top level.

    Raises:
        InvalidJSON: for what JSON or docs/wire.md does not have: NaN, Infinity, integers beyond 64 bits, keys
            that are not strings, lone surrogates, more than 64 levels, a value inside itself, other types.
            The message names the JSON Pointer and the type; ``details`` has ``pointer`` and ``reason``.
        StateTooLarge: over ``max_bytes``.
    """
    unsure = type(value) is not dict and root == "object"
    if unsure and not _may_be_object(value):
        _refuse_root(what, name_of(value))
    try:
        text = orjson.dumps(value, step, OPTIONS) if is_plain(value) else _dump_slowly(value, what)
    except TypeError:  # orjson does not say where: the walk does, or puts right what only orjson minds
        text = _dump_slowly(value, what)
    if unsure and not text.startswith(b"{"):  # a model may write itself as anything
        _refuse_root(what, name_of(value))
    if max_bytes is not None:
        _check_size(text, what, max_bytes)
    return text


def _dump_slowly(value: object, what: str) -> bytes:
    return orjson.dumps(Walk(what).plain(value), option=WITH_NUMPY)


def _may_be_object(value: object) -> bool:
    return isinstance(value, (Mapping, loaded("pydantic.main", "BaseModel"))) or is_dataclass(value)


def _refuse_root(what: str, found: str) -> NoReturn:
    raise InvalidJSON(f"{what} {NOT_AN_OBJECT} (a dict), not {found}", {"pointer": "", "reason": NOT_AN_OBJECT})


def _check_size(text: bytes, what: str, max_bytes: int) -> None:
    if len(text) > max_bytes:
        raise StateTooLarge(
            f"{what}: {len(text):,} bytes of JSON, over the limit of {max_bytes:,}",
            {"size": len(text), "limit": max_bytes},
        )


# Text that goes to the server as it is, so that 22.10 keeps its digits.


class JSONText(bytes):
    """JSON text in UTF-8 that is sent as it is, so that every number keeps its digits.

    Whether it is JSON is checked where it is used (`check_text`).

    Args:
        text: a JSON object, such as ``{"price": 22.10}``.

    Raises:
        InvalidJSON: a string with a lone surrogate, for which UTF-8 has no bytes.
    """

    __slots__ = ()

    def __new__(cls, text: str | bytes) -> Self:  # noqa: D102 - the class says it
        return super().__new__(cls, _both(text, "JSON text")[1] if isinstance(text, str) else text)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands in the place of what was refused while the text is read, until its path is known."""

    reason: str


class _Members(list[tuple[str, Any]]):
    """An object's members, duplicate keys and all."""


def check_text(
    text: str | bytes, *, what: str = "JSON text", max_bytes: int | None = None, root: Root = "object"
) -> bytes:
    """Checks JSON text strictly, without changing it.

    Args:
        text: as it came from a file or the command line.
        what: what it is, for the message of an error.
        max_bytes: the longest text that is accepted, in bytes of UTF-8.
        root: "any" to accept other values than an object at the top level.

    Returns:
        The same text, in UTF-8.

    Raises:
        InvalidJSON: where it is not JSON (RFC 8259) in UTF-8, or has a byte order mark, a duplicate key, a
            number that is not finite, an integer beyond 64 bits, a lone surrogate, more than 64 levels.
            ``details`` has ``reason``, and ``pointer`` or ``line`` and ``column``.
        StateTooLarge: over ``max_bytes``.
    """
    characters, encoded = _both(text, what)
    if max_bytes is not None:
        _check_size(encoded, what, max_bytes)
    if characters.startswith("\ufeff"):
        raise _misplaced(what, "a byte order mark (BOM); save the text without it", characters, 0)
    try:
        value = _strict.decode(characters)
    except json.JSONDecodeError as error:
        raise _misplaced(what, error.msg, error.doc, error.pos) from error
    except RecursionError as error:
        raise invalid(what, (), TOO_DEEP) from error
    _search(value, (), what)
    if root == "object" and not isinstance(value, _Members):
        _refuse_root(what, "an array" if isinstance(value, list) else "a single value")
    return encoded


def _both(text: str | bytes, what: str) -> tuple[str, bytes]:
    try:
        return (text, text.encode()) if isinstance(text, str) else (text.decode(), text)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        raise _misplaced(what, "invalid UTF-8", before, len(before)) from error
    except UnicodeEncodeError as error:
        raise _misplaced(what, LONE_SURROGATE, error.object, error.start) from error


def _misplaced(what: str, reason: str, text: str, position: int) -> InvalidJSON:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    details = {"line": line, "column": column, "reason": reason}
    return InvalidJSON(f"{what}, line {line}, column {column}: {reason}", details)


def _integer(digits: str) -> object:
    # Twenty characters hold every integer of 64 bits; int() refuses thousands of digits in its own way.
    fits = len(digits) <= len(str(MAX_INTEGER)) and MIN_INTEGER <= int(digits) <= MAX_INTEGER
    return None if fits else _Fault(TOO_BIG)


def _number(digits: str) -> object:
    return None if math.isfinite(float(digits)) else _Fault(OVER_DOUBLE)


_strict = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=lambda _: _Fault(NOT_FINITE),
)


def _search(value: object, path: tuple[str | int, ...], what: str) -> None:
    """Finds the first fault in what `_strict` read."""
    if isinstance(value, _Fault):
        raise invalid(what, path, value.reason)
    if isinstance(value, str):
        _check_string(value, path, what)
    if not isinstance(value, list):
        return
    if len(path) >= MAX_DEPTH:
        raise invalid(what, path, TOO_DEEP)
    for token, item in _members(value, path, what) if isinstance(value, _Members) else enumerate(value):
        _search(item, (*path, token), what)


def _members(members: _Members, path: tuple[str | int, ...], what: str) -> Iterator[tuple[str, Any]]:
    seen = set()
    for name, item in members:
        _check_string(name, path, what)
        if name in seen:
            raise invalid(what, (*path, name), DUPLICATE)
        seen.add(name)
        yield name, item


def _check_string(value: str, path: tuple[str | int, ...], what: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(what, path, LONE_SURROGATE, repr(value[error.start])) from error


# Numbers with their digits, as values: 22.10 is not 22.1, and is written as it was read.


class Digits(float):
    """A number that is no integer, with the digits that it was written with.

    It is a float for whoever computes with it; ``patch.same`` tells 22.10 from 22.1 by it.

    Args:
        text: a number as JSON writes it.
    """

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:  # noqa: D102 - the class says it
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.text,)


def _exact_integer(digits: str) -> int | Digits:
    # What an int would write otherwise, or not read at all, of what something else than a commit wrote.
    return Digits(digits) if digits == "-0" or len(digits) > len(str(MAX_INTEGER)) else int(digits)


_exactly = json.JSONDecoder(parse_float=Digits, parse_int=_exact_integer)


def decode_exactly(text: bytes | str) -> Any:
    """Reads JSON text that was checked, or stored, into values whose numbers keep their digits (`Digits`).

    Args:
        text: what `encode` or `check_text` returned, or a state as it is stored.
    """
    return _exactly.decode(text if isinstance(text, str) else text.decode())


def encode_exactly(value: Any) -> JSONText:
    """What `decode_exactly` read, or was made of such, as text: each number with its digits."""
    return JSONText(orjson.dumps(value, lambda number: orjson.Fragment(number.text)))


# Reading.


def decode(text: bytes | str, *, what: str = "JSON text") -> Any:
    """Reads JSON text into Python values.

    Raises:
        InvalidJSON: where it is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(f"{what}: {error}", {"reason": str(error)}) from error


def tokens(text: str | bytes) -> list[str]:
    """The tokens of JSON text, without the white space between them (RFC 8259, section 2).

    Raises:
        InvalidJSON: where it is not JSON.
    """
    decode(text)
    return _TOKEN.findall(text if isinstance(text, str) else text.decode())


def compact(text: str | bytes) -> str:
    """JSON text on one line without white space; numbers keep their digits, and members their order.

    Strings are written in their shortest form.

    Raises:
        InvalidJSON: where it is not JSON.
    """
    return "".join(map(_shortest, tokens(text)))


def pretty(text: str | bytes, indent: int = 2) -> str:
    """JSON text with a line per member and item; numbers keep their digits, and members their order.

    Args:
        text: any JSON text, such as the stored state.
        indent: spaces per level.

    Raises:
        InvalidJSON: where it is not JSON.
    """
    parts: list[str] = []
    level = 0
    previous = ""
    for part in tokens(text):
        level -= part in _CLOSING
        if previous == "," or (previous in _OPENING) != (part in _CLOSING):
            parts.append("\n" + " " * (indent * level))
        parts.append(": " if part == ":" else _shortest(part))
        level += part in _OPENING
        previous = part
    return "".join(parts)


def _shortest(token: str) -> str:
    return json.dumps(json.loads(token), ensure_ascii=False) if "\\" in token else token
