"""Pure: what a subscription has handed out, and what comes next. Order, gaps and rollbacks are decided here.

Messages may be lost, doubled, delayed or forged; what stands in Redis is the truth. A message that continues what was
handed out is taken as it is. Any other one only sets `Timeline.behind`, and `Timeline.catch_up` reads.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any, TypeAlias, TypeGuard

from circman_redis import patch as patches
from circman_redis import protocol
from circman_redis.codec import decode
from circman_redis.errors import CorruptTwin, InvalidJSON, StoreError, StoreUnavailable
from circman_redis.events import Event, ForeignWrite, FrozenState, HistoryGap, StateEvent, StateRolledBack
from circman_redis.frozen import EMPTY, freeze, merge
from circman_redis.keys import TwinKeys
from circman_redis.protocol import Call
from circman_redis.results import Page, Snapshot, position

log = logging.getLogger("circman_redis")

Reading: TypeAlias = Generator[Call[Any], Any, list[Event]]
Facts: TypeAlias = dict[str, Any]

_MARKS = 1024
"""Versions by whose commits a rollback within an epoch is traced back to where it began."""

_RETIRED = 64
"""Epochs that are remembered as over."""

_NOTHING = Snapshot(EMPTY)


class Timeline:
    """One twin's commits in the order of their versions, each once.

    Args:
        keys: the twin's.
        epoch: of the version to begin after; empty for whichever the twin has.
        version: what was handed out last; None to begin after the newest commit.
        committed_at: when that was committed; empty where it is not known.
        compare: compare the state in Redis with the copy kept here whenever there is no news.

    Attributes:
        committed_at: when the commit of `version` was stored; empty where that is not known.
        state: the state at `version`, kept current without reading; None where it is not known yet.
        behind: whether Redis has to be read before anything is certain.
    """

    def __init__(
        self, keys: TwinKeys, epoch: str, version: int | None, committed_at: str = "", *, compare: bool = False
    ) -> None:
        self.epoch = epoch
        self.version = version
        self.state: FrozenState | None = None if version else EMPTY
        self.behind = True
        self._keys = keys
        self._compare = compare
        self.committed_at = committed_at
        self._heard = 0  # the highest version that a message of this epoch spoke of
        # Version -> when it was committed, which tells a commit from another one of the same version.
        self._marks: dict[int, str] = {version: committed_at} if version and committed_at else {}
        self._retired: dict[str, None] = {}
        self._stranger = ""  # an epoch that a message spoke of, and that was not looked into yet
        self._looked_twice = False
        self._reported: tuple[str, bytes | None] | None = None  # the foreign text that was told of, while it is there

    @property
    def position(self) -> str:
        """What was handed out last, as `StateEvent.position`."""
        return position(self.epoch, self._at, self.committed_at)

    # --- messages --------------------------------------------------------------------------------------------

    def offer(self, message: bytes) -> list[Event]:
        """What a message brings. It may set `behind`: then it is not what comes next, or does not say all."""
        facts = _read(message)
        if facts is None:
            log.warning("twin %r: a message on its channel that no commit published: %.100r", self._keys.twin, message)
            self.behind = True
            return []
        epoch = facts["epoch"]
        if self.version is None or facts["op"] == "clear" or epoch in self._retired:
            return []
        if epoch != self.epoch:
            self._stranger = epoch
            self.behind = True
            return []
        if facts["op"] == "delete":
            self._heard = max(self._heard, facts["version"])
            return self._gone()
        return self._next(facts)

    def _next(self, facts: Facts) -> list[Event]:
        """The event of a commit's message, if it is the one that comes next and says all."""
        version = facts["version"]
        if version <= self._at:
            # Handed out before; but a commit that is newer, with a version that is not, is of another line.
            self.behind |= facts["committed_at"] > self.committed_at
            return []
        self._heard = max(self._heard, version)
        # committed_at never runs backwards: an older one is of a line that was left.
        follows = version == self._at + 1 and facts["committed_at"] >= self.committed_at
        if not follows or self.state is None or not ("patch" in facts or "state" in facts):
            self.behind = True
            return []
        return [self._commit(facts["epoch"], facts)]

    # --- reading ---------------------------------------------------------------------------------------------

    def catch_up(self) -> Reading:
        """Reads one page of what was missed. `behind` stays set while there may be more.

        Raises:
            CorruptTwin: at the beginning only; later that is a `ForeignWrite`.
        """
        try:
            return (yield from self._read_page())
        except CorruptTwin as error:
            if self.version is None:
                raise
            return (yield from self._foreign(error))

    def _read_page(self) -> Reading:
        known = self.version is not None and self.state is not None
        page: Page | None = yield protocol.resume(self._keys, self.version, state_known=known)
        if self._stranger != (page.epoch if page else ""):
            self._retire(self._stranger)
        self._stranger = ""
        if self.version is None:
            return self._begin(page)
        if page is None:
            return self._nothing()
        if self.epoch and page.epoch != self.epoch:
            return (yield from self._other_epoch(page))
        return (yield from self._follow(page))

    def _begin(self, page: Page | None) -> list[Event]:
        self.version, self.behind = 0, False
        if page is not None and page.last is not None:
            self._stand(page.epoch, page.last)
        return []

    def _nothing(self) -> list[Event]:
        """There is no twin."""
        self.behind = False
        if self.version:
            return self._gone()
        reported, self._reported = self._reported, None
        known_to_be_gone = reported is None or reported[1] is None
        return [] if known_to_be_gone else [self._foreign_event(self._keys.state, "is gone again", EMPTY)]

    def _follow(self, page: Page) -> Reading:
        self.epoch = page.epoch
        self._retired.pop(page.epoch, None)
        if page.newest < self._at or self._is_another(page):
            return (yield from self._set_back(page, (yield from self._last_common(page.newest))))
        events = self._absorb(page)
        self.behind = self._at < page.newest
        if not self.behind:
            self._heard = self._at
        if not events and (self._compare or self._reported):
            return (yield from self._look())
        self._reported = None
        return events

    def _absorb(self, page: Page) -> list[Event]:
        if page.last is not None:
            if self.state is None:
                self.state = freeze(page.last["state"])
            self._mark(page.last)
        events: list[Event] = []
        for facts in page.commits:
            if facts["version"] > self._at + 1:
                events.append(self._gap(page.epoch, facts))
            events.append(self._commit(page.epoch, facts))
        return events

    # --- what is handed out ----------------------------------------------------------------------------------

    @property
    def _at(self) -> int:
        return self.version or 0

    def _commit(self, epoch: str, facts: Facts) -> Event:
        previous, change = self.state, freeze(facts.get("patch"))
        state = freeze(facts["state"]) if "state" in facts else merge(previous, change)
        self.epoch, self.version, self.state = epoch, facts["version"], state
        self._mark(facts)
        told: Facts = {name: facts.get(name) for name in ("op", "actor", "id", "timestamp", "committed_at")}
        return StateEvent(self._keys.twin, epoch, self._at, **told, patch=change, state=state, previous=previous)

    def _gap(self, epoch: str, facts: Facts) -> Event:
        lost = range(self._at + 1, facts["version"])
        self.version, self.state = lost[-1], None
        return HistoryGap(self._keys.twin, epoch, facts["version"], lost, _snapshot(epoch, facts))

    def _gone(self) -> list[Event]:
        """The twin was deleted; whether it was made again is another matter."""
        events: list[Event] = []
        if self._heard > self._at:
            lost = range(self._at + 1, self._heard + 1)
            events.append(HistoryGap(self._keys.twin, self.epoch, lost[-1], lost, _NOTHING))
        events.append(StateRolledBack(self._keys.twin, "", 0, self.epoch, self._at, _NOTHING))
        self._retire(self.epoch)
        self.epoch, self.version, self.state = "", 0, EMPTY
        self.committed_at, self._heard = "", 0
        self._marks.clear()
        return events

    def _other_epoch(self, page: Page) -> Reading:
        """The twin was made again; or restored from a copy, which has commits that were handed out."""
        version = yield from self._last_common(page.newest)
        return (yield from self._set_back(page, version)) if version else self._gone()

    def _set_back(self, page: Page, version: int | None) -> Reading:
        """Other commits than were handed out: back to ``version``, the last one that is in both, or to the newest."""
        facts: Facts | None = yield protocol.commit_at(self._keys, version or page.newest)
        if facts is None or facts["epoch"] != page.epoch:
            return []  # it is not there any more: look again
        epoch, before = self.epoch, self._at
        if epoch != page.epoch:
            self._retire(epoch)
        self._marks = {known: mark for known, mark in self._marks.items() if known <= facts["version"]}
        self._heard = 0
        self._stand(page.epoch, facts)
        return [StateRolledBack(self._keys.twin, page.epoch, self._at, epoch, before, _snapshot(page.epoch, facts))]

    def _last_common(self, newest: int) -> Generator[Call[Any], Any, int | None]:
        """The highest version whose commit in Redis is the one that was handed out; None where none is left."""
        known = sorted(version for version in self._marks if version <= newest)
        common = None
        low, high = 0, len(known)
        while low < high:
            middle = (low + high) // 2
            facts: Facts | None = yield protocol.commit_at(self._keys, known[middle])
            if facts is not None and self._marks[known[middle]] != facts["committed_at"]:
                high = middle
                continue
            low = middle + 1
            common = known[middle] if facts is not None else common
        return common

    # --- what no commit wrote --------------------------------------------------------------------------------

    def _look(self) -> Reading:
        snapshot: Snapshot = yield protocol.snapshot(self._keys)
        if (snapshot.epoch, snapshot.version, snapshot.committed_at) != (self.epoch, self._at, self.committed_at):
            self.behind = True
            return []
        reported, self._reported = self._reported, None
        if patches.same(snapshot.state, _object(reported[1]) if reported else self.state):
            return []  # told of already
        self.state = freeze(snapshot.state)
        return [self._foreign_event(self._keys.state, "was changed by something else than a commit", self.state)]

    def _foreign(self, error: CorruptTwin) -> Reading:
        self.behind = False
        text = yield from self._whatever_is_there()
        if text is None and not self._looked_twice:
            # Maybe only since the script looked.
            self._looked_twice = self.behind = True
            return []
        self._looked_twice = False
        key, reason = error.details.get("key", self._keys.state), error.details.get("reason", str(error))
        if key == self._keys.history:
            return (yield from self._pass_over(reason))
        if (key, text) == self._reported:
            return []
        self._reported = (key, text)
        return [self._foreign_event(key, reason, _object(text))]

    def _pass_over(self, reason: str) -> Reading:
        """A commit in the history was damaged: to the newest one, or nothing would ever be handed out again."""
        page: Page | None = yield protocol.resume(self._keys, None, state_known=False)
        if page is None or page.last is None or page.newest <= self._at:
            self.behind = True
            return []
        events = [self._foreign_event(self._keys.history, reason, None)]
        if page.newest > self._at + 1:
            events.append(self._gap(page.epoch, page.last))
        return [*events, self._commit(page.epoch, page.last)]

    def _whatever_is_there(self) -> Generator[Call[Any], Any, bytes | None]:
        try:
            text: bytes | None = yield protocol.raw_state(self._keys)
        except StoreUnavailable:
            raise
        except StoreError:
            return None  # no string
        return text

    def _foreign_event(self, key: str, reason: str, state: FrozenState | None) -> Event:
        return ForeignWrite(self._keys.twin, self.epoch, self._at, key, reason, state, self.committed_at)

    # --- what is remembered ----------------------------------------------------------------------------------

    def _stand(self, epoch: str, facts: Facts) -> None:
        self.epoch, self.version, self.state = epoch, facts["version"], freeze(facts["state"])
        self._mark(facts)

    def _mark(self, facts: Facts) -> None:
        self.committed_at = facts["committed_at"]
        self._marks[facts["version"]] = facts["committed_at"]
        if len(self._marks) > _MARKS:
            del self._marks[next(iter(self._marks))]

    def _is_another(self, page: Page) -> bool:
        """Whether the commit of the last version is not the one that was handed out."""
        if page.last is not None:
            committed_at: str = page.last["committed_at"]
            return self._marks.get(self._at, committed_at) != committed_at
        # It left the history. Then the next commit tells, if it is still there, and has a patch.
        following: Facts = page.commits[0] if page.commits else {}
        state, change = following.get("state"), following.get("patch")
        if self.state is None or state is None or change is None or following["version"] != self._at + 1:
            return False
        return not patches.same(patches.merge(self.state, change), state)

    def _retire(self, epoch: str) -> None:
        if epoch:
            self._retired[epoch] = None
        if len(self._retired) > _RETIRED:
            del self._retired[next(iter(self._retired))]


_KINDS = {"twin": str, "epoch": str, "version": int, "op": str, "committed_at": str}


def _read(message: bytes) -> Facts | None:
    """The facts in a message; None where it is not one of a commit script."""
    try:
        facts = decode(message)
        return _frozen(facts) if _is_ours(facts) else None
    except InvalidJSON:
        return None


def _is_ours(facts: Any) -> TypeGuard[Facts]:
    if not isinstance(facts, dict):
        return False
    for name, kind in _KINDS.items():
        if type(facts.get(name)) is not kind:
            return False
    return isinstance(facts.get("patch", EMPTY), dict) and isinstance(facts.get("state", EMPTY), dict)


def _frozen(facts: Facts) -> Facts:
    for name in ("patch", "state"):
        if name in facts:
            facts[name] = freeze(facts[name])
    return facts


def _snapshot(epoch: str, facts: Facts) -> Snapshot:
    names = ("version", "timestamp", "committed_at", "actor", "op")
    return Snapshot(freeze(facts["state"]), epoch=epoch, **{name: facts[name] for name in names})


def _object(text: bytes | None) -> FrozenState | None:
    try:
        value = freeze(decode(text)) if text is not None else None
    except InvalidJSON:
        return None
    return value if isinstance(value, dict) else None
