"""Pure: what is wanted becomes a Call, a reply becomes a value; ``refusals.py`` has the errors.

Nothing here talks to Redis; ``lua/README.md`` has the other side of each call.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from circman_redis import errors, refusals
from circman_redis.codec import decode, decode_exactly, encode
from circman_redis.durability import NONE, Durability, ServerFacts, read_info
from circman_redis.keys import TwinKeys
from circman_redis.results import Commit, HistoryEntry, Page, Snapshot, State, StoredConfig
from circman_redis.rules import CompiledModel

T = TypeVar("T")
Arg = str | bytes | int

AGE, FIRST_BODY = 5, 7  # where commit.lua has the age, and the first of its bodies, in ARGV, counted from 0

_FAR = 2**53
"""Further than any list in Redis reaches."""

OPS = ("set", "import", "merge", "adjust", "external")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One round trip.

    Attributes:
        target: a script's name (lower case), or a Redis command (upper case).
        keys: KEYS of the script, or the keys of the command.
        args: ARGV of the script, or what follows the keys.
        parse: makes the value from the reply.
        commit_id: set where the call commits.
        durability: what the commit waits for.
        is_reading: whether it is a script that only reads: EVALSHA_RO, which replicas and readers may do.
    """

    target: str
    keys: tuple[str, ...]
    args: tuple[Arg, ...]
    parse: Callable[[Any], T]
    commit_id: str | None = None
    durability: Durability = NONE
    is_reading: bool = False


def new_commit_id(known: int = 0) -> str:
    """A commit id that nobody else makes: 72 random bits, and when it was made.

    Args:
        known: when the newest commit was made that the maker knows of, in microseconds by the server's clock: so a
            retry that comes after its id was forgotten is refused, whoever sends it.
    """
    return f"c.{known:013x}.{secrets.token_urlsafe(9)}"


def undated_commit_id() -> str:
    """The same, but saying nothing of when it was made."""
    return secrets.token_urlsafe(12)


# --- calls -------------------------------------------------------------------------------------------------


def commit(
    keys: TwinKeys,
    op: str,
    bodies: Sequence[bytes],
    *,
    commit_id: str,
    expected_version: int | None = None,
    expected_position: str = "",
    actor: str = "",
    model_hash: str = "",
    age_ms: int = 0,
    fence: str = "",
    durability: Durability = NONE,
) -> Call[list[Commit]]:
    """One commit per body, all or none (commit.lua).

    Args:
        keys: the twin's.
        op: one of OPS.
        bodies: JSON objects: states, merge patches, or pointers with what to add.
        commit_id: repeated, the call returns what the first one committed.
        expected_version: refused where the twin has another; 0 for no state yet.
        expected_position: in the place of the version: refused where the twin was made again, or set back, since.
        actor: who commits.
        model_hash: the model that the caller goes by; empty for whatever the twin has.
        age_ms: milliseconds since the call was first sent.
        fence: ``role:token``: refused where somebody else was given the role since.
        durability: what it waits for.
    """
    expected = expected_position or ("" if expected_version is None else str(expected_version))
    return Call(
        "commit",
        (*keys.committed, keys.leases, keys.events),
        (op, expected, commit_id, actor, model_hash, age_ms, fence, *bodies),
        _parse_commits,
        commit_id,
        durability,
    )


def sent_again(call: Call[T], age_ms: int) -> Call[T]:
    """A commit's call as it is sent again, ``age_ms`` milliseconds after it first was."""
    return replace(call, args=(*call.args[:AGE], age_ms, *call.args[AGE + 1 :]))


def opening(keys: TwinKeys) -> Call[tuple[StoredConfig, int]]:
    """The twin's settings, and when its newest commit was made, in microseconds; 0 before the first (HMGET)."""
    fields = (*_CONFIG_FIELDS, "committed")
    return Call("HMGET", (keys.meta,), fields, lambda reply: (_parse_config(reply[:-1]), int(reply[-1] or 0)))


def current_state(keys: TwinKeys) -> Call[State]:
    """The current state, empty where there is none (GET)."""
    return Call("GET", (keys.state,), (), lambda reply: _object(decode(reply)) if reply is not None else {})


def exact_state(keys: TwinKeys) -> Call[State]:
    """The current state with numbers that keep their digits (`codec.Digits`), empty where there is none (GET)."""
    return Call("GET", (keys.state,), (), lambda reply: _object(decode_exactly(reply)) if reply is not None else {})


def state_text(keys: TwinKeys) -> Call[bytes]:
    """The current state as it is stored (GET)."""
    return Call("GET", (keys.state,), (), lambda reply: _some_state(reply, keys))


def raw_state(keys: TwinKeys) -> Call[bytes | None]:
    """Whatever stands under the state key (GET); None where nothing does."""
    return Call("GET", (keys.state,), (), lambda reply: reply)


def server_facts() -> Call[ServerFacts]:
    """How safe a state is on the server (INFO)."""
    return Call("INFO", (), (), lambda reply: read_info(reply.decode() if isinstance(reply, bytes) else str(reply)))


def notifications() -> Call[str]:
    """Which keyspace notifications the server makes (CONFIG GET notify-keyspace-events)."""
    return Call("CONFIG", ("GET",), ("notify-keyspace-events",), _parse_notifications)


def snapshot(keys: TwinKeys, read_from: str = "master") -> Call[Snapshot]:
    """The current state with its facts (lookup.lua), and who is asked for them."""
    nothing = Snapshot({}, read_from=read_from)
    return _lookup(keys, "head", "", lambda epoch, text: _snapshot(epoch, decode(text), read_from), nothing)


def at_version(keys: TwinKeys, version: int) -> Call[State | None]:
    """The state at ``version`` (lookup.lua)."""
    return _lookup(keys, "version", version, _state_of, None)


def commit_at(keys: TwinKeys, version: int) -> Call[State | None]:
    """The facts of the commit that made ``version``, with its state and the twin's epoch (lookup.lua)."""
    return _lookup(keys, "version", version, lambda epoch, text: _facts(text) | {"epoch": epoch}, None)


def at_time(keys: TwinKeys, timestamp: str) -> Call[State | None]:
    """The newest state whose own timestamp is not after ``timestamp``, ISO 8601 (lookup.lua)."""
    return _lookup(keys, "time", timestamp, _state_of, None)


def commits(keys: TwinKeys, limit: int | None, before: int | None) -> Call[list[HistoryEntry]]:
    """At most ``limit`` commits below version ``before``, newest first, the head included (commits.lua)."""
    return Call(
        "commits",
        (keys.state, keys.history, keys.meta),
        ("" if before is None else before, "" if limit is None else limit),
        lambda reply: [HistoryEntry(**decode(text)) for text in reply[1:]],
        is_reading=True,
    )


def resume(keys: TwinKeys, last: int | None, *, state_known: bool) -> Call[Page | None]:
    """What came after version ``last``, oldest first, as much as one reply carries (resume.lua).

    Args:
        keys: the twin's.
        last: the last version known; None for the newest commit alone.
        state_known: whether the state at that version is known too.
    """
    return Call(
        "resume",
        (keys.state, keys.history, keys.meta),
        ("" if last is None else last, int(state_known)),
        lambda reply: _parse_page(reply, keys),
        is_reading=True,
    )


def history(keys: TwinKeys, start: int, stop: int) -> Call[list[State] | None]:
    """The past states from index ``start`` to ``stop``, both included, 0 the newest; oldest first (LRANGE).

    None where an entry among them is compact: it takes `past` to read it.
    """
    return Call("LRANGE", (keys.history,), _places(start, stop), _parse_history)


def past(keys: TwinKeys, start: int, stop: int) -> Call[list[State]]:
    """The same, whichever form the entries have (past.lua). On full ones it costs the server five times as much."""
    return Call(
        "past",
        (keys.state, keys.history, keys.meta),
        _places(start, stop),
        lambda reply: [_entry_state(one) for one in reversed(reply)],
        is_reading=True,
    )


def history_size(keys: TwinKeys) -> Call[int]:
    """How many past states there are (LLEN)."""
    return Call("LLEN", (keys.history,), (), int)


def config(keys: TwinKeys) -> Call[StoredConfig]:
    """The twin's settings (HMGET)."""
    return Call("HMGET", (keys.meta,), tuple(_CONFIG_FIELDS), _parse_config)


def published_rules(keys: TwinKeys) -> Call[Mapping[str, Any]]:
    """The published rules: JSON Pointer pattern -> rule (HGETALL)."""
    return Call("HGETALL", (keys.rules,), (), _parse_rules)


def published_schema(keys: TwinKeys) -> Call[Any]:
    """The published model's JSON Schema, None where there is none (GET)."""
    return Call("GET", (keys.schema,), (), lambda reply: decode(reply) if reply else None)


def configure(
    keys: TwinKeys, mode: str, settings: Mapping[str, int | str], model: CompiledModel | None, validation: str
) -> Call[bool]:
    """Publishes a model, changes settings (configure.lua). True where the model was published.

    Args:
        keys: the twin's.
        mode: adopt, publish or force.
        settings: any of history_length, max_bytes, auto_timestamp, history.
        model: None to leave the model as it is.
        validation: the level that goes with the model.
    """
    model_args: tuple[Arg, ...] = ("", "", "")
    if model is not None:
        facts = {
            "model": model.name,
            "model_hash": model.hash,
            "checks": model.checks(validation),
            "validation": validation,
        }
        model_args = (encode(facts), encode(model.rules), encode(model.schema))
    return Call(
        "configure",
        (keys.state, keys.history, keys.meta, keys.rules, keys.schema),
        (mode, encode(dict(settings)), *model_args),
        bool,
    )


def fork(
    keys: TwinKeys, branch: TwinKeys, version: int | None, *, commit_id: str, actor: str = "", schema: Any = None
) -> Call[list[Commit]]:
    """Makes a branch of a twin (fork.lua); its first commit, alone in a list.

    Args:
        keys: the twin's.
        branch: the branch's.
        version: what to begin with; None for the newest.
        commit_id: repeated, the call returns what the first one made.
        actor: who forks.
        schema: the published model's JSON Schema; None for none.
    """
    new = (branch.state, branch.history, branch.meta, branch.rules, branch.schema, branch.ids, branch.old_ids)
    return Call(
        "fork",
        (*(keys.state, keys.history, keys.meta, keys.rules), *new, branch.times, branch.origin, branch.events),
        ("" if version is None else version, commit_id, actor, encode(schema) if schema else ""),
        _parse_commits,
    )


def origin(keys: TwinKeys) -> Call[State | None]:
    """What a branch began with: twin, epoch, version, committed_at and state; None for what is no branch (GET)."""
    return Call("GET", (keys.origin,), (), lambda reply: _object(decode(reply)) if reply is not None else None)


def lease(
    keys: TwinKeys, action: str, role: str, holder: str, *, milliseconds: int = 1, token: str = ""
) -> Call[tuple[bool, str, str, int]]:
    """Takes, keeps or releases a role that one worker at a time has (lease.lua).

    Args:
        keys: the twin's.
        action: take, keep or release.
        role: which.
        holder: the worker.
        milliseconds: for how long, to take or to keep it.
        token: what the holder was given; empty to take.

    Returns:
        A call for: whether it was done; the token, the holder and the end (microseconds by the server's clock) of the
        lease that there is.
    """
    return Call(
        "lease",
        (keys.leases,),
        (action, role, holder, milliseconds, token),
        lambda reply: (bool(reply[0]), reply[1].decode(), reply[2].decode(), int(reply[3])),
    )


def leases(keys: TwinKeys) -> Call[dict[str, State]]:
    """Who has which role: role -> token, holder, until (HGETALL)."""
    return Call(
        "HGETALL", (keys.leases,), (), lambda reply: {key.decode(): decode(value) for key, value in pairs_of(reply)}
    )


def beat(keys: TwinKeys, worker: str, facts: str, milliseconds: int) -> Call[None]:
    """Says that a worker is there, for so long (SET)."""
    return Call("SET", (keys.worker(worker),), (facts, "PX", milliseconds), _nothing)


def present(keys: TwinKeys, workers: Sequence[str]) -> Call[list[str | None]]:
    """What each of some workers said of itself; None for one that is not there (MGET)."""
    names = tuple(keys.worker(one) for one in workers)
    return Call("MGET", names, (), lambda reply: [one.decode() if one is not None else None for one in reply])


def leave(keys: TwinKeys, worker: str) -> Call[None]:
    """Says that a worker is not there any more (UNLINK)."""
    return Call("UNLINK", (keys.worker(worker),), (), _nothing)


def server_time() -> Call[int]:
    """The server's clock, in microseconds from the Unix epoch (TIME)."""
    return Call("TIME", (), (), lambda reply: int(reply[0]) * 1_000_000 + int(reply[1]))


def clear(keys: TwinKeys, actor: str) -> Call[int]:
    """Removes the history; the number of entries removed (clear.lua)."""
    return Call("clear", (keys.state, keys.history, keys.meta, keys.times, keys.events), (actor,), int)


def delete(keys: TwinKeys, actor: str) -> Call[int]:
    """Removes the twin; the version that it had (delete.lua)."""
    return Call("delete", (*keys.stored.values(), keys.own_leases, keys.origin, keys.events), (actor,), int)


def scan(pattern: str, cursor: int) -> Call[tuple[int, list[str]]]:
    """Some of the keys that fit the pattern, and the cursor of the next step; 0 after the last one (SCAN).

    Args:
        pattern: a glob.
        cursor: 0 for the first step.
    """
    options = ("MATCH", pattern, "COUNT", 1000)
    return Call(
        "SCAN",
        (),
        (cursor, *options),
        lambda reply: (int(reply[0]), [key.decode(errors="replace") for key in reply[1]]),
    )


def fingerprint(keys: TwinKeys) -> Call[str]:
    """What tells whether the twin's keys hold what they did before (repair.lua, which changes nothing then)."""
    call = repair(keys, "", "0", "-" * len(keys.stored))
    return Call(call.target, call.keys, call.args, lambda reply: str(reply.decode()))


def repair(
    keys: TwinKeys,
    seen: str,
    at: str,
    keep: str,
    *,
    state: str = "",
    history: tuple[int, int] | None = None,
    entry: str = "",
    commit: Mapping[str, str] | str = "",
    epoch: str = "",
    earliest: int = 0,
    actor: str = "",
    meta: Mapping[str, str] | None = None,
    times: Sequence[str] | None = None,
    model: CompiledModel | None = None,
) -> Call[tuple[str, int]]:
    """Puts a damaged twin right (repair.lua). Epoch and version of the commit that this made, empty and 0 for none.

    Args:
        keys: the twin's.
        seen: the fingerprint of what was planned on; refused where it is another now.
        at: what the names of the kept keys have in them.
        keep: a letter for each of ``keys.stored``: m to move it aside, c to copy it, - to leave it.
        state: the state to store.
        history: the first and the last index to leave in the list.
        entry: what comes on top of the history then.
        commit: version, timestamp and stamp of the commit that the state is; "gone" where none is left.
        epoch: random text, to begin another epoch.
        earliest: microseconds, before which nothing was committed.
        actor: who repairs.
        meta: fields to set.
        times: scores and versions by turns, in the place of what there is.
        model: whose rules and schema to store.
    """
    rules = {place: encode(rule).decode() for place, rule in model.rules.items()} if model else None
    args: tuple[Arg, ...] = (
        *(seen, keep, state, "" if history is None else f"{history[0]} {history[1]}", entry),
        commit if isinstance(commit, str) else encode(dict(commit)),
        *(epoch, earliest, actor, encode(dict(meta or {}))),
        "" if times is None else encode(list(times), root="any"),
        "" if rules is None else encode(rules),
        encode(model.schema) if model else "",
    )
    kept = (keys.kept(key, at) for key in keys.stored.values())
    return Call(
        "repair", (*keys.stored.values(), keys.events, *kept), args, lambda reply: (reply[0].decode(), reply[1])
    )


# --- replies -----------------------------------------------------------------------------------------------

_CONFIG_FIELDS: dict[str, Callable[[bytes], Any]] = {
    "model": bytes.decode,
    "model_hash": bytes.decode,
    "checks": bytes.decode,
    "validation": bytes.decode,
    "history_length": int,
    "max_bytes": int,
    "auto_timestamp": lambda text: text != b"0",
    "history": bytes.decode,
}


def parse(call: Call[T], reply: Any, keys: TwinKeys) -> T:
    """The value of a call from its reply.

    Raises:
        CorruptTwin: for a reply that none of our writers can have left there.
    """
    try:
        return call.parse(reply)
    except errors.NoState:
        raise  # what it says is so
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # bytes that are no text, no number, ...
        place = call.keys[0] if call.keys else call.target
        message = f"twin {keys.twin!r}: {place} holds what no commit wrote: {error}"
        raise errors.CorruptTwin(message) from error


def _object(value: Any) -> State:
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} in the place of a JSON object")
    return value


def _some_state(reply: bytes | None, keys: TwinKeys) -> bytes:
    if reply is None:
        raise refusals.no_state(keys)
    return reply


def _parse_commits(reply: list[Any]) -> list[Commit]:
    epoch, duplicate, committed_at, first, *timestamps = reply
    return [
        Commit(first + i, epoch.decode(), decode(timestamp), committed_at.decode(), bool(duplicate))
        for i, timestamp in enumerate(timestamps)
    ]


def is_unwritten(reply: object) -> bool:
    """Whether it is to a repeated commit, and was no write: then a WAIT behind it has waited for nothing."""
    return isinstance(reply, list) and len(reply) > 1 and reply[1] == 2  # noqa: PLR2004 - lua/commit.lua says so


def _parse_config(reply: list[bytes | None]) -> StoredConfig:
    found = zip(_CONFIG_FIELDS.items(), reply, strict=True)
    return StoredConfig(**{name: parse(text) for (name, parse), text in found if text is not None})


def pairs_of(reply: Mapping[Any, Any] | Sequence[Any]) -> list[tuple[Any, Any]]:
    """The pairs in a reply: RESP2 has one list of all their parts, RESP3 a map, or a list of pairs."""
    if isinstance(reply, Mapping):
        return list(reply.items())
    flat = [part for one in reply for part in (one if isinstance(one, list | tuple) else [one])]
    return list(zip(flat[::2], flat[1::2], strict=True))


def _parse_notifications(reply: Mapping[Any, Any] | list[Any]) -> str:
    value = next((value for _, value in pairs_of(reply)), b"")
    return value.decode() if isinstance(value, bytes) else str(value)


def _parse_rules(reply: Mapping[bytes, bytes] | list[bytes]) -> Mapping[str, Any]:
    return {place.decode(): decode(rule) for place, rule in pairs_of(reply)}


def _parse_page(reply: list[Any] | None, keys: TwinKeys) -> Page | None:
    if reply is None:
        return None
    epoch, newest, *texts = reply
    last, *commits = [_kept(text, keys, newest) if text else None for text in texts]
    return Page(epoch.decode(), newest, last, [facts for facts in commits if facts])


def _kept(text: bytes, keys: TwinKeys, newest: int) -> State:
    try:
        return _facts(text)
    except (errors.InvalidJSON, TypeError, KeyError) as error:
        key = keys.state if text.startswith(b'{"version":%d,' % newest) else keys.history
        details = {"key": key, "reason": f"holds what no commit wrote: {error}"}
        raise errors.CorruptTwin(f"twin {keys.twin!r}: {key} {details['reason']}", details) from error


def _facts(text: bytes) -> State:
    """A history entry, or what is left of it without its state."""
    facts = _object(decode(text))
    bodies = [facts[name] for name in ("patch", "state") if facts.get(name) is not None]
    ours = type(facts["version"]) is int and isinstance(facts["committed_at"], str) and isinstance(facts["op"], str)
    if not (ours and all(isinstance(body, dict) for body in bodies)):
        raise TypeError("facts that are none")
    return facts


def _entry_state(text: bytes) -> State:
    state: State = decode(text)["state"]
    return state


def _nothing(_: object) -> None:
    """For what only has to be done."""


def _places(start: int, stop: int) -> tuple[int, int]:
    return max(-_FAR, min(start, _FAR)), max(-_FAR, min(stop, _FAR))


def _parse_history(reply: list[bytes]) -> list[State] | None:
    entries = [_object(decode(one)) for one in reversed(reply)]
    if any("inverse" in entry for entry in entries):
        return None
    return [entry["state"] for entry in entries]


def _state_of(_epoch: str, text: bytes) -> State | None:
    return _entry_state(text)


def _snapshot(epoch: str, entry: dict[str, Any], read_from: str) -> Snapshot:
    facts = {name: entry[name] for name in ("state", "version", "timestamp", "committed_at", "actor", "op")}
    return Snapshot(epoch=epoch, read_from=read_from, **facts)


def _lookup(keys: TwinKeys, how: str, wanted: Arg, found: Callable[[str, bytes], T], missing: T) -> Call[T]:
    return Call(
        "lookup",
        (keys.state, keys.history, keys.meta, keys.times),
        (how, wanted),
        lambda reply: found(reply[0].decode(), reply[1]) if reply else missing,
        is_reading=True,
    )
