"""A rival under load: patch after patch, each another one."""

from __future__ import annotations

import time
from dataclasses import dataclass

import redis

from benchmarks.documents import JSONObject, Patch
from benchmarks.rivals import Rival


@dataclass
class Load:
    """A rival, and the patches that it is given.

    Attributes:
        rival: an open one.
        patch: the i-th patch.
        done: how many it was given.
    """

    rival: Rival
    patch: Patch
    done: int = 0

    def run(self, calls: int) -> float:
        """Applies so many patches; microseconds for each, end to end."""
        patches = self._next(calls)
        begun = time.perf_counter()
        for patch in patches:
            self.rival.apply(patch)
        return (time.perf_counter() - begun) / calls * 1e6

    def run_on_server(self, calls: int, client: redis.Redis) -> float:
        """The same; microseconds that the server spent in the script for each (INFO commandstats)."""
        client.config_resetstat()
        self.run(calls)
        stats = client.info("commandstats")["cmdstat_evalsha"]
        assert stats["calls"] == calls, stats
        return float(stats["usec_per_call"])

    def _next(self, calls: int) -> list[JSONObject]:
        self.done += calls
        return [self.patch(i) for i in range(self.done - calls, self.done)]
