"""What is wrong with a server, in words: pure, from facts that ``doctor_facts.py`` reads.

A finding is a problem where the twin cannot be used or its data can be lost without anybody's doing, a warning
where something works less well than it could, or could not be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import redis

from circman_redis import acl
from circman_redis.doctor_facts import ServerFacts, TwinFacts, server_name
from circman_redis.results import Disagreement
from circman_redis.upstream import said

Level = Literal["ok", "warning", "problem"]

OLDEST = (7, 0)
_MOST_OFFSET = 1.0  # seconds
_SLOW = 0.05  # seconds for one round trip
_NEARLY_FULL = 0.9
_CLASSES = "$lhg"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``ok``, ``warning`` or ``problem``.
        about: what was looked at, in a word.
        says: what was found.
        advice: what to do; empty where there is nothing to do.
    """

    level: Level
    about: str
    says: str
    advice: str = ""


def unreachable(place: str, error: redis.RedisError) -> Finding:
    """The finding where a server gave no answer at all."""
    if isinstance(error, redis.AuthenticationError):
        advice = "put them into the URL: redis://user:password@host:6379/0"
        return Finding("problem", "reach", f"{place} refuses the user or the password: {error}", advice)
    if isinstance(error, redis.BusyLoadingError):
        return Finding("problem", "reach", f"{place} is still reading its data", "wait, and look again")
    advice = "is it running, and is the address right? pass another with --url or CIRCMAN_REDIS_URL"
    return Finding("problem", "reach", f"cannot reach {place}: {said(error)}", advice)


def server_findings(facts: ServerFacts) -> list[Finding]:
    """What the facts say of a server that answers."""
    checks = (_reach, _version, _cluster, _role, _persistence, _eviction, _notifications, _rights, _clock)
    return [finding for check in checks for finding in check(facts)]


def _reach(facts: ServerFacts) -> Iterator[Finding]:
    says = f"{facts.place} answers in {facts.latency * 1000:.1f} ms"
    if facts.latency > _SLOW:
        yield Finding("warning", "reach", says, "every commit waits for one round trip: move closer to the server")
    else:
        yield Finding("ok", "reach", says)


def _version(facts: ServerFacts) -> Iterator[Finding]:
    if facts.info is None:
        yield Finding("warning", "version", "this user may not ask for INFO: could not look", "allow +info")
        return
    name, version = server_name(facts.info)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        yield Finding("problem", "version", f"{name} {version} is too old", "use Redis 7.0 or newer, or Valkey")
    else:
        yield Finding("ok", "version", f"{name} {version}")


def _cluster(facts: ServerFacts) -> Iterator[Finding]:
    info = facts.info or {}
    if facts.node is None:
        if info.get("redis_mode") == "cluster" or info.get("cluster_enabled"):
            says = "this is one node of a cluster, which serves its own slots only; events do not come this way"
            yield Finding("problem", "cluster", says, "name the cluster: redis+cluster://host:port,host:port")
        return
    said = facts.cluster or {}
    if said.get("cluster_state", "ok") != "ok":
        served = said.get("cluster_slots_ok", "?")
        says = f"the cluster is down: {served} of 16384 slots are served"
        yield Finding("problem", "cluster", says, "CLUSTER NODES says which node is gone: start it again")
    replicas = info.get("connected_slaves")
    if replicas == 0:
        says = f"the twin is on {facts.node}, which has no replica: without that node nobody reaches it"
        yield Finding("warning", "cluster", says, "give each master a replica")
    else:
        count = "an unknown number of" if replicas is None else replicas
        yield Finding("ok", "cluster", f"the twin is on {facts.node}, with {count} replica{'s' * (replicas != 1)}")


def _role(facts: ServerFacts) -> Iterator[Finding]:
    info = facts.info or {}
    if info.get("role") == "slave":
        master = f"{info.get('master_host')}:{info.get('master_port')}"
        yield Finding("problem", "role", "this is a replica: it refuses every commit", f"use its primary, {master}")


def _persistence(facts: ServerFacts) -> Iterator[Finding]:
    if facts.info is None:
        return
    if facts.info.get("aof_last_write_status", "ok") != "ok" and facts.info.get("aof_enabled"):
        yield Finding("problem", "persistence", "the append-only file cannot be written", "look at the server's disk")
    elif facts.info.get("rdb_last_bgsave_status", "ok") != "ok":
        says = "the last snapshot failed, and the server may refuse commits for it"
        yield Finding("problem", "persistence", says, "look at the server's disk and log")
    yield _log_file(facts) if facts.info.get("aof_enabled") else _snapshots(facts)


def _log_file(facts: ServerFacts) -> Finding:
    if facts.embedded:
        says = "an append-only file, synced every second: a power cut can cost the last one"
        return Finding("ok", "persistence", says)
    fsync = facts.config.get("appendfsync")
    if fsync is None:
        return Finding("ok", "persistence", "an append-only file (how often it is synced could not be seen)")
    if fsync == "always":
        return Finding("ok", "persistence", "an append-only file, synced before each answer")
    if fsync == "everysec":
        return Finding(
            "ok", "persistence", "an append-only file, synced every second: a power cut can cost the last one"
        )
    says = "an append-only file that is synced when the system likes: a power cut can cost some 30 seconds"
    return Finding("warning", "persistence", says, "CONFIG SET appendfsync everysec")


def _snapshots(facts: ServerFacts) -> Finding:
    save = facts.config.get("save")
    advice = "CONFIG SET appendonly yes (and appendonly yes in the server's configuration)"
    if save is None:
        says = "no append-only file, and whether there are snapshots could not be seen"
    elif save:
        says = f"snapshots only (save {save}): a crash loses all commits since the last one"
    else:
        says = "nothing is written to disk: when the server ends, every state, history and model is lost"
    return Finding("warning", "persistence", says, advice)


def _eviction(facts: ServerFacts) -> Iterator[Finding]:
    if facts.info is None:
        return
    limit, used = int(facts.info.get("maxmemory", 0)), int(facts.info.get("used_memory", 0))
    policy = str(facts.info.get("maxmemory_policy", "noeviction"))
    if not limit:
        risky = policy.startswith("allkeys")
        says = "no memory limit, so no state is dropped" + (f" (but {policy} would, with one)" if risky else "")
        yield Finding("ok", "eviction", says)
    elif policy.startswith("allkeys"):
        says = f"maxmemory-policy {policy}: a full server drops states and histories without a word"
        yield Finding("problem", "eviction", says, "CONFIG SET maxmemory-policy noeviction")
    else:
        kept = "" if policy == "noeviction" else ", and drops only keys that expire, which a twin's do not"
        yield Finding("ok", "eviction", f"maxmemory-policy {policy}: a full server refuses commits{kept}")
    if limit and used > _NEARLY_FULL * limit:
        says = f"{used / limit:.0%} of maxmemory ({limit:,} bytes) is used: soon commits are refused"
        yield Finding("warning", "memory", says, "raise maxmemory, or shorten the histories")


def _notifications(facts: ServerFacts) -> Iterator[Finding]:
    flags = facts.config.get("notify-keyspace-events")
    if flags is None:
        says = "this user may not ask for CONFIG: could not look"
        yield Finding("warning", "notifications", says, "allow +config|get, or look on the server itself")
        return
    missing = "" if "A" in flags else "".join(one for one in _CLASSES if one not in flags)
    missing = ("" if "K" in flags else "K") + missing
    if missing:
        says = f"keyspace notifications lack {missing}: programs that rely on them miss commits"
        yield Finding("warning", "notifications", says, f"CONFIG SET notify-keyspace-events {_with(flags, missing)}")
    else:
        yield Finding("ok", "notifications", f"keyspace notifications are on ({flags})")


def _with(flags: str, missing: str) -> str:
    return missing + "".join(one for one in flags if one not in missing)


_MAY = {
    "reader": "may read, and not commit",
    "writer": "may read and commit; not publish a model, change settings, delete or restore",
    "admin": "may do all that is needed",
}


def _rights(facts: ServerFacts) -> Iterator[Finding]:
    user, found = facts.user or "<user>", facts.rights
    if found is None:
        yield Finding("warning", "rights", "the server cannot tell what this user may do", "")
    elif found.missing:
        says = f"user {user!r} may not: {', '.join(found.missing)}"
        advice = " ".join(["ACL SETUSER", user, *acl.grants(found.role, facts.prefix)])
        yield Finding("problem", "rights", says, advice)
    else:
        yield Finding("ok", "rights", f"user {user!r} {_MAY[found.role]}")


def _clock(facts: ServerFacts) -> Iterator[Finding]:
    if facts.offset is None:
        return
    if abs(facts.offset) > _MOST_OFFSET:
        way = "ahead of" if facts.offset > 0 else "behind"
        says = f"the server's clock is {abs(facts.offset):.1f} s {way} this machine's; it stamps the commits"
        yield Finding("warning", "clock", says, "let both follow NTP")
    else:
        yield Finding("ok", "clock", f"within {max(abs(facts.offset), 0.001):.3f} s of this machine's")


# --- the twin ------------------------------------------------------------------------------------------------


def twin_findings(facts: TwinFacts) -> list[Finding]:
    """Whether the twin's keys agree with each other."""
    found = [Finding("problem", "twin", str(one), _advice(one)) for one in facts.disagreements[:_MOST]]
    more = len(facts.disagreements) - _MOST
    if more > 0:
        found.append(
            Finding("problem", "twin", f"and {more:,} more of that kind", "StateManager.verify() has them all")
        )
    found += [
        Finding("problem", "twin", f"{key} expires: the twin will break", f"PERSIST {key}") for key in facts.expiring
    ]
    found += [
        Finding("warning", "twin", f"its own model refuses the state: {one}", _BY_FORCE) for one in facts.violations
    ]
    if found:
        return found
    if not facts.version:
        return [Finding("ok", "twin", f"{facts.twin!r} has no state yet")]
    says = f"{facts.twin!r} is at version {facts.version}; state, meta and {facts.length:,} past states agree"
    return [Finding("ok", "twin", says)]


_MOST = 10  # disagreements that are shown
_BY_FORCE = "commit a state that fits; a model published with --force does not check what was there"
_RESTORE = "find out what writes there; circman-redis repair says what can be done about it, and --yes does it"

_ADVICE_ON = {  # what is wrong with the key as such, by what is said of it
    ", not a ": "RENAME that key, or remove it where nobody needs it",
    "over its length": "set history_length again: that trims it",
    "is left over": "circman-redis delete: it removes what is left",
}
_ADVICE_FOR = {
    "history": "do not trust those past states; circman-redis clear-history drops them, and keeps the state",
    "times": "circman-redis clear-history: it makes the times anew, and keeps the state",
}


def _advice(one: Disagreement) -> str:
    for words, advice in _ADVICE_ON.items():
        if words in one.says:
            return advice
    return _ADVICE_FOR.get(one.key.rsplit(":", 1)[1], _RESTORE)


def as_json(finding: Finding) -> dict[str, Any]:
    """The finding as a JSON object; the advice only where there is some."""
    said = {"level": finding.level, "about": finding.about, "says": finding.says}
    return said | ({"advice": finding.advice} if finding.advice else {})
