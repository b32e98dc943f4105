"""Pure: what becomes of the newest state of a damaged twin, from what its keys hold.

The most truthful repair brings back what commits made, byte for byte; where that is lost, the next is to say so: what
stands there becomes a commit of its own (op external), or the newest state that is still known does, in a new epoch.
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
from circman_redis.results import Disagreement, StoredConfig

_EVER = 2**62  # microseconds: later than any commit
_DIGITS = 15  # of a version, at most: a whole number to Lua
FACTS = ("version", "epoch", "head", "bytes", "stamp", "committed", "calls", "digest", "entries")
MODEL = ("model", "model_hash", "checks", "validation")


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
    return text is not None and re.fullmatch(r"\d{1,16}", text) is not None


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
    return found | model_of(facts)


def model_of(facts: Facts) -> dict[str, str]:
    """The model that meta tells, all of it or nothing; its level alone where that is all there ever was."""
    model = {name: facts.meta[name] for name in MODEL if name in facts.meta}
    whole = len(model) == len(MODEL) and model["checks"] in {"server", "python"} and model["validation"] in LEVELS
    if whole:
        return model
    only_level = model.keys() == {"validation"} and model["validation"] in LEVELS
    return model if only_level else {}


def _config(facts: Facts) -> StoredConfig:
    settings = settings_of(facts)
    usual = StoredConfig()
    return StoredConfig(
        history_length=int(settings.get("history_length", usual.history_length)),
        max_bytes=int(settings.get("max_bytes", usual.max_bytes)),
        validation=settings.get("validation", usual.validation),
        auto_timestamp=False,  # as it stands: what is adopted is not stamped
    )


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
    published = asked.model.rules if asked.model and may_publish(facts, asked.model) else facts.rules
    if published is None and "model_hash" in facts.meta and config.validation != "none":
        return "", ", and there are no rules to hold what stands there against"
    violations = list(rules.check(value, published or {}, config.validation))
    if asked.cls is not None:
        violations += checks.python_violations(asked.cls, value, config)
    return (
        ("", f", and what stands there breaks the rules ({checks.explained(violations)})") if violations else (text, "")
    )


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
    known = [int(version) for version in facts.times or {} if is_number(version) and len(version) < _DIGITS]
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
        return Head(commit="gone", steps=[says] if is_there or FACTS[0] in facts.meta else [])
    commit, entry = _commit_facts(top.version + 1, state)
    says = f"go on from the state of version {top.version}, as version {top.version + 1} of a new epoch (op external)"
    return Head(entry, state=state, commit=commit, begins=True, steps=[f"{says}: {lost}"])


def may_publish(facts: Facts, model: rules.CompiledModel) -> bool:
    """Whether the model may be the twin's: nothing says that it is another."""
    return facts.meta.get("model_hash") in {None, model.hash}
