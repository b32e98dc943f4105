"""Pure: what a role may do, as commands that can be tried and as rules of an ACL: the one table of both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, get_args

from circman_redis.errors import UsageError
from circman_redis.keys import DEFAULT_PREFIX, TwinKeys

Role = Literal["reader", "writer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what the ones before it may."""

SCRIPTS: dict[Role, tuple[str, ...]] = {
    "reader": ("lookup", "commits", "past", "resume", "backup", "backup_history"),
    "writer": ("commit", "clear", "fork", "lease"),
    "admin": ("configure", "delete", "restore_begin", "restore_history", "restore", "repair"),
}
"""What each role runs beyond those before it."""

# Each command once, as it may be tried: @ is the key of the twin, by the name of its part.
_COMMANDS: dict[Role, tuple[str, ...]] = {
    "reader": (
        *("PING", "TIME", "SCRIPT LOAD text", "EVALSHA_RO sha 1 @state", "EVAL_RO text 1 @state"),
        *("GET @state", "EXISTS @state", "TYPE @state", "PTTL @state", "GET @schema", "HGETALL @rules"),
        *("HGET @meta field", "HMGET @meta field"),
        *("LLEN @history", "LINDEX @history 0", "LRANGE @history 0 1", "MGET @presence"),
        *("ZRANGE @times 0 1", "ZREVRANGEBYSCORE @times 1 -inf", "SUBSCRIBE @events"),
    ),
    "writer": (
        *("EVALSHA sha 1 @state", "EVAL text 1 @state", "INFO cluster", "WAIT 1 1"),
        *("HMGET @rules field", "HGET @ids id", "HGET @old_ids id", "EXISTS @ids"),
        *("HGET @leases role", "HSET @leases role text", "SET @presence text PX 1", "UNLINK @presence"),
        *("SET @state text", "HSET @meta field text", "LPUSH @history text", "LTRIM @history 0 1"),
        *("HSET @ids id text", "RENAME @ids @old_ids", "UNLINK @history @old_ids"),
        *("ZADD @times 1 1", "ZREMRANGEBYSCORE @times 1 +inf", "ZREMRANGEBYRANK @times 0 0", "PUBLISH @events text"),
    ),
    "admin": (
        *("HLEN @rules", "STRLEN @schema", "HSET @rules place text", "SET @schema text"),
        *("SCAN 0", "UNLINK @state @history @meta @rules @schema @ids @old_ids @times @leases @origin"),
        *("HSET @restore field text", "RPUSH @restore_history text", "ZADD @restore_times 1 1"),
        *("RENAME @restore_history @history", "PERSIST @history", "PEXPIRE @restore 1", "UNLINK @restore"),
        *("COPY @state @restore", "ZCARD @times"),  # what a repair keeps of what it found, and how it knows it again
    ),
}
_IN_A_CLUSTER: dict[Role, tuple[str, ...]] = {
    "reader": ("SSUBSCRIBE @events", "CLUSTER SLOTS", "CLUSTER SHARDS", "COMMAND", "READONLY", "ASKING"),
    "writer": ("SPUBLISH @events text",),
    "admin": (),
}
# What nothing depends on: without it, `info`, `doctor` and `twins` see less.
_TO_LOOK_AROUND = (
    *("ACL WHOAMI", "CONFIG GET save", "MEMORY USAGE @state"),
    *("PUBSUB NUMSUB @events", "PUBSUB SHARDNUMSUB @events"),
)
_OF_CONTAINERS = {"ACL", "CLUSTER", "CONFIG", "MEMORY", "PUBSUB", "SCRIPT"}

# Every key that a call declares has to be open for writing, as EVALSHA does not say which are only read.
_WRITTEN = ("state", "history", "meta", "rules", "ids", "ids:old", "times", "leases", "worker:*", "events")
_WRITTEN_OF_BRANCHES = (*_WRITTEN, "schema", "origin")

_USER = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")


def commands(role: Role, keys: TwinKeys, *, cluster: bool = False) -> list[tuple[str, ...]]:
    """Every command that a role sends, or a script runs for it, on a twin's keys.

    Args:
        role: who.
        keys: the twin's.
        cluster: whether the server is a node of a cluster.
    """
    texts = [text for one in _up_to(role) for text in (*_COMMANDS[one], *(_IN_A_CLUSTER[one] if cluster else ()))]
    return [tuple(_filled_in(text, keys)) for text in texts]


def name_of(command: tuple[str, ...]) -> str:
    """What a command is called, with its subcommand where it has some: ``SCRIPT LOAD``."""
    return " ".join(command[:2]) if command[0] in _OF_CONTAINERS else command[0]


def rules(
    role: Role, prefix: str = DEFAULT_PREFIX, twin: str | None = None, *, cluster: bool = False, fsync: bool = False
) -> list[str]:
    """The rules that give a user this role and nothing else; arguments and errors are those of `grants`."""
    return ["resetkeys", "resetchannels", "-@all", *grants(role, prefix, twin, cluster=cluster, fsync=fsync)]


def grants(
    role: Role, prefix: str = DEFAULT_PREFIX, twin: str | None = None, *, cluster: bool = False, fsync: bool = False
) -> list[str]:
    """The rules that give a user what a role needs, beside what it has.

    Args:
        role: what for.
        prefix: what the twins' keys begin with.
        twin: which twin, with its branches, or which branch; None for all under the prefix.
        cluster: in a cluster: more of them.
        fsync: commits may wait for the disk (WAITAOF, which Redis has from 7.2 on, and Valkey).

    Raises:
        UsageError: a twin id or a prefix that cannot be one.
    """
    keys = TwinKeys("any" if twin is None else twin, prefix)
    tried = [*commands(role, keys, cluster=cluster), *_around(role, keys)]
    names = dict.fromkeys(name_of(command) for command in tried)
    if fsync and role != "reader":
        names["WAITAOF"] = None
    allowed = [f"+{name.lower().replace(' ', '|')}" for name in names]
    # The braces of a hash tag mean nothing to the server's patterns, and an id has none of the characters that do.
    base = f"{prefix}:{{*}}" if twin is None else keys.state.removesuffix(":state")
    places = [f"{base}:"] if "@" in keys.twin else [f"{base}:", f"{base}@*:"]  # with its branches
    channels = [channel for place in places for channel in (f"&{place}events", f"&__keyspace@*__:{place}state")]
    return [*(pattern for place in places for pattern in _patterns(role, place)), *channels, *allowed]


def line(user: str, given: list[str], password: str | None = None, *, acl_file: bool = False) -> str:
    """The line that makes the user: for ``redis-cli``, or for a server's ACL file.

    Args:
        user: its name.
        given: the rules.
        password: the SHA-256 of its password, in hex digits; None for one that is given to it some other way.
        acl_file: for the file.

    Raises:
        UsageError: a name that would not be one word there.
    """
    if not _USER.fullmatch(user):
        raise UsageError(f"user {user!r}: use 1 to 128 of A-Z a-z 0-9 _ . : @ -")
    secret = [f"#{password}"] if password else []
    return " ".join([*(("user",) if acl_file else ("ACL", "SETUSER")), user, "on", *secret, *given])


def _up_to(role: Role) -> tuple[Role, ...]:
    return ROLES[: ROLES.index(role) + 1]


def _filled_in(text: str, keys: TwinKeys) -> Iterator[str]:
    for word in text.split():
        yield _key(keys, word[1:]) if word.startswith("@") else word


def _key(keys: TwinKeys, part: str) -> str:
    return keys.worker("any") if part == "presence" else str(getattr(keys, part))


def _around(role: Role, keys: TwinKeys) -> list[tuple[str, ...]]:
    return [tuple(_filled_in(text, keys)) for text in _TO_LOOK_AROUND] if role == "admin" else []


def _patterns(role: Role, place: str) -> list[str]:
    if role == "admin":
        return [f"~{place}*"]
    written = _WRITTEN_OF_BRANCHES if "@" in place else _WRITTEN
    return [f"%R~{place}*", *(f"~{place}{part}" for part in (written if role == "writer" else ()))]
