"""redis-py's optimistic way: WATCH, merge in Python, MULTI / EXEC; again where somebody was faster."""

from __future__ import annotations

from typing import Any

import orjson
import redis

from benchmarks.documents import JSONObject
from benchmarks.rivals import HISTORY, merged


class WatchMultiExec:
    """Neither validated nor safe to send again; orjson keeps the digits that fit a double.

    Args:
        client: of the server.
        name: what its keys begin with.
    """

    name = "WATCH / MULTI / EXEC"

    def __init__(self, client: redis.Redis, key: str = "watch") -> None:
        self._client = client
        self._state, self._history, self._meta, self._events = (
            f"{key}:{part}" for part in ("state", "history", "meta", "events")
        )

    def open(self) -> None:
        """The client connects when it has to."""

    def close(self) -> None:
        """Gives back the connections."""
        self._client.close()

    def put(self, document: JSONObject) -> None:
        """Sets the state."""
        self._client.set(self._state, orjson.dumps(document))

    def apply(self, patch: JSONObject) -> None:
        """Tries until nobody was faster."""
        with self._client.pipeline() as pipeline:
            while not self._try(pipeline, patch):
                pass

    def _try(self, pipeline: Any, patch: JSONObject) -> bool:
        pipeline.watch(self._state)
        before = pipeline.get(self._state)
        after = orjson.dumps(merged(orjson.loads(before), patch))
        pipeline.multi()
        pipeline.lpush(self._history, before)
        pipeline.ltrim(self._history, 0, HISTORY - 1)
        pipeline.set(self._state, after)
        pipeline.hincrby(self._meta, "version", 1)
        pipeline.publish(self._events, orjson.dumps(patch))
        try:
            pipeline.execute()
        except redis.WatchError:
            return False
        return True
