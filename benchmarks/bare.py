"""The same commits as update_state makes, sent by a bare redis-py client."""

from __future__ import annotations

import time

import orjson
import redis

from benchmarks.documents import JSONObject
from circman_redis import StateManager, protocol, scripts

Arguments = tuple[protocol.Arg, ...]


class BareCommits:
    """One EVALSHA of commit.lua each: the same keys and bytes, with an id of its own.

    Args:
        client: who sends.
        twin: the twin, which has a state.
    """

    def __init__(self, client: redis.Redis, twin: StateManager) -> None:
        self._client = client
        self._keys = twin.keys
        self._sha = scripts.load("commit").sha
        self._actor = twin.snapshot().actor or ""
        self._model_hash = twin.config.model_hash or ""

    def arguments(self, updates: JSONObject) -> Arguments:
        """What is sent for the updates: how many keys, the keys, and what follows them."""
        call = protocol.commit(
            self._keys,
            "merge",
            [orjson.dumps(updates)],
            commit_id=protocol.new_commit_id(time.time_ns() // 1000),
            actor=self._actor,
            model_hash=self._model_hash,
        )
        return len(call.keys), *call.keys, *call.args

    def send(self, arguments: Arguments) -> object:
        """Commits."""
        return self._client.evalsha(self._sha, *arguments)
