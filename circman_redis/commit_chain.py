"""Pure: one commit held against the other, and against the index of times.

A patch on the state before it has to give the state behind it, byte by byte. What something else wrote does not fit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from json import JSONDecoder
from typing import Any, NamedTuple

from circman_redis.canonical import canonical, merge_text
from circman_redis.codec import check_text, decode
from circman_redis.errors import InvalidJSON
from circman_redis.keys import TwinKeys
from circman_redis.protocol import OPS
from circman_redis.results import Disagreement
from circman_redis.timestamps import format_timestamp, microseconds, parse_timestamp

ELSE = "something else wrote it"

_FACTS = ("version", "timestamp", "committed_at", "op", "actor", "id")
_WHOLE = ("set", "import", "external")  # the commits without a patch


# --- what a commit left ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit as it stands in the history; patch and state are the very text.

    Attributes:
        version: its version.
        timestamp: the state's own time, whatever that holds.
        committed: when it was stored, in microseconds.
        stamp: where the times have it, in microseconds.
        patch: None for a set or an import.
        state: the state that it made; empty as long as a compact entry is not rebuilt.
        inverse: of a compact entry, the patch that makes its state out of that of the version after.
        id: its commit id; None where it has none.
    """

    version: int
    timestamp: Any
    committed: int
    stamp: float
    patch: str | None
    state: str
    inverse: str | None = None
    id: str | None = None


class Record(NamedTuple):
    """What is kept of each commit that was read.

    Attributes:
        version: its version.
        id: its commit id; None where it has none.
        committed: when it was stored, in microseconds.
    """

    version: int
    id: str | None
    committed: int


def read_digest(text: str) -> tuple[int, str] | None:
    """The version and the SHA-1 that meta has of the newest state that no patch made; None where it has none."""
    version, _, digest = text.partition(":")
    return (int(version), digest) if digest and re.fullmatch(r"-?\d{1,18}", version, re.ASCII) else None


_NOTHING = Entry(0, None, 0, 0.0, None, "{}")
_json = JSONDecoder(parse_int=str, parse_float=str)


def read_entry(text: bytes) -> Entry | None:
    """The parts of a history entry; None where no commit wrote it."""
    whole = text.decode(errors="surrogateescape")
    # Facts and strings hold no raw quote, so the first "patch" is the entry's own.
    facts_text, _, rest = whole.partition(',"patch":')
    try:
        facts = decode(facts_text + "}")
        end = _json.raw_decode(rest)[1]
        committed = microseconds(parse_timestamp(facts["committed_at"]))
        version, timestamp, is_whole = facts["version"], facts["timestamp"], facts["op"] in _WHOLE
        commit_id = facts["id"] if isinstance(facts["id"], str) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    patch, behind = rest[:end], rest[end:]
    ours = tuple(facts) == _FACTS and type(version) is int and version > 0 and facts["op"] in OPS
    ours = ours and whole.startswith(f'{{"version":{version},')
    ours = ours and (patch == "null" if is_whole else patch.startswith("{"))
    body = re.fullmatch(r',"(state|inverse)":(.*)}', behind, re.DOTALL)
    if not (ours and body):
        return None
    state, inverse = (body[2], None) if body[1] == "state" else ("", body[2])
    stamp, made_by = stamp_of(timestamp, committed), None if is_whole else patch
    return Entry(version, timestamp, committed, stamp, made_by, state, inverse, commit_id)


def stamp_of(timestamp: Any, committed: int) -> float:
    """The score of a version in the times."""
    try:
        return float(microseconds(parse_timestamp(timestamp)))
    except (TypeError, ValueError):
        return float(committed)


def fault_of(state: str) -> str:
    """Why no commit can have stored this text; empty where one can."""
    try:
        check_text(state, what="its JSON")
    except InvalidJSON as error:
        return f"is not valid: {error}"
    return "" if canonical(state) == state else "is not in the form that commits store"


def _object(state: str) -> dict[str, Any] | None:
    try:
        value = decode(state)
    except InvalidJSON:
        return None
    return value if isinstance(value, dict) else None


def merged(state: str, patch: str) -> str:
    """The state with the patch merged in; empty where one of them is no JSON."""
    try:
        return merge_text(state, patch) if patch.startswith("{") else ""
    except (InvalidJSON, RecursionError):
        return ""


def _doubt(entry: Entry) -> str:
    return "" if entry.inverse is None else ", or what it is rebuilt from was changed"


# --- one commit after the other --------------------------------------------------------------------------------------


class Chain:
    """Holds each commit against the one before it, from the newest down.

    Args:
        keys: the twin's.
        found: where to report.
        digest: a version, and the SHA-1 of its state.

    Attributes:
        read: every commit that could be read, wherever it stood.
    """

    def __init__(self, keys: TwinKeys, found: list[Disagreement], digest: tuple[int, str] | None) -> None:
        self.read: list[Record] = []
        self._keys = keys
        self._found = found
        self._digest = digest
        self.times: Times | None = None
        self._head = 0
        self._expected: int | None = None  # the version that has to come next
        self._newer: Entry | None = None  # the commit above it, where there is one to compare with
        self._above = ""  # the state of that commit, to rebuild the next one from
        self._suspect: tuple[Entry, Entry] | None = None  # a commit that does not fit the one before it
        self._newest = 0  # of those that came in meanwhile

    def begin(self, head: Entry) -> None:
        """Starts with the newest commit."""
        self._head = head.version
        self.read.append(_record(head))
        self._add(head, fault_of(head.state))

    def page(self, texts: Sequence[bytes]) -> None:
        """The next entries of the history. Where others committed meanwhile, it begins with some known already."""
        entries = [read_entry(text) for text in texts]
        known = self._known(entries)
        self._newest = max([self._newest, *(one.version for one in entries[:known] if one)])
        self.read += [_record(one) for one in entries[known:] if one]
        for entry, following in zip(entries[known:], [*entries[known + 1 :], None], strict=False):
            self._place(entry, following)

    def end(self) -> None:
        """There is no more."""
        if self._newer is not None and self._newer.version == 1:
            self._settle(self._newer, _NOTHING)
        else:
            self._break()
        self._accuse()

    def check_newest(self, version: int) -> None:
        """What came in meanwhile has to be older than ``version``, the newest commit of all afterwards."""
        if self._newest >= version:
            says = f"holds version {self._newest}, while the newest commit is that of version {version}: {ELSE}"
            self._found.append(Disagreement(self._keys.history, self._newest, says))

    def _known(self, entries: Sequence[Entry | None]) -> int:
        # By the first two that can be read, for one may have been changed.
        tops = [entry.version + i for i, entry in enumerate(entries) if entry][:2]
        return max(0, min(tops) - self._expected) if tops and self._expected is not None else 0

    def _place(self, entry: Entry | None, following: Entry | None) -> None:
        expected = self._expected
        if entry is not None and expected in {None, entry.version}:
            self._add(entry)
        elif expected is None:
            self._report(None, f"holds what no commit wrote: {ELSE}")
        elif entry is not None and entry.version < expected and not _follows(following, expected):
            missing = f"{entry.version + 1} to {expected}" if entry.version + 1 < expected else f"{expected}"
            self._report(expected, f"lacks version{'s' if ' ' in missing else ''} {missing}: something else removed it")
            self._break()
            self._add(entry)
        else:
            what = f"version {entry.version}" if entry else "what no commit wrote"
            where = f"version {expected}" if expected else "nothing"
            self._report(expected, f"holds {what} where {where} should be: {ELSE}")
            if entry is None or _follows(following, expected):  # in its place; else it stands between two
                self._break()
                self._expected = max(expected - 1, 0)

    def _add(self, entry: Entry, problem: str = "") -> None:
        if entry.inverse is not None:
            entry = replace(entry, state=merged(self._above, entry.inverse) if self._above else "")
        is_unknown = entry.inverse is not None and not self._above  # what is wrong above it was said there
        problem = problem or ("" if is_unknown else self._problem(entry))
        self._above = entry.state
        if problem:
            where = "" if entry.version == self._head else f"at version {entry.version} "
            self._report(entry.version, f"{where}{problem}: {ELSE}")
        newer, self._newer = self._newer, None if problem or is_unknown else entry
        if newer is not None:
            self._settle(newer, self._newer)
        self._expected = entry.version - 1
        if self.times is not None:
            self.times.see(entry)

    def _problem(self, entry: Entry) -> str:
        """What is wrong with a commit by itself."""
        if entry.inverse is not None and not entry.state:
            return "has no state any more: what it holds does not lead back from the version after it"
        if self._digest and self._digest[0] == entry.version and entry.patch is None:
            digest = hashlib.sha1(entry.state.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
            if digest != self._digest[1]:
                return f"is not what the commit of version {entry.version} wrote (its SHA-1 is another)"
        state = _object(entry.state)
        if state is None:
            return "is not a JSON object"
        timestamp = state.get("timestamp")
        if isinstance(timestamp, dict | list):
            timestamp = None  # as the script has it
        if timestamp != entry.timestamp:
            return f"has the timestamp {timestamp!r}, and its commit said {entry.timestamp!r}"
        return ""

    def _settle(self, newer: Entry, older: Entry | None) -> None:
        if older is not None and older.committed > newer.committed:
            says = f"has version {newer.version} committed before version {older.version}: {ELSE}"
            self._found.append(Disagreement(self._keys.history, newer.version, says))
        if older is None or newer.patch is None:
            fault = fault_of(newer.state)
            if fault:
                self._suspect = None
                self._report(newer.version, f"at version {newer.version} {fault}: {ELSE}")
            self._accuse(f", or version {newer.version} was changed")
        elif merged(older.state, newer.patch) == newer.state:
            # One that is rebuilt from the suspect's other side fits whatever that is.
            self._accuse("" if older.inverse is None else f", or version {newer.version} was changed")
        elif self._suspect:
            self._suspect = None
            says = f"at version {newer.version} has another state than was committed"
            self._report(newer.version, f"{says}: neither its own patch nor the next one fits it{_doubt(newer)}")
        else:
            self._suspect = (newer, older)

    def _accuse(self, doubt: str = "") -> None:
        """Reports the commit that does not fit the one before it, for that one is well, or cannot be told."""
        if not self._suspect:
            return
        newer, older = self._suspect
        self._suspect = None
        before = f"the state of version {older.version}" if older.version else "an empty state"
        gives = f"its patch on {before} gives another one{doubt}{_doubt(newer)}"
        if newer.version == self._head:
            self._report(newer.version, f"is not what the commit of version {newer.version} wrote: {gives}")
        else:
            self._report(newer.version, f"at version {newer.version} has another state than was committed: {gives}")

    def _break(self) -> None:
        """The next commit is not the one before the last."""
        newer, self._newer = self._newer, None
        self._above = ""
        if newer is not None:
            self._settle(newer, None)
        if self.times is not None:
            self.times.sure = False

    def _report(self, version: int | None, says: str) -> None:
        key = self._keys.state if version == self._head and version else self._keys.history
        self._found.append(Disagreement(key, version, says))


def _record(entry: Entry) -> Record:
    return Record(entry.version, entry.id, entry.committed)


def _follows(entry: Entry | None, version: int) -> bool:
    return entry is not None and entry.version == version - 1


# --- the times -------------------------------------------------------------------------------------------------------


class Times:
    """Holds the times against the commits, from the newest down.

    Args:
        key: the times'.
        found: where to report.
        newest_before: the newest version before they were read.
        newest_after: the newest version afterwards.

    Attributes:
        sure: whether all commits that may have overtaken the next one were seen.
    """

    def __init__(self, key: str, found: list[Disagreement], newest_before: int, newest_after: int) -> None:
        self._key = key
        self._found = found
        self._newest = newest_before
        self._newest_after = newest_after
        self._scores: dict[int, float] = {}
        self._from = 0
        self._earliest = float("inf")
        self.sure = True

    def learn(self, members: Sequence[tuple[bytes, float]], *, complete: bool) -> None:
        """What they hold; the newest of it, where that is not complete."""
        for member, score in members:
            version = int(member) if re.fullmatch(rb"[1-9]\d{0,17}", member) else 0
            if not version:
                self._report(None, f"holds {shown(member)}, which is no version: {ELSE}")
            elif version > self._newest_after:
                self._report(version, f"leads to version {version}, which there is not: {ELSE}")
            else:
                self._scores[version] = score
        # The newest version is always among them: it tells at which version they were read.
        self._newest = max([self._newest, *self._scores])
        if not complete:
            self._from = min(self._scores, default=0)

    def see(self, entry: Entry) -> None:
        """One commit older than those before."""
        if not self._from <= entry.version <= self._newest:
            return
        version, score = entry.version, self._scores.get(entry.version)
        if score is None:
            if entry.stamp < self._earliest and self.sure:
                self._report(version, f"does not lead to version {version}: look-ups by time miss it")
        elif score != entry.stamp:
            says = f"has version {version} at {iso(score)}, while its time is {iso(entry.stamp)}: {ELSE}"
            self._report(version, says)
        elif entry.stamp >= self._earliest:
            self._report(version, f"leads to version {version}, which a later one of an earlier time overtook: {ELSE}")
        self._earliest = min(self._earliest, entry.stamp)

    def _report(self, version: int | None, says: str) -> None:
        self._found.append(Disagreement(self._key, version, says))


def shown(text: bytes) -> str:
    """The text for a message."""
    return repr(text[:40].decode(errors="replace"))


def iso(stamp: float) -> str:
    """Microseconds as a time, for a message."""
    try:
        return format_timestamp(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stamp))
    except (OverflowError, ValueError):
        return f"{stamp:.0f}"
