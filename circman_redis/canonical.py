r"""The stored form of JSON, and the lossless merge on it: the reference the Lua scripts are tested against.

The stored form is compact, and keeps the digits of numbers and the order of members. Inside strings the bytes
``"`` ``\`` ``{`` ``}`` ``[`` ``]`` are written as ``\u0022 \u005c \u007b \u007d \u005b \u005d``, control
characters as ``\b \f \n \r \t`` or else ``\u00xx`` in lower case, and all else as plain UTF-8. So a search
for the next quote, or for the bracket that closes another, jumps over any value at once.

Written for clarity: nothing here runs when a twin is read or changed, only when a large state is validated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeAlias

from circman_redis.codec import tokens
from circman_redis.errors import InvalidJSON

_SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in [*map(chr, range(32)), *'"\\{}[]']} | _SHORT)

# An object as its members' texts, by the text of the name; anything else as its text.
_Tree: TypeAlias = "dict[str, _Tree] | str"


def canonical(text: str | bytes) -> str:
    """The stored form of JSON text.

    Args:
        text: any JSON value.

    Raises:
        InvalidJSON: where it is not JSON.
    """
    return "".join(map(_stored, tokens(text)))


def merge_text(target: str, patch: str) -> str:
    """What a merge patch makes of a document (RFC 7396, section 2), as text.

    What the patch does not name stays as it is, byte by byte. A member that is replaced keeps its place, one
    that is new goes to the end, in the order of the patch.

    Args:
        target: a JSON document in the stored form.
        patch: a merge patch in any form.

    Returns:
        The document in the stored form.

    Raises:
        InvalidJSON: where one of them is not JSON, or has a key twice.
    """
    return _write(_merge(_read(target), _read(patch)))


def inverse_text(target: str, patch: str) -> str | None:
    """The merge patch that takes what ``patch`` made of a document back to the document, as text.

    Args:
        target: the JSON object that ``patch`` was merged into, in the stored form.
        patch: a merge patch in any form.

    Returns:
        The old values of what the patch names, and nulls for what it added, in the order of the patch; None where no
        merge patch leads back to the very text: a removed member would come back in another place, a null would vanish.

    Raises:
        InvalidJSON: where one of them is not JSON, or has a key twice.
    """
    before, change = _read(target), _read(patch)
    if isinstance(before, str) or isinstance(change, str):
        return None
    inverse = _write(_inverse(before, change))
    return inverse if merge_text(merge_text(target, patch), inverse) == target else None


def _stored(part: str) -> str:
    return f'"{json.loads(part).translate(_ESCAPES)}"' if part.startswith('"') else part


def _read(text: str) -> _Tree:
    return _read_value(iter(tokens(canonical(text))))


def _read_value(rest: Iterator[str]) -> _Tree:
    part = next(rest)
    if part == "{":
        return _read_object(rest)
    return part + _rest_of_array(rest) if part == "[" else part


def _read_object(rest: Iterator[str]) -> dict[str, _Tree]:
    members: dict[str, _Tree] = {}
    while (part := next(rest)) != "}":
        name = next(rest) if part == "," else part
        if name in members:
            raise InvalidJSON(f"JSON text: a duplicate key, {name}", {"reason": "a duplicate key"})
        next(rest)  # the colon
        members[name] = _read_value(rest)
    return members


def _rest_of_array(rest: Iterator[str]) -> str:
    parts: list[str] = []
    level = 1
    while level:
        parts.append(next(rest))
        level += (parts[-1] in {"[", "{"}) - (parts[-1] in {"]", "}"})
    return "".join(parts)


def _merge(target: _Tree, patch: _Tree) -> _Tree:
    if isinstance(patch, str):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value == "null":
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name, ""), value)
    return merged


def _inverse(target: dict[str, _Tree], patch: dict[str, _Tree]) -> dict[str, _Tree]:
    inverse: dict[str, _Tree] = {}
    for name, value in patch.items():
        old = target.get(name, "null")
        inverse[name] = _inverse(old, value) if isinstance(old, dict) and isinstance(value, dict) else old
    return inverse


def _write(tree: _Tree) -> str:
    if isinstance(tree, str):
        return tree
    return "{" + ",".join(f"{name}:{_write(value)}" for name, value in tree.items()) + "}"
