"""A twin with some versions, and what something else does to its keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from pydantic import BaseModel

from circman_redis import StateManager
from circman_redis.keys import TwinKeys

Damage = Callable[[redis.Redis, TwinKeys], object]


class Plant(BaseModel):
    """A model of the test's own."""

    n: int = 0
    x: Any = None


def filled(twin: StateManager) -> StateManager:
    """Seven versions; the first and the fourth set, the others merged."""
    twin.set_state({"n": 1, "x": {"a": [], "b": "[]{}"}})
    twin.update_many([{"n": 2}, {"n": 3, "x": {"c": 1.50}}])
    twin.set_state({"n": 4, "x": {}})
    twin.update_many([{"n": 5}, {"n": 6, "x": {"d": None, "e": 1}}, {"n": 7}])
    return twin


def stream(part: str) -> Damage:
    def damage(client: redis.Redis, keys: TwinKeys) -> None:
        client.delete(keys.stored[part])
        client.xadd(keys.stored[part], {"x": "y"})

    return damage


def keys_of(twin: StateManager) -> TwinKeys:
    return TwinKeys(twin.twin)


def as_stored(client: redis.Redis) -> dict[bytes, tuple[bytes, object]]:
    """Everything, as bytes that tell; streams too."""
    kinds = {key: client.type(key) for key in client.scan_iter()}
    # A hash has no order: two dumps of the same one may differ.
    return {key: (kind, client.hgetall(key) if kind == b"hash" else client.dump(key)) for key, kind in kinds.items()}


FOREIGN = '{"n": 70, "x": {"y": "{"}, "timestamp": "2030-01-01T00:00:00Z"}'
