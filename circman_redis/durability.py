"""Pure: how durable a commit has to be before it counts, and how the server is asked (WAIT, WAITAOF)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from circman_redis.errors import UsageError
from circman_redis.shown import shown

Kind = Literal["none", "replicas", "fsync"]

_TEXT = re.compile(r"none|fsync|replicas:([1-9]\d{0,2})")


@dataclass(frozen=True, slots=True)
class Durability:
    """What a commit is confirmed by.

    Attributes:
        kind: nothing; so many replicas that have it in memory; the master's append-only file, synced to disk.
        replicas: how many of them.
    """

    kind: Kind = "none"
    replicas: int = 0

    @classmethod
    def of(cls, text: object) -> Durability:
        """That which ``none``, ``replicas:N`` or ``fsync`` says.

        Raises:
            UsageError: it says something else.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if not found:
            raise UsageError(f"durability={shown(text)}: use 'none', 'replicas:N' (N from 1 on) or 'fsync'")
        return cls("replicas", int(found[1])) if found[1] else cls("fsync" if text == "fsync" else "none")

    def command(self, seconds: float) -> tuple[str | int, ...]:
        """What waits for the confirmation, for so many seconds at most; 0 would be for ever."""
        milliseconds = max(1, int(seconds * 1000))
        if self.kind == "fsync":
            return "WAITAOF", 1, 0, milliseconds
        return "WAIT", self.replicas, milliseconds

    def is_confirmed(self, reply: object) -> bool:
        """Whether that is what the reply says."""
        if self.kind == "fsync":
            return isinstance(reply, list) and bool(reply) and reply[0] == 1
        return isinstance(reply, int) and reply >= self.replicas

    def missing(self, reply: object) -> str:
        """What a reply that does not confirm it says."""
        if isinstance(reply, Exception):
            return str(reply)
        if self.kind == "fsync":
            return "its append-only file was not synced in time"
        return f"{reply} of {self.replicas} replicas had it in time"


NONE = Durability()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What INFO says of how safe a state is on a server; None where it does not say.

    Attributes:
        eviction: the maxmemory-policy.
        can_fsync: whether it has WAITAOF, and an append-only file to wait for.
        version: its name and version.
        is_node: whether it is a node of a cluster.
    """

    eviction: str | None = None
    can_fsync: bool | None = None
    version: str = "the server"
    is_node: bool = False

    @property
    def may_evict(self) -> bool:
        """Whether keys without a time to live may be evicted: a state is one."""
        return self.eviction is not None and self.eviction.startswith("allkeys")


def read_info(text: str) -> ServerFacts:
    """The facts in what INFO replies."""
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    version = facts.get("redis_version", "0.0")
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {version}"
    known = "aof_enabled" in facts and "redis_version" in facts
    # WAITAOF came with Redis 7.2; Valkey began there, and goes by that number where clients ask for Redis's.
    new_enough = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= (7, 2)
    can_fsync = new_enough and facts["aof_enabled"] == "1" if known else None
    return ServerFacts(facts.get("maxmemory_policy"), can_fsync, name, facts.get("cluster_enabled") == "1")
