"""Pure: what to do about a damaged twin, from what its keys hold.

The most truthful repair is the one that brings back what commits made, byte for byte; where that is lost, the next is to
say so: what stands there becomes a commit of its own (op external), or the newest state that is still known does, in a
new epoch. Nothing that was found is thrown away.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from circman_redis import checks, rules
from circman_redis.canonical import canonical
from circman_redis.codec import check_text, decode, encode
from circman_redis.commit_chain import Entry, fault_of, merged, read_entry, stamp_of
from circman_redis.errors import InvalidJSON
from circman_redis.keys import TwinKeys
from circman_redis.models import LEVELS
from circman_redis.results import Disagreement, TwinConfig

_EVER = 2**62  # microseconds: later than any commit
_CALLS = 4096  # two full generations of ids: as if so many calls had been made
_FACTS = ("version", "epoch", "head", "bytes", "stamp", "committed", "calls", "digest", "entries")
_MODEL = ("model", "model_hash", "checks", "validation")


@dataclass(frozen=True)
class Facts:
    """What a twin's keys hold.

    Attributes:
        keys: the twin's.
        kinds: the type of each key, by the name of its part.
        meta: its fields; empty where it is no hash.
        state: the text under the state key; None where there is none, or no text.
        rules: the published rules; None where there are none that can be read.
        times: versions and their scores; None where they were not read.
        entries: how many the history has.
        found: what `verify` says.
    """

    keys: TwinKeys
    kinds: Mapping[str, str]
    meta: Mapping[str, str]
    state: str | None
    rules: Mapping[str, Any] | None
    times: Mapping[str, float] | None
    entries: int
    found: Sequence[Disagreement]

    def is_accused(self, part: str) -> bool:
        """Whether something is wrong with a key."""
        return any(one.key == self.keys.stored[part] for one in self.found)

    def is_wrong(self, part: str) -> bool:
        """Whether a key has another type than it should have."""
        return self.kinds[part] not in {KINDS[part], "none"}


KINDS = {
    **dict.fromkeys(("state", "schema"), "string"),
    **dict.fromkeys(("meta", "rules", "ids", "old_ids"), "hash"),
    "history": "list",
    "times": "zset",
}


@dataclass(frozen=True)
class Asked:
    """What the caller wants.

    Attributes:
        adopt: commit a state that something else wrote; False never to; None only where nothing can be restored.
        model: the twin's, to publish it again.
        cls: its class, for the checks that only Python can make.
    """

    adopt: bool | None = None
    model: rules.CompiledModel | None = None
    cls: Any = None


# --- what meta says --------------------------------------------------------------------------------------------------


def is_number(text: str | None) -> bool:
    """Whether meta can have it as a number."""
    return text is not None and re.fullmatch(r"\d{1,15}", text) is not None


def record_of(facts: Facts) -> Entry | None:
    """The head commit, without its state; None where meta does not tell it any more."""
    head, epoch = facts.meta.get("head", ""), facts.meta.get("epoch", "")
    if not re.fullmatch(r"\w{1,64}", epoch, re.ASCII) or not head.endswith("}"):
        return None
    return read_entry(f'{head[:-1]},"state":{{}}}}'.encode())


def settings_of(facts: Facts) -> dict[str, str]:
    """The settings, and the model, as far as meta still tells them."""
    fits = {
        **dict.fromkeys(("history_length", "max_bytes"), r"[1-9]\d{0,14}"),
        "auto_timestamp": "[01]",
        "history": "full|compact",
    }
    found = {name: facts.meta[name] for name, form in fits.items() if re.fullmatch(form, facts.meta.get(name, ""))}
    return found | _model_of(facts)


def _model_of(facts: Facts) -> dict[str, str]:
    model = {name: facts.meta[name] for name in _MODEL if name in facts.meta}
    whole = len(model) == len(_MODEL) and model["checks"] in {"server", "python"} and model["validation"] in LEVELS
    if whole:
        return model
    only_level = model.keys() == {"validation"} and model["validation"] in LEVELS
    return model if only_level else {}


def _config(facts: Facts) -> TwinConfig:
    settings = settings_of(facts)
    numbers = {name: int(settings[name]) for name in ("history_length", "max_bytes") if name in settings}
    # As it stands: what is adopted is not stamped.
    return TwinConfig(**numbers, validation=settings.get("validation", "standard"), auto_timestamp=False)


def history_length(facts: Facts) -> int:
    """How many entries the history may have."""
    return _config(facts).history_length


# --- the newest entries ----------------------------------------------------------------------------------------------


@dataclass
class Top:
    """The newest entries of the history, from the one on that the head follows.

    Attributes:
        skipped: entries before that one, which are none of the twin's.
        entries: from there down to one that has its state, as far as they follow each other.
    """

    skipped: int = 0
    entries: list[Entry] = field(default_factory=list)

    @property
    def version(self) -> int:
        """Of the newest; 0 where there is none."""
        return self.entries[0].version if self.entries else 0

    def state(self) -> str | None:
        """The state of the newest, from the nearest state below it by the patches up again; None where that fails."""
        if not self.entries or self.entries[-1].inverse is not None:
            return None
        state = self.entries[-1].state
        for entry in reversed(self.entries[:-1]):
            state = merged(state, entry.patch) if state and entry.patch is not None else ""
        return state if state and not fault_of(state) else None


def top_of(entries: Sequence[Entry | None], newest: int | None) -> Top:
    """The newest of the entries that can be read: that of version ``newest``, or whichever comes first."""
    top = Top()
    for entry in entries:
        is_first = not top.entries and entry is not None and newest in {None, entry.version}
        follows = bool(top.entries) and entry is not None and entry.version == top.version - len(top.entries)
        if entry is not None and (is_first or follows):
            top.entries.append(entry)
            if entry.inverse is None:
                break
        elif top.entries:
            break
        else:
            top.skipped += 1
    return top


# --- the head --------------------------------------------------------------------------------------------------------


@dataclass
class Head:
    """What becomes of the newest state.

    Attributes:
        entry: the newest commit, as the history has to lead to it; None where the history begins anew, or is gone.
        pushed: the text of an entry that comes on top of the history.
        state: the text to store; empty to leave what stands there.
        commit: version, timestamp and stamp of a commit of its own, empty where there is none; "gone".
        begins: whether it begins another epoch.
        steps: in words.
    """

    entry: Entry | None = None
    pushed: str = ""
    state: str = ""
    commit: dict[str, str] | str = field(default_factory=dict)
    begins: bool = False
    steps: list[str] = field(default_factory=list)

    @property
    def is_gone(self) -> bool:
        """Whether no state is left."""
        return self.commit == "gone"


def head_of(facts: Facts, asked: Asked, record: Entry | None, top: Top) -> Head:
    """What becomes of the newest state."""
    if record is None:
        return _without_record(facts, asked, top)
    patch = record.patch
    before = "{}" if record.version == 1 else top.state()
    made = merged(before, patch) if before and patch is not None else ""
    if _is_sound(facts, record, made):
        return Head(Entry(**{**_fields(record), "state": facts.state or ""}))
    length = facts.meta.get("bytes")
    if made and is_number(length) and len(made.encode()) != int(length or 0):
        made = ""
    restored = Entry(**{**_fields(record), "state": made}) if made else None
    found, reason = _adoptable(facts, asked)
    if restored is not None and not (asked.adopt and found):
        says = f"restore the state of version {record.version}, byte for byte, from the history and its patch"
        return Head(restored, state=made, steps=[says])
    if found and asked.adopt is not False:
        return _adopted(facts, record, restored, found)
    return _from_before(facts, top, f"the state of version {record.version} is lost{reason}")


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__dataclass_fields__}


def _is_sound(facts: Facts, record: Entry, made: str) -> bool:
    """Whether what stands there is what the commit wrote, as far as anything tells."""
    state = facts.state
    if state is None or fault_of(state):
        return False
    version, _, digest = facts.meta.get("digest", "").partition(":")
    if state == made or (version == str(record.version) and digest == _sha1(state)):
        return True
    timestamp = decode(state).get("timestamp")
    fits = record.timestamp == (None if isinstance(timestamp, dict | list) else timestamp)
    if made and not is_number(facts.meta.get("bytes")):
        return False  # the patch is the better witness
    return fits and not facts.is_accused("state")


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _adoptable(facts: Facts, asked: Asked) -> tuple[str, str]:
    """The state that something else wrote, in the stored form; empty where it cannot be a commit, and why."""
    if facts.state is None:
        return "", ""
    config = _config(facts)
    try:
        check_text(facts.state)
        text = canonical(facts.state)
        value = decode(text)
    except InvalidJSON as error:
        return "", f", and what stands there is no JSON object ({error})"
    if len(text.encode()) > config.max_bytes:
        return "", f", and what stands there is over {config.max_bytes:,} bytes"
    published = asked.model.rules if asked.model and _may_publish(facts, asked.model) else facts.rules
    if published is None and "model_hash" in facts.meta and config.validation != "none":
        return "", ", and there are no rules to hold what stands there against"
    violations = list(rules.check(value, published or {}, config.validation))
    if asked.cls is not None:
        violations += checks.python_violations(asked.cls, value, config)
    return ("", f", and what stands there breaks the rules ({checks.explained(violations)})") if violations else (text, "")


def _commit_facts(version: int, state: str) -> tuple[dict[str, str], Entry]:
    """The facts of a commit that the state is, and the commit."""
    value = decode(state).get("timestamp")
    timestamp = None if isinstance(value, dict | list) else value
    stamp = stamp_of(timestamp, -1)
    text = encode(timestamp, root="any").decode() if timestamp is None or isinstance(timestamp, str) else "null"
    told = {"version": str(version), "timestamp": canonical(text), "stamp": "" if stamp == -1 else f"{stamp:.0f}"}
    return told, Entry(version, timestamp, _EVER, stamp, None, state)


def _adopted(facts: Facts, record: Entry, restored: Entry | None, found: str) -> Head:
    commit, _ = _commit_facts(record.version + 1, found)
    steps = [f"commit what something else wrote into the state as version {record.version + 1} (op external)"]
    head = Head(restored, state=found, commit=commit, steps=steps)
    if restored is not None:
        head.pushed = f'{facts.meta["head"][:-1]},"state":{restored.state}}}'
        steps.append(f"put version {record.version}, whose state can be made again, into the history")
    else:
        steps.append(f"begin the history anew: the state of version {record.version} is lost")
    return head


def _without_record(facts: Facts, asked: Asked, top: Top) -> Head:
    found, reason = _adoptable(facts, asked)
    lost = "meta does not tell the newest commit any more"
    if not found or asked.adopt is False:
        return _from_before(facts, top, lost + reason)
    known = [int(version) for version in facts.times or {} if is_number(version)]
    version = top.version + 1 if top.version else max(known, default=1) or 1
    commit, entry = _commit_facts(version, found)
    says = f"commit the state that stands there as version {version} of a new epoch (op external): {lost}"
    return Head(entry, state=found, commit=commit, begins=True, steps=[says])


def _from_before(facts: Facts, top: Top, lost: str) -> Head:
    """From the newest state that is known, as after an older copy was restored; or from nothing."""
    state = top.state()
    if state is None:
        is_there = any(facts.kinds[part] != "none" for part in ("state", "history", "times", "ids", "old_ids"))
        says = f"move all but settings, rules and schema aside, so that the twin has no state: {lost}"
        return Head(commit="gone", steps=[says] if is_there or _FACTS[0] in facts.meta else [])
    commit, entry = _commit_facts(top.version + 1, state)
    says = f"go on from the state of version {top.version}, as version {top.version + 1} of a new epoch (op external)"
    return Head(entry, state=state, commit=commit, begins=True, steps=[f"{says}: {lost}"])


# --- the history -----------------------------------------------------------------------------------------------------


def expected_times(entries: Sequence[tuple[int, float]]) -> dict[str, float]:
    """What the times have to hold: each version that no later one overtook. The newest comes first."""
    earliest, times = float("inf"), {}
    for version, stamp in entries:
        if stamp < earliest:
            times[str(version)] = earliest = stamp
    return times


def _may_publish(facts: Facts, model: rules.CompiledModel) -> bool:
    return facts.meta.get("model_hash") in {None, model.hash}


# --- the rest --------------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """What a repair does, in the words of `protocol.repair`, and in words.

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


KINDS_IN_ORDER = ("state", "history", "meta", "rules", "schema", "ids", "old_ids", "times")


def plan_of(facts: Facts, asked: Asked, record: Entry | None, top: Top, head: Head, past: Sequence[Entry]) -> Plan:
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
    plan.earliest = max(committed, default=0)
    if (head.state or head.is_gone) and facts.kinds["state"] != "none" and head.state != facts.state:
        plan.aside["state"] = "m"
    elif facts.is_wrong("state"):
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
    has_model = "model_hash" in facts.meta and bool(_model_of(facts))
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
            f"{facts.keys.rules}: the rules of model {facts.meta.get('model')!r} ({is_known}) cannot be made up{given}: "
            f"repair again with that model (--model, model=), or publish one: {publish}; commits are refused until then"
        )
    elif facts.is_wrong("schema"):
        plan.steps.append(f"leave out the schema, which only readers use, until the model is published again: {publish}")


def _plan_meta(plan: Plan, facts: Facts, record: Entry | None) -> None:
    """Meta as it has to be. What stands there is moved aside where that says something else."""
    old = dict(facts.meta)
    new = _wanted_meta(plan, facts, record)
    lost = sorted(name for name in (*_MODEL, "history_length", "max_bytes", "auto_timestamp", "history")
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
    known = {*_FACTS, *_MODEL, "history_length", "max_bytes", "auto_timestamp", "history", "ids_since", "ids_rotated"}
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
