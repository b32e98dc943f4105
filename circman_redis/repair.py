"""Pure: repairs a twin whose keys something else damaged, as a flow: looks, plans, and does it where that is wanted.

What is done is done by one script, on exactly what the plan saw; whoever was faster has it planned anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from circman_redis import protocol, repair_head, rules
from circman_redis.codec import decode
from circman_redis.commit_chain import Chain, Entry, read_digest, read_entry
from circman_redis.errors import InvalidJSON, StateConflict, UsageError
from circman_redis.flows import Flow
from circman_redis.keys import TwinKeys
from circman_redis.models import TwinState
from circman_redis.protocol import Call, pairs_of
from circman_redis.repair_head import KINDS, Asked, Facts, Head, Top
from circman_redis.repair_plan import KINDS_IN_ORDER, Plan, plan_of
from circman_redis.results import Disagreement, RepairReport
from circman_redis.verify import verify

_ATTEMPTS = 20  # at a twin that others commit to meanwhile
_PAGE = 64  # entries in one reply
_MOST_TOP = 1024  # entries that are looked through for one that the head follows, and for a state
_MOST_TIMES = 100_000  # members of the times; more are left as they are


def repair(
    keys: TwinKeys, *, apply: bool, adopt: bool | None, model: type[BaseModel] | None, actor: str
) -> Flow[RepairReport]:
    """What is wrong with a twin, and what can be done about it; with ``apply``, after it was done.

    Args:
        keys: the twin's.
        apply: do it.
        adopt: what to do with a state that something else wrote: commit it, or never (False); None: where what commits
            made cannot be restored.
        model: the twin's, to publish its rules again.
        actor: who repairs.

    Raises:
        StateConflict: others changed the twin, every time that it was planned; nothing was done.
    """
    if adopt not in {None, True, False}:
        raise UsageError(f"adopt={adopt!r}: use True, False or None")
    tried: RepairReport | None = None
    for _ in range(_ATTEMPTS):
        found: list[Disagreement] = yield from verify(keys)
        if not found:
            was_done = tried is not None and (yield from _is_kept(tried))  # its answer was lost
            return replace(tried, applied=True) if tried and was_done else RepairReport(keys.twin, ())
        seen: str = yield protocol.fingerprint(keys)
        plan = yield from _planned(keys, found, adopt, model)
        at = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}{secrets.token_hex(2)}"
        report = _report(keys, found, plan, at)
        if not apply or not plan.steps:
            if (yield protocol.fingerprint(keys)) == seen:
                return report
            continue
        try:
            yield _call(keys, seen, at, plan, actor)
        except StateConflict:
            tried = report
            continue
        return replace(report, applied=True)
    raise StateConflict(f"twin {keys.twin!r} changes all the time: nothing was repaired; repair it again", 0, 0)


def _is_kept(report: RepairReport) -> Flow[bool]:
    if not report.kept:
        return False
    number: int = yield Call("EXISTS", report.kept, (), int)
    return number == len(report.kept)


def _report(keys: TwinKeys, found: Sequence[Disagreement], plan: Plan, at: str) -> RepairReport:
    kept = tuple(keys.kept(keys.stored[part], at) for part in KINDS_IN_ORDER if part in plan.aside)
    left = plan.left or ([] if plan.steps else ["repair knows nothing to do about it"])
    return RepairReport(keys.twin, tuple(found), tuple(plan.steps), tuple(left), kept)


def _call(keys: TwinKeys, seen: str, at: str, plan: Plan, actor: str) -> Call[Any]:
    head = plan.head
    return protocol.repair(
        keys,
        seen,
        at,
        plan.keep,
        state=head.state,
        history=plan.history,
        entry=head.pushed,
        commit=head.commit or "",
        epoch=secrets.token_hex(4) if head.begins else "",
        earliest=plan.earliest,
        actor=actor,
        meta=plan.meta,
        times=plan.times,
        model=plan.model,
    )


def _planned(
    keys: TwinKeys, found: list[Disagreement], adopt: bool | None, model: type[BaseModel] | None
) -> Flow[Plan]:
    facts = yield from _read(keys, found)
    record = repair_head.record_of(facts)
    asked = Asked(adopt, _compiled(facts, model), model)
    top = yield from _read_top(facts, record.version - 1 if record else None)
    head = repair_head.head_of(facts, asked, record, top)
    past = yield from _read_past(facts, top, head)
    return plan_of(facts, asked, record=record, top=top, head=head, past=past)


def _compiled(facts: Facts, model: type[BaseModel] | None) -> rules.CompiledModel | None:
    """The caller's model; else the one that every twin begins with, where it is that one."""
    if model is not None:
        return rules.compile_model(model)
    usual = rules.compile_model(TwinState)
    return usual if facts.meta.get("model_hash") == usual.hash else None


# --- the reading -----------------------------------------------------------------------------------------------------


def _read(keys: TwinKeys, found: list[Disagreement]) -> Flow[Facts]:
    kinds: dict[str, str] = {}
    for part, key in keys.stored.items():
        kinds[part] = yield Call("TYPE", (key,), (), lambda reply: str(reply.decode()))
    is_there = {part: kinds[part] == KINDS[part] for part in KINDS}
    meta = (yield Call("HGETALL", (keys.meta,), (), _fields)) if is_there["meta"] else {}
    state = (yield protocol.raw_state(keys)) if is_there["state"] else None
    published = (yield Call("HGETALL", (keys.rules,), (), _rules)) if is_there["rules"] else None
    times: dict[str, float] | None = {}
    if is_there["times"]:
        times = yield from _read_times(keys)
    entries = (yield protocol.history_size(keys)) if is_there["history"] else 0
    return Facts(keys, kinds, meta, _text(state), published, times, entries, found)


def _read_times(keys: TwinKeys) -> Flow[dict[str, float] | None]:
    if (yield Call("ZCARD", (keys.times,), (), int)) > _MOST_TIMES:
        return None
    pairs = yield Call("ZRANGE", (keys.times,), (0, -1, "WITHSCORES"), pairs_of)
    return {member.decode(errors="replace"): float(score) for member, score in pairs}


def _fields(reply: Any) -> dict[str, str]:
    """The fields that are text."""
    pairs = ((_text(name), _text(value)) for name, value in pairs_of(reply))
    return {name: value for name, value in pairs if name is not None and value is not None}


def _rules(reply: Any) -> dict[str, Any] | None:
    """The rules; None where one cannot be read, or that of the root is missing."""
    try:
        found = {name: decode(text) for name, text in _fields(reply).items()}
    except InvalidJSON:
        return None
    return found if "" in found and all(isinstance(rule, dict) for rule in found.values()) else None


def _text(raw: bytes | None) -> str | None:
    try:
        return raw.decode() if raw is not None else None
    except UnicodeDecodeError:
        return None


def _page(keys: TwinKeys, start: int) -> Call[list[bytes]]:
    return Call("LRANGE", (keys.history,), (start, start + _PAGE - 1), lambda reply: reply)


def _read_top(facts: Facts, newest: int | None) -> Flow[Top]:
    entries: list[Entry | None] = []
    top = Top()
    while len(entries) < min(facts.entries, _MOST_TOP):
        page = yield _page(facts.keys, len(entries))
        entries += [read_entry(text) for text in page]
        top = repair_head.top_of(entries, newest)
        if not page or (top.entries and len(top.entries) + top.skipped < len(entries)) or _has_state(top):
            break
    return top


def _has_state(top: Top) -> bool:
    return bool(top.entries) and top.entries[-1].inverse is None


def _read_past(facts: Facts, top: Top, head: Head) -> Flow[list[Entry]]:
    """The entries that lead to the head, without a gap or a fault, newest first; without their bodies."""
    newest = head.entry
    if newest is None or top.version != newest.version - 1 or not top.version:
        return []
    faults: list[Disagreement] = []
    chain = Chain(facts.keys, faults, read_digest(facts.meta.get("digest", "")))
    chain.begin(newest)
    past: list[Entry] = []
    start, follows = top.skipped, True
    while follows:
        page = yield _page(facts.keys, start)
        entries = [read_entry(text) for text in page]
        following = next(
            (i for i, one in enumerate(entries) if _breaks(one, top.version - len(past) - i)), len(entries)
        )
        chain.page(page[:following])
        past += [replace(one, state="", patch=None, inverse=None) for one in entries[:following] if one]
        follows = following == _PAGE
        start += _PAGE
    chain.end()
    wrong = max((_at_fault(one, newest.version) for one in faults if one.key == facts.keys.history), default=0)
    return [one for one in past if one.version > wrong]


def _breaks(entry: Entry | None, expected: int) -> bool:
    return entry is None or entry.version != expected


def _at_fault(one: Disagreement, head: int) -> int:
    """The version that a fault of the history is at; the head itself is well."""
    return min(one.version or 0, head - 1)
