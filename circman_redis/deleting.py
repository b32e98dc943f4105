"""Pure: which branches a twin has, and how it goes: with them and its domain events, or without."""

from __future__ import annotations

from collections.abc import Iterable

from circman_redis import protocol
from circman_redis.errors import NotPermitted
from circman_redis.flows import Flow
from circman_redis.keys import DOMAIN, TwinKeys, state_keys_pattern, twin_of_state_key


def branches(keys: TwinKeys) -> Flow[list[str]]:
    """The ids of a twin's branches that have a state, in order; none of a branch."""
    found = yield from beside(keys)
    return [name for name in found if name != keys.trunk.branch(DOMAIN).twin]


def beside(keys: TwinKeys) -> Flow[list[str]]:
    """Those and the one of the twin's domain events.

    The server walks over all its keys for that (SCAN), in steps between which it serves others.
    """
    if keys != keys.trunk:
        return []
    found: set[str] = set()
    cursor, pattern = 0, state_keys_pattern(keys.prefix, keys.twin)
    while True:
        try:
            cursor, part = yield protocol.scan(pattern, cursor)
        except NotPermitted as error:
            advice = "to delete the twin alone, leave its branches (branches=False, --keep-branches)"
            raise NotPermitted(f"{error}; this is how branches are found: {advice}") from error
        found.update(filter(None, (twin_of_state_key(key, keys.prefix) for key in part)))
        if not cursor:
            return sorted(found)


def delete(keys: TwinKeys, actor: str, *, with_branches: bool) -> Flow[int]:
    """Removes a twin, and returns the version that it had, or 0; with what is `beside` it, if that is asked for."""
    names = (yield from beside(keys)) if with_branches else []
    return (yield from delete_all(keys, names, actor))


def delete_all(keys: TwinKeys, names: Iterable[str], actor: str) -> Flow[int]:
    """The same with these, which go first: where it fails in between, it can be said again."""
    for name in names:
        yield protocol.delete(TwinKeys(name, keys.prefix), actor)
    version: int = yield protocol.delete(keys, actor)
    return version
