"""A twin in memory, as far as a subscriber can see it: what resume.lua, lookup.lua and commit.lua would do.

`World` is Redis with its scripts, its channel and its clock; it answers with replies as Redis would send them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from circman_redis import protocol, refusals
from circman_redis.errors import CircmanError, StoreError, StoreUnavailable
from circman_redis.keys import TwinKeys
from circman_redis.protocol import Call
from circman_redis.stream import Join, Leave, Ping, Read, Rest

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = 0.001
"""Seconds that waiting takes beyond what was asked for."""


@dataclass(frozen=True)
class Entry:
    """A commit: its record, as meta holds it, and the state that it made."""

    record: bytes
    state: bytes

    @property
    def text(self) -> bytes:
        """As the history holds it."""
        return self.record[:-1] + b',"state":' + self.state + b"}"

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.record)


def page_of(commits: Sequence[Entry], oldest: int, last: int | None, state_known: bool) -> list[bytes]:
    """What resume.lua says behind the epoch and the newest version, on a page that is long enough.

    Args:
        commits: versions 1, 2, 3 ...; the last one is the head.
        oldest: the lowest version that is still there.
        last: the version that the caller knows; None for the head.
        state_known: whether he knows its state.
    """
    last = len(commits) if last is None else last
    is_there = oldest <= last <= len(commits)
    first = max(last + 1, oldest)
    before_is_known = is_there or (state_known and last == 0 and first == 1)
    page = [b""]
    if is_there:
        page = [commits[last - 1].record if state_known else commits[last - 1].text]
    for commit in commits[first - 1 :]:
        leaves_it_out = before_is_known and commit.facts["patch"] is not None
        page.append(commit.record if leaves_it_out else commit.text)
        before_is_known = True
    return page


def merged(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396, section 2, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


def dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(eq=False)
class Made:
    """A commit that was made once, whatever became of it."""

    epoch: str
    entry: Entry
    parent: Made | None
    abandoned: bool = False

    @property
    def version(self) -> int:
        return int(self.entry.facts["version"])

    @property
    def state(self) -> Any:
        return json.loads(self.entry.state)


@dataclass
class World:
    """A twin, its channel, and the time."""

    history_length: int = 1000
    page: int = 512
    keys: TwinKeys = field(default_factory=lambda: TwinKeys("t"))
    flags: bytes = b"K$lhg"

    def __post_init__(self) -> None:
        self.now = 1000.0
        self.line: list[Made] = []  # of the current epoch
        self.oldest = 1
        self.text: Any = None  # what stands under the state key
        self.made: dict[tuple[str, int, str], Made] = {}
        self.epochs: list[str] = []
        self.published: list[bytes] = []
        self.channel: str | None = None
        self.inbox: list[tuple[str, Any]] = []
        self.mute = False  # a connection that seems well, over which nothing comes any more
        self.refused_joins = 0
        self.foreign_writes = 0
        self.gaps: set[tuple[int, int]] = set()  # what replies left out: from, and up to without
        self.unverifiable: set[tuple[str, int]] = set()  # handed out without the commit before it, which was gone
        self._oldest_at: dict[int, int] = {}
        self._ticks = 0

    # --- what others do ---------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        return self.epochs[-1] if self.line else ""

    @property
    def version(self) -> int:
        return len(self.line)

    @property
    def state(self) -> Any:
        """What a reader of the state key reads."""
        return {} if self.text is None else json.loads(self.text)

    @property
    def entries(self) -> list[Entry]:
        return [made.entry for made in self.line]

    def at(self, version: int) -> Any:
        """The state at a version."""
        return self.line[version - 1].state if version else {}

    def commit(self, op: str = "merge", body: Any = None, *, omitted: bool = False, actor: str | None = None) -> None:
        """One commit, as commit.lua makes it."""
        body = {"n": self.version + 1} if body is None else body
        before = self.state
        if self.line:  # what stands there goes into the history
            self.line[-1].entry = Entry(self.line[-1].entry.record, self.text)
        else:
            self.epochs.append(f"epoch{len(self.epochs)}")
        whole = op in {"set", "import"}
        if op == "adjust":
            body = {"n": before.get("n", 0) + 1}
        state = dumped(body if whole else merged(before, body))
        version = self.version + 1
        facts = {"version": version, "timestamp": None, "committed_at": self._tick(), "op": op, "actor": actor}
        facts["id"] = f"id{self._ticks}" if self._ticks % 2 else None
        entry = Entry(dumped({**facts, "patch": None if whole else body}), state)
        made = Made(self.epoch or self.epochs[-1], entry, self.line[-1] if self.line else None)
        self.line.append(made)
        self.made[made.epoch, version, facts["committed_at"]] = made
        self.text = state
        self.oldest = max(self.oldest, version - self.history_length)
        self._oldest_at[version] = self.oldest
        news = {"body": "omitted"} if omitted else {"state" if whole else "patch": body}
        self._publish({**facts, **news}, b"set")

    def clear(self) -> None:
        if self.line and not self.is_corrupt:
            self.oldest = self._oldest_at[self.version] = self.version
            self._publish({"version": self.version, "op": "clear", "actor": None, "committed_at": self._tick()}, None)

    def delete(self) -> None:
        if self.line:
            news = {"version": self.version, "op": "delete", "actor": None, "committed_at": self._tick()}
            self._publish(news, b"del")
            self.line, self.oldest, self.text, self._oldest_at = [], 1, None, {}

    def set_back(self, version: int, commits: int = 0) -> None:
        """A failover to a replica that is behind: the connection is cut, and others go on from there."""
        for lost in self.line[version:]:
            lost.abandoned = True
        self.line = self.line[:version]
        self.text, self.oldest = self.line[-1].entry.state, self._oldest_at[version]
        self.cut()
        for _ in range(commits):
            self.commit()

    def write(self, text: Any) -> None:
        """Something else writes the state key; None removes it."""
        if text != self.text:
            self.text = text
            self.foreign_writes += 1
            self._notify(b"set" if text is not None else b"del")

    def publish(self, message: bytes) -> None:
        """Whatever anybody says on the channel."""
        if self.channel == self.keys.events:
            self._send("message", message)

    def cut(self) -> None:
        """The connection is lost, with all that was under way."""
        self.channel, self.inbox = None, []

    def _publish(self, news: dict[str, Any], keyspace: bytes | None) -> None:
        message = dumped({"twin": self.keys.twin, "epoch": self.epoch, **news})
        self.published.append(message)
        self.publish(message)
        if keyspace:
            self._notify(keyspace)

    def _notify(self, what: bytes) -> None:
        if self.channel == f"__keyspace@0__:{self.keys.state}":
            self._send("message", what)

    def _send(self, kind: str, data: Any) -> None:
        if self.channel is not None and not self.mute:
            self.inbox.append((kind, data))

    def _tick(self) -> str:
        self._ticks += 1
        return (START + timedelta(milliseconds=self._ticks)).isoformat()

    # --- what a subscriber asks for ---------------------------------------------------------------------------

    def do(self, wanted: Any) -> Any:
        """What comes of an Action or a Call; a Read is answered with the oldest message."""
        match wanted:
            case Call():
                return self.call(wanted)
            case Join(channel):
                self.cut()
                if self.refused_joins:
                    self.refused_joins -= 1
                    raise StoreUnavailable("connection refused")
                self.channel, self.inbox, self.mute = channel, [("subscribe", 1)], False
            case Leave():
                self.cut()
            case Rest(seconds):
                assert seconds >= 0
                self.now += seconds + TICK
            case Ping():
                self._check_connection()
                self._send("pong", b"")
            case Read(seconds):
                return self.receive(seconds, 0)
        return None

    def receive(self, seconds: float, which: int | None) -> Any:
        """One of the messages that are under way; None for none, which takes its time."""
        self._check_connection()
        if which is None or not self.inbox:
            self.now += seconds + TICK
            return None
        return self.inbox.pop(which % len(self.inbox))

    def _check_connection(self) -> None:
        if self.channel is None:
            raise StoreUnavailable("the connection is gone")

    def call(self, call: Call[Any]) -> Any:
        """A Call's value, made from a reply as Redis would send it."""
        return protocol.parse(call, self._reply(call), self.keys)

    def _reply(self, call: Call[Any]) -> Any:
        if call.target == "CONFIG":
            assert call.args == ("notify-keyspace-events",)
            return {b"notify-keyspace-events": self.flags}
        if call.target == "GET":
            if not isinstance(self.text, bytes | None):
                raise StoreError("WRONGTYPE Operation against a key holding the wrong kind of value")
            return self.text
        if not self.line:
            if self.text is not None:
                raise self._corrupt(self.keys.meta, "is missing, while there is a state")
            return None
        return self._resume(*call.args) if call.target == "resume" else self._lookup(*call.args)

    def _resume(self, last: Any, state_known: Any) -> list[Any]:
        known = self.version if last == "" else int(last)
        page = page_of(self._entries_as_they_stand(), self.oldest, known, bool(state_known))
        rest = page[1:][: self.page]
        if known == self.version or (known < self.version and len(rest) == len(page) - 1):
            self._check_head()
        if known < self.oldest - 1:
            self.gaps.add((known + 1, self.oldest))
        if not page[0] and known == self.oldest - 1 and known:
            self.unverifiable.add((self.epoch, self.oldest))
        return [self.epoch.encode(), self.version, page[0], *rest]

    def _lookup(self, how: str, wanted: Any) -> list[bytes] | None:
        version = self.version if how == "head" else int(wanted)
        if not self.oldest <= version <= self.version:
            return None
        if version == self.version:
            self._check_head()
        return [self.epoch.encode(), self._entries_as_they_stand()[version - 1].text]

    def _entries_as_they_stand(self) -> list[Entry]:
        entries = self.entries
        text = self.text if isinstance(self.text, bytes) else b""
        return [*entries[:-1], Entry(entries[-1].record, text)]

    @property
    def is_corrupt(self) -> bool:
        """Whether the scripts see that no commit wrote what stands there."""
        text = self.text
        if not self.line:
            return text is not None
        is_object = isinstance(text, bytes) and (text == b"{}" or text.startswith(b'{"')) and text.endswith(b"}")
        return not is_object or len(text) != len(self.line[-1].entry.state)

    def _check_head(self) -> None:
        if self.is_corrupt:
            reason = "is missing" if self.text is None else "is not what the last commit wrote"
            raise self._corrupt(self.keys.state, reason)

    def _corrupt(self, key: str, reason: str) -> CircmanError:
        error = refusals.error_of("CIRCMAN_CORRUPT " + json.dumps({"key": key, "reason": reason}), self.keys)
        assert error is not None
        return error
