"""Pure: all that is to be done about a damaged twin, in the words of protocol.repair, and in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from circman_redis import rules
from circman_redis.commit_chain import Entry
from circman_redis.repair_head import (
    FACTS,
    MODEL,
    Asked,
    Facts,
    Head,
    Top,
    history_length,
    is_number,
    model_of,
    settings_of,
)

_CALLS = 4096  # two full generations of ids: as if so many calls had been made

KINDS_IN_ORDER = ("state", "history", "meta", "rules", "schema", "ids", "old_ids", "times")


# --- the history -----------------------------------------------------------------------------------------------------


def expected_times(entries: Sequence[tuple[int, float]]) -> dict[str, float]:
    """What the times have to hold: each version that no later one overtook. The newest comes first."""
    earliest, times = float("inf"), {}
    for version, stamp in entries:
        if stamp < earliest:
            times[str(version)] = earliest = stamp
    return times


# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """What a repair does, in the words of protocol.repair, and in words.

    Attributes:
        aside: m or c, by the part of the key that is kept.
    """

    head: Head
    aside: dict[str, str] = field(default_factory=dict)
    history: tuple[int, int] | None = None
    meta: dict[str, str] = field(default_factory=dict)
    times: list[str] | None = None
    model: rules.CompiledModel | None = None
    earliest: int = 0
    steps: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def keep(self) -> str:
        """A letter for each key."""
        return "".join(self.aside.get(part, "-") for part in KINDS_IN_ORDER)


def plan_of(facts: Facts, asked: Asked, *, record: Entry | None, top: Top, head: Head, past: Sequence[Entry]) -> Plan:
    """All that is to be done.

    Args:
        facts: what the keys hold.
        asked: what the caller wants.
        record: the head commit that meta tells.
        top: the newest entries.
        head: what becomes of the newest state.
        past: the sound entries of the history that lead to it, newest first; their stamps are what counts.
    """
    plan = Plan(head, steps=list(head.steps))
    committed = [one.committed for one in (record, *top.entries[:1]) if one is not None]
    if record is None and is_number(facts.meta.get("committed")):
        committed.append(int(facts.meta["committed"]))
    plan.earliest = max(committed, default=0)
    is_replaced = head.is_gone or (bool(head.state) and head.state != facts.state)
    if (is_replaced and facts.kinds["state"] != "none") or facts.is_wrong("state"):
        plan.aside["state"] = "m"
    if head.is_gone:
        for part in ("history", "times", "ids", "old_ids"):
            if facts.kinds[part] != "none":
                plan.aside[part] = "m"
    else:
        _plan_history(plan, facts, top, len(past))
        _plan_times(plan, facts, past)
    _plan_ids(plan, facts)
    _plan_rules(plan, facts, asked)
    _plan_meta(plan, facts, None if head.begins or head.is_gone else record)
    for part, how in plan.aside.items():
        what = "copy" if how == "c" else "move"
        plan.steps.append(f"{what} what is found in {facts.keys.stored[part]} to a key beside it")
    return plan


def _plan_history(plan: Plan, facts: Facts, top: Top, sound: int) -> None:
    room = history_length(facts) - bool(plan.head.pushed)
    kept = min(sound, room) if plan.head.entry is not None else 0
    if facts.is_wrong("history"):
        plan.aside["history"] = "m"
        plan.steps.append("begin the history anew: what stands there is no list")
    elif facts.entries and not kept:
        plan.aside["history"] = "m"
        plan.steps.append("begin the history anew: none of its entries leads to the state")
    elif facts.entries != kept:
        plan.aside["history"] = "c"
        plan.history = (top.skipped, top.skipped + kept - 1)
        plan.steps.append(f"keep {kept:,} entries of the history, those that lead to the state, of {facts.entries:,}")
    elif facts.meta.get("entries") not in {None, str(kept)} and facts.is_accused("history"):
        plan.steps.append(f"note that the history has {kept:,} entries")


def _plan_times(plan: Plan, facts: Facts, past: Sequence[Entry]) -> None:
    head = plan.head
    newest = [head.entry] if head.entry is not None and (head.pushed or not head.commit) else []
    entries = [*newest, *past[: history_length(facts)]]
    wanted = expected_times([(one.version, one.stamp) for one in entries])
    if facts.times is None and not facts.is_wrong("times") and facts.kinds["times"] != "none":
        return  # more than are ever looked at, and nothing is wrong with them
    found = dict(facts.times or {})
    if isinstance(head.commit, dict) and head.commit:
        found.pop(head.commit["version"], None)  # the commit sets it anew
    oldest = entries[-1].version if entries else 0
    stale = {version for version in found if is_number(version) and int(version) < oldest}
    found = {version: score for version, score in found.items() if version not in stale}
    if found == wanted and not facts.is_wrong("times") and not (plan.history and stale):
        return
    if facts.kinds["times"] != "none":
        plan.aside["times"] = "m"
    plan.times = [part for version in sorted(wanted, key=int) for part in (f"{wanted[version]:.0f}", version)]
    plan.steps.append("make the index of times anew, from the history")


def _plan_ids(plan: Plan, facts: Facts) -> None:
    wrong = [part for part in ("ids", "old_ids") if facts.is_wrong(part)]
    for part in wrong:
        plan.aside[part] = "m"
    if wrong and not plan.head.is_gone:
        plan.meta |= {"ids_since": "now", "ids_rotated": "now"}
        says = "retries of calls from before now cannot be told any more: they are refused as expired, not applied"
        plan.steps.append(f"forget the commit ids: {says}")


def _plan_rules(plan: Plan, facts: Facts, asked: Asked) -> None:
    for part in ("rules", "schema"):
        if facts.is_wrong(part):
            plan.aside[part] = "m"
    has_model = "model_hash" in facts.meta and bool(model_of(facts))
    is_known = has_model and facts.meta["model_hash"]
    wanted = has_model and facts.rules is None
    publish = "`circman-redis schema publish MODULE:CLASS`"
    if asked.model is not None and (wanted or facts.is_wrong("schema")) and is_known == asked.model.hash:
        plan.model = asked.model
        if facts.kinds["rules"] != "none" and "rules" not in plan.aside:
            plan.aside["rules"] = "m"
        plan.steps.append(f"publish the rules and the schema of model {asked.model.name!r} again")
    elif wanted:
        given = "" if asked.model is None else f" (the one that was given is {asked.model.hash}, another one)"
        plan.left.append(
            f"{facts.keys.rules}: rules of model {facts.meta.get('model')!r} ({is_known}) cannot be made up{given}: "
            f"repair again with that model (--model, model=), or publish one: {publish}; "
            "commits are refused until then"
        )
    elif facts.is_wrong("schema"):
        plan.steps.append(
            f"leave out the schema, which only readers use, until the model is published again: {publish}"
        )


def _plan_meta(plan: Plan, facts: Facts, record: Entry | None) -> None:
    """Meta as it has to be. What stands there is moved aside where that says something else."""
    old = dict(facts.meta)
    new = _wanted_meta(plan, facts, record)
    lost = sorted(name for name in (*MODEL, "history_length", "max_bytes", "auto_timestamp", "history")
                  if name in old and name not in new)  # fmt: skip
    is_same = {**old, "entries": ""} == {**new, "entries": ""}
    counted = "entries" not in old or is_number(old["entries"])
    if facts.is_wrong("meta") or (not (is_same and counted) and facts.kinds["meta"] != "none"):
        plan.aside["meta"] = "m"
    if "meta" not in plan.aside and facts.kinds["meta"] != "none":
        plan.meta = {name: text for name, text in plan.meta.items() if name not in old or text == "now"}
        return
    plan.meta = new | plan.meta
    if lost:
        plan.steps.append(f"leave out of meta what no script wrote there: {', '.join(lost)}")
    if "model_hash" not in new and (plan.head.begins or facts.is_wrong("meta")) and facts.kinds["rules"] != "none":
        plan.steps.append(
            "the twin has no model any more, for meta does not tell which: its rules stay in force; publish it again"
        )


def _wanted_meta(plan: Plan, facts: Facts, record: Entry | None) -> dict[str, str]:
    known = {*FACTS, *MODEL, "history_length", "max_bytes", "auto_timestamp", "history", "ids_since", "ids_rotated"}
    others = {name: text for name, text in facts.meta.items() if name not in known} if record is not None else {}
    new = others | settings_of(facts)
    if plan.head.is_gone:
        return new
    new["calls"] = facts.meta["calls"] if is_number(facts.meta.get("calls")) else str(_CALLS)
    for name in ("ids_since", "ids_rotated"):
        if name in facts.meta:
            new[name] = facts.meta[name] if is_number(facts.meta[name]) else "now"
    if record is None:
        if "ids_since" not in new and facts.kinds["ids"] != "none":
            new["ids_since"] = "now"  # which ids were forgotten, meta does not tell any more
        return new
    state = plan.head.state if not plan.head.commit else ""
    size = len((state or facts.state or "").encode()) if not plan.head.commit else facts.meta.get("bytes", "0")
    new |= {
        "version": str(record.version),
        "epoch": facts.meta["epoch"],
        "head": facts.meta["head"],
        "bytes": str(size),
        "stamp": f"{record.stamp:.0f}",
        "committed": str(record.committed),
    }
    if re.fullmatch(r"\d{1,15}:[0-9a-f]{40}", facts.meta.get("digest", "")):
        new["digest"] = facts.meta["digest"]
    return new
