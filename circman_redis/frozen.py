"""JSON values that nobody can change, so that many may share one copy."""

from __future__ import annotations

from typing import Any, NoReturn

from circman_redis._values import MAX_DEPTH, TOO_DEEP
from circman_redis.errors import InvalidJSON


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    kind = type(self).__name__
    raise TypeError(f"a {kind} cannot be changed: copy.deepcopy() of it can, or commit a change through the manager")


class FrozenDict(dict[str, Any]):
    """A dict that refuses to be changed. It reads, compares and is written as JSON like any dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {name: thaw(value) for name, value in self.items()}

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses to be changed. It reads, compares and is written as JSON like any list."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [thaw(value) for value in self]

    def __reduce__(self) -> tuple[type, tuple[list[Any]]]:
        return type(self), (list(self),)


_AS_THEY_ARE = frozenset({FrozenDict, FrozenList, str, int, float, bool, type(None)})

EMPTY = FrozenDict()
"""The state before the first commit."""


def freeze(value: Any, levels: int = MAX_DEPTH) -> Any:
    """A JSON value that cannot be changed, at any depth. What is frozen already is shared, not copied.

    Raises:
        InvalidJSON: it is deeper than a state may be.
    """
    if type(value) in _AS_THEY_ARE:
        return value
    if not levels:
        raise InvalidJSON(f"JSON of more than {MAX_DEPTH} levels", {"reason": TOO_DEEP})
    if isinstance(value, dict):
        return FrozenDict({name: freeze(child, levels - 1) for name, child in value.items()})
    return FrozenList([freeze(child, levels - 1) for child in value])


def merge(target: Any, patch: Any) -> Any:
    """What a merge patch makes of a value (RFC 7396, section 2), both frozen, and the result as well.

    It costs what the patch costs: the objects along its path are made anew, and all else is shared, neither walked
    nor copied.

    Args:
        target: what `freeze` made; None for nothing.
        patch: what `freeze` made of a merge patch.
    """
    if type(patch) is not FrozenDict:
        return patch
    merged = FrozenDict(target if type(target) is FrozenDict else {})
    for name, value in patch.items():
        # Nobody has seen it yet: so it is changed past the methods that refuse.
        if value is None:
            dict.pop(merged, name, None)
        else:
            dict.__setitem__(merged, name, merge(merged.get(name), value))
    return merged


def thaw(value: Any) -> Any:
    """A copy of a frozen JSON value that can be changed, at any depth."""
    if isinstance(value, dict):
        return {name: thaw(child) for name, child in value.items()}
    return [thaw(child) for child in value] if isinstance(value, list) else value
