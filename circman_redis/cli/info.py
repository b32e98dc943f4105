"""info: the server and the twin at a glance. What the user may not ask is null, and the rest is told."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click
import redis

from circman_redis import protocol
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import emit_facts, emit_value, on_terminal
from circman_redis.cli._session import Session, explained
from circman_redis.codec import decode
from circman_redis.doctor_facts import node_name, server_name
from circman_redis.errors import InvalidJSON
from circman_redis.results import Snapshot
from circman_redis.timestamps import microseconds, parse_timestamp

_PINGS = 5


@click.command("info", epilog=example("circman-redis info --twin plant"))
@connected
def info_command(target: Target) -> None:
    """Facts at a glance: the server and the twin."""
    with target.session() as session:
        info = _info(session)
        facts = {"server": _server_facts(session, info), "twin": _twin_facts(session, info)}
    if not on_terminal():
        emit_value(facts)
        return
    for part, found in facts.items():
        emit_facts(part, found)


def _info(session: Session) -> Mapping[str, Any]:
    return _unless_refused(session, session.server.info) or {}


def _unless_refused(session: Session, ask: Callable[[], Any]) -> Any:
    """What the server answers; None where it refuses: no right to ask, or a key of another type."""
    with explained(session.store):
        try:
            return ask()
        except redis.ResponseError:
            return None


# --- the server ----------------------------------------------------------------------------------------------


def _server_facts(session: Session, info: Mapping[str, Any]) -> dict[str, Any]:
    name, version = server_name(info) if info else (None, None)
    on = info.get("aof_enabled")
    return {
        "url": session.store.name,
        **({"node": node_name(session.server)} if session.store.sharded else {}),
        "name": name,
        "version": version,
        "latency_ms": _latency(session),
        "memory": info.get("used_memory_human"),
        "clients": info.get("connected_clients"),
        "role": info.get("role"),
        "replicas": info.get("connected_slaves"),
        "append_only_file": None if on is None else bool(on),
        "append_only_file_status": info.get("aof_last_write_status") if on else None,
        "snapshot_status": info.get("rdb_last_bgsave_status"),
        "memory_bytes": info.get("used_memory"),
        "maxmemory": info.get("maxmemory"),
        "maxmemory_policy": info.get("maxmemory_policy"),
    }


def _latency(session: Session) -> float | None:
    """The median of some PINGs, in milliseconds."""
    waits = [_unless_refused(session, lambda: _seconds_of_a_ping(session)) for _ in range(_PINGS)]
    return None if None in waits else round(statistics.median(waits) * 1000, 3)


def _seconds_of_a_ping(session: Session) -> float:
    before = time.perf_counter()
    session.server.ping()
    return time.perf_counter() - before


# --- the twin ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rate:
    """Commits per second, from the oldest one that the history keeps until now."""

    per_second: float | None = None
    since: str | None = None


def _twin_facts(session: Session, info: Mapping[str, Any]) -> dict[str, Any]:
    keys = session.keys
    config = session.run(protocol.config(keys))
    head = session.run(protocol.snapshot(keys))
    size, calls = session.run(protocol.Call("HMGET", (keys.meta,), ("bytes", "calls"), lambda reply: reply))
    rate = _rate(session, head, info)
    return {
        "twin": keys.twin,
        "version": head.version,
        "epoch": head.epoch or None,
        "model": config.model,
        "model_hash": config.model_hash,
        "validation": config.validation,
        "checks": config.checks,
        "history": session.run(protocol.history_size(keys)),
        "history_length": config.history_length,
        "history_form": config.history,
        "bytes": int(size or 0),
        "max_bytes": config.max_bytes,
        "timestamp": head.timestamp,
        "committed_at": head.committed_at,
        "op": head.op,
        "actor": head.actor,
        "calls": int(calls or 0),
        "commits_per_second": rate.per_second,
        "commits_since": rate.since,
        "ids": _sum(_entries(session, key) for key in _id_keys(session)),
        "subscribers": _unless_refused(session, lambda: _subscribers(session, info)),
        "memory_state": _memory(session, keys.state),
        "memory_history": _memory(session, keys.history),
        "memory_ids": _sum(_memory(session, key) for key in _id_keys(session)),
    }


def _id_keys(session: Session) -> tuple[str, str]:
    return session.keys.ids, session.keys.old_ids


def _sum(numbers: Any) -> int | None:
    found = list(numbers)
    return None if None in found else sum(found)


def _entries(session: Session, key: str) -> int | None:
    found: int | None = _unless_refused(session, lambda: session.client.hlen(key))
    return found


def _memory(session: Session, key: str) -> int | None:
    """Bytes that a key takes, by the server's own estimate; 0 where there is none."""

    def ask() -> int:
        return session.client.memory_usage(key) or 0

    found: int | None = _unless_refused(session, ask)
    return found


def _subscribers(session: Session, info: Mapping[str, Any]) -> int:
    """Connections that listen to the twin's channel, on this server; sharded in a cluster."""
    ask = "SHARDNUMSUB" if info.get("cluster_enabled") else "NUMSUB"
    found: Any = session.server.execute_command(f"PUBSUB {ask}", session.keys.events)  # type: ignore[no-untyped-call]
    return int(found[0][1] if isinstance(found[0], list | tuple) else found[1])


def _rate(session: Session, head: Snapshot, info: Mapping[str, Any]) -> _Rate:
    oldest = _unless_refused(session, lambda: session.client.lindex(session.keys.history, -1))
    now = info.get("server_time_usec")  # the clock that made committed_at
    if oldest is None or now is None:
        return _Rate()
    try:
        entry = decode(oldest)
        version, since = int(entry["version"]), str(entry["committed_at"])
        seconds = (int(now) - microseconds(parse_timestamp(since))) / 1e6
    except (InvalidJSON, KeyError, TypeError, ValueError):
        return _Rate()  # no entry of ours: `doctor` says so
    return _Rate(round((head.version - version) / seconds, 3) if seconds > 0 else None, since)
