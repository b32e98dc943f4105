"""A merge in Lua by way of cjson: the speed that people expect. It loses data (see cjson_merge.lua)."""

from __future__ import annotations

from pathlib import Path

import orjson
import redis

from benchmarks.documents import JSONObject
from benchmarks.rivals import HISTORY

SCRIPT = Path(__file__).with_name("cjson_merge.lua")
_KEYS = tuple(f"cjson:{part}" for part in ("state", "history", "meta", "events"))


class CjsonMerge:
    """One EVALSHA per patch.

    Args:
        client: of the server.
    """

    name = "cjson merge"

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._script = client.register_script(SCRIPT.read_text(encoding="utf-8"))

    def open(self) -> None:
        """The client connects when it has to."""

    def close(self) -> None:
        """Gives back the connections."""
        self._client.close()

    def put(self, document: JSONObject) -> None:
        """Sets the state."""
        self._client.set(_KEYS[0], orjson.dumps(document))

    def apply(self, patch: JSONObject) -> None:
        """Merges, and appends, in the script."""
        self._script(keys=_KEYS, args=(orjson.dumps(patch), HISTORY))
