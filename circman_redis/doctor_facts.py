"""What the doctor looks at, read from a server. It writes nothing, and what it may not see it leaves out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from circman_redis import acl, rules
from circman_redis.codec import decode, encode
from circman_redis.connection import Client, Store
from circman_redis.driver import Driver
from circman_redis.keys import TwinKeys
from circman_redis.results import Disagreement
from circman_redis.verify import verify

_SETTINGS = ("save", "appendfsync", "notify-keyspace-events")

# The numbers of the commands, of those in ARGV, that the user may not run.
_MISSING_RIGHTS = """
local missing = {}
for i, command in ipairs(cjson.decode(ARGV[1])) do
  local ok, allowed = pcall(redis.acl_check_cmd, unpack(command))
  if ok and not allowed then missing[#missing + 1] = i end
end
return missing
"""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do.

    Attributes:
        role: the one that it has all rights of; the one that it seems to be meant for, where it lacks some.
        missing: what it lacks, such as ``SET circman:{plant}:state``.
    """

    role: acl.Role = "admin"
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server said of itself.

    Attributes:
        place: the server for messages, without its password.
        latency: seconds for one round trip.
        info: INFO; None where it was refused.
        config: the settings that matter; empty where CONFIG GET was refused.
        user: who we are to the server; None where it would not say.
        rights: what that user may do; None where it cannot be told.
        offset: seconds that the server's clock is ahead of this machine's; None where TIME was refused.
        embedded: whether it is the embedded server.
        prefix: what the twin's keys begin with.
        node: in a cluster, which of its nodes this is: the one that has the twin.
        cluster: CLUSTER INFO; None where it is none, or was refused.
    """

    place: str
    latency: float
    info: Mapping[str, Any] | None
    config: Mapping[str, str]
    user: str | None = "default"
    rights: Rights | None = Rights()
    offset: float | None = None
    embedded: bool = False
    prefix: str = "circman"
    node: str | None = None
    cluster: Mapping[str, str] | None = None


@dataclass(slots=True)
class TwinFacts:
    """What a twin's keys hold.

    Attributes:
        twin: its id.
        version: what meta says; 0 where there is none.
        length: entries in the history.
        disagreements: what `verify` found; where it found something, nothing else was looked at but what expires.
        expiring: keys with a time to live.
        violations: where the state breaks the twin's rules.
    """

    twin: str
    version: int = 0
    length: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    expiring: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def server_name(info: Mapping[str, Any]) -> tuple[str, str]:
    """The server's name and version; those that stand in for Redis name both their own version and Redis'."""
    for name in ("valkey", "dragonfly", "keydb"):
        if f"{name}_version" in info:
            return name.capitalize(), str(info[f"{name}_version"])
    return "Redis", str(info.get("redis_version", "unknown"))


def node_name(client: redis.Redis) -> str:
    """Where a node of a cluster listens."""
    facts = client.connection_pool.connection_kwargs
    return f"{facts.get('host')}:{facts.get('port')}"


def read_server(store: Store, keys: TwinKeys, *, embedded: bool) -> ServerFacts:
    """Asks a server about itself; in a cluster the node that has the twin.

    Raises:
        redis.RedisError: it cannot be reached.
    """
    client = store.server
    _unless_refused(client.ping)  # the first one connects
    before = time.perf_counter()
    _unless_refused(client.ping)
    latency = time.perf_counter() - before
    return ServerFacts(
        place=store.name,
        latency=latency,
        info=_unless_refused(client.info),
        config=_config(client),
        user=_unless_refused(lambda: _text(client.acl_whoami())),
        rights=_rights(client, keys, cluster=store.sharded),
        offset=_unless_refused(lambda: _offset(client)),
        embedded=embedded,
        prefix=keys.prefix,
        node=node_name(client) if store.sharded else None,
        cluster=_unless_refused(lambda: _cluster_info(client)) if store.sharded else None,
    )


def _unless_refused(ask: Any) -> Any:
    try:
        return ask()
    except redis.ResponseError:  # no permission, or no such command
        return None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cluster_info(client: redis.Redis) -> dict[str, str]:
    answer: Any = client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
    if isinstance(answer, dict):
        return answer
    return dict(line.split(":", 1) for line in _text(answer).splitlines() if ":" in line)


def _config(client: redis.Redis) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _SETTINGS:
        answer = _unless_refused(lambda name=name: client.config_get(name))
        found |= {_text(key): _text(value) for key, value in (answer or {}).items()}
    return found


def _offset(client: redis.Redis) -> float:
    before = time.time()
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6 - (before + time.time()) / 2)


# --- rights --------------------------------------------------------------------------------------------------


def _rights(client: Client, keys: TwinKeys, *, cluster: bool) -> Rights | None:
    try:
        lacks = {role: _missing(client, acl.commands(role, keys, cluster=cluster)) for role in acl.ROLES}
    except redis.exceptions.NoPermissionError:
        return Rights("writer", ("EVAL_RO",))
    except redis.ResponseError:  # redis.acl_check_cmd came with Redis 7.0
        return None
    full = [role for role in acl.ROLES if not lacks[role]]
    # Whoever may run scripts that write is not meant to be a reader.
    meant: acl.Role = "reader" if "EVALSHA" in lacks["writer"] else "writer"
    return Rights(meant, lacks[meant]) if lacks[meant] else Rights(full[-1])


def _missing(client: Client, commands: list[tuple[str, ...]]) -> tuple[str, ...]:
    asked = encode([list(one) for one in commands], root="any")
    numbers: Any = client.execute_command("EVAL_RO", _MISSING_RIGHTS, 0, asked)  # type: ignore[no-untyped-call]
    return tuple(dict.fromkeys(_said(commands[number - 1]) for number in numbers))


def _said(command: tuple[str, ...]) -> str:
    name = acl.name_of(command)
    places = [one for one in command[1:] if ":{" in one]
    return f"{name} {' '.join(places[:2])}" if places and not name.startswith("EVAL") else name


# --- the twin ------------------------------------------------------------------------------------------------


def read_twin(store: Store, keys: TwinKeys) -> TwinFacts:
    """Reads all that a twin holds, whoever commits meanwhile.

    Raises:
        redis.RedisError: a read was refused.
        StoreError: the same, or there was no answer any more.
    """
    facts = TwinFacts(keys.twin, disagreements=Driver(store, keys).drive(verify(keys)))
    _read_expiring(store.client, keys, facts)
    if not facts.disagreements:
        _read_state(store.client, keys, facts)
    return facts


def _read_expiring(client: Client, keys: TwinKeys, facts: TwinFacts) -> None:
    names = list(keys.stored.values())
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.pttl(name)
        facts.expiring = [name for name, left in zip(names, pipe.execute(), strict=True) if left >= 0]


def _read_state(client: Client, keys: TwinKeys, facts: TwinFacts) -> None:
    with client.pipeline(transaction=True) as pipe:
        pipe.get(keys.state)
        pipe.hmget(keys.meta, "version", "validation")
        pipe.hgetall(keys.rules)
        pipe.llen(keys.history)
        state, (version, level), published, facts.length = pipe.execute()
    facts.version = int(version or 0)
    if state is not None:
        compiled = {place.decode(): decode(rule) for place, rule in published.items()}
        facts.violations = [str(one) for one in rules.check(decode(state), compiled, (level or b"standard").decode())]
