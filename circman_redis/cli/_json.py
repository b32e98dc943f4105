"""JSON in which every number keeps its digits: it is read as the text that it is."""

from __future__ import annotations

import json
from typing import Any


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


_decoder = json.JSONDecoder(parse_int=Number, parse_float=Number)


def loads(text: str | bytes) -> Any:
    """Reads JSON text; its numbers become `Number`."""
    return _decoder.decode(text if isinstance(text, str) else text.decode())


def dumps(value: Any) -> str:
    """Writes a value on one line without white space; a `Number` as the text that it is."""
    if isinstance(value, Number):
        return value[:]
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(str(name))}:{dumps(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
