"""Merge patches, differences and JSON Pointers on plain Python values (RFC 7396, RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from circman_redis.errors import PointerError, UsageError

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]*", re.ASCII)


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # a copy, and what was pickled, is the same one again


MISSING: Final = _Missing()
"""Stands where a document has nothing. Not None, which is JSON's null."""
NO_DEFAULT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One place where two documents differ.

    Attributes:
        pointer: JSON Pointer (RFC 6901) of the place.
        before: what stood there, or `MISSING`.
        after: what stands there now, or `MISSING`.
    """

    pointer: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """The change as a JSON object; a side that is not there is left out."""
        sides = {"before": self.before, "after": self.after}
        return {"pointer": self.pointer} | {name: side for name, side in sides.items() if side is not MISSING}


def merge(target: Any, patch: Any) -> Any:
    """What a merge patch makes of a document (RFC 7396, section 2).

    Args:
        target: the document, any JSON value; `MISSING` for none.
        patch: the merge patch. Its nulls remove, its objects merge, everything else replaces.

    Returns:
        A new document. It shares what was not touched with ``target``, and what is new with ``patch``;
        neither is changed.
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any] | None:
    """The merge patch that turns one document into another (RFC 7396).

    Args:
        before: the document that the patch is for.
        after: what it shall become.

    Returns:
        A patch with ``merge(before, patch)`` the same as ``after``, but for the order of members; empty where
        nothing differs. None where no merge patch can say it: ``after`` has a null that ``before`` has not.
    """
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, new in after.items():
        old = before.get(name, MISSING)
        if old is new:  # what a merge did not touch is shared
            continue
        if isinstance(new, Mapping):
            step = merge_patch(old if isinstance(old, Mapping) else {}, new)
            nothing_to_do = step == {} and isinstance(old, Mapping)
        else:
            step = new
            nothing_to_do = same(old, new)
        if nothing_to_do:
            continue
        if step is None:
            return None
        patch[name] = step
    return patch


def diff(before: Any, after: Any) -> list[Change]:
    """Where two documents differ.

    Args:
        before: a JSON value, or `MISSING`.
        after: another.

    Returns:
        The changes in document order (what was added to an object comes last). Objects are compared member
        by member; arrays item by item where they are of the same length, and as a whole where they are not.
    """
    return list(_changes((), before, after))


def _changes(path: tuple[str | int, ...], before: Any, after: Any) -> Iterable[Change]:
    if before is after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = [*before, *(name for name in after if name not in before)]
        pairs = [(name, before.get(name, MISSING), after.get(name, MISSING)) for name in names]
    elif _is_array(before) and _is_array(after) and len(before) == len(after):
        pairs = [(index, old, new) for index, (old, new) in enumerate(zip(before, after, strict=True))]
    else:
        if not same(before, after):
            yield Change(join_pointer(path), before, after)
        return
    for token, old, new in pairs:
        yield from _changes((*path, token), old, new)


def same(before: Any, after: Any) -> bool:
    """Whether two JSON values are written the same way, but for the order of members.

    Stricter than ``==``: JSON tells true from 1, and the state's digits tell 22 from 22.0 and 0.0 from -0.0.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(same(before[name], after[name]) for name in before)
    if _is_array(before) and _is_array(after):
        return len(before) == len(after) and all(map(same, before, after))
    if type(before) is not type(after):
        return False
    return repr(before) == repr(after) if isinstance(before, float) else bool(before == after)


def _is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def pointers(patch: Any) -> list[str]:
    """The places that a merge patch names, as JSON Pointers; the whole document where it is no object.

    Args:
        patch: the merge patch (RFC 7396).
    """
    return [] if patch == {} else list(map(join_pointer, _leaves((), patch)))


def _leaves(path: tuple[str, ...], patch: Any) -> Iterable[tuple[str, ...]]:
    if not isinstance(patch, Mapping) or not patch:
        yield path
        return
    for name, value in patch.items():
        yield from _leaves((*path, name), value)


@lru_cache(maxsize=1024)  # who reads from a mirror says the same few again and again
def split_pointer(pointer: str) -> tuple[str, ...]:
    """The tokens of a JSON Pointer, unescaped (RFC 6901, section 4).

    Args:
        pointer: such as ``/cells/0/temperature``; the empty string is the whole document.

    Raises:
        UsageError: where it is not a JSON Pointer.
    """
    if not _POINTER.fullmatch(pointer):
        raise UsageError(
            f"JSON Pointer {pointer!r}: must be empty or start with /, with ~ written as ~0 and a / inside "
            "a name as ~1, such as /cells/0/temperature"
        )
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def join_pointer(tokens: Iterable[str | int]) -> str:
    """The JSON Pointer that names a place (RFC 6901, section 3).

    Args:
        tokens: a name or an index per level, outermost first.
    """
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def resolve(document: Any, pointer: str, default: Any = NO_DEFAULT) -> Any:
    """The value that a JSON Pointer leads to (RFC 6901, section 4).

    Args:
        document: a JSON value.
        pointer: where to look; the empty string is the whole document.
        default: what to return where nothing stands there; without it, that is an error.

    Raises:
        UsageError: where ``pointer`` is not a JSON Pointer.
        PointerError: (a UsageError and a LookupError) where it leads nowhere and there is no default.
    """
    value = document
    tokens = split_pointer(pointer)
    for level, token in enumerate(tokens):
        found = _child(value, token)
        if found is MISSING:
            if default is not NO_DEFAULT:
                return default
            place = join_pointer(tokens[:level]) or "the top level"
            raise PointerError(f"nothing at {pointer}: {place} is {_contents(value)}, without {token!r}")
        value = found
    return value


def _child(value: Any, token: str) -> Any:
    if isinstance(value, (dict, Mapping)):  # a dict is asked for first, for that is quick
        return value.get(token, MISSING)
    if _is_array(value) and _INDEX.fullmatch(token) and int(token) < len(value):
        return value[int(token)]
    return MISSING


def _contents(value: Any) -> str:
    """What stands in a place, in the few words that help to correct a pointer."""
    if isinstance(value, Mapping):
        names = [repr(name) for name in value]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")  # noqa: PLR2004 - enough to see a typo
        return f"an object with {shown}" if names else "an empty object"
    if _is_array(value):
        return f"an array of {len(value)}"
    return f"not an object or array ({type(value).__name__})"
