"""Pure: a twin as it is to be seen, from its events and a clock."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from circman_redis import patch
from circman_redis.events import Event, ForeignWrite, FrozenState, Heartbeat, StateEvent, StateRolledBack
from circman_redis.results import Snapshot
from circman_redis.view import tree
from circman_redis.view.marks import Marks
from circman_redis.view.movers import Movers
from circman_redis.view.rates import Rates
from circman_redis.view.words import STAMP, name_of

_EVENTS = 200


class Picture:
    """What has been seen of a twin.

    Events are taken in as they come, and cost next to nothing. What changed, what moves and what the tree looks like
    is found out by `look`, once per drawing, however many events there were.

    Args:
        twin: its id.
        server: where it is, for the eye.
        snapshot: how it stood at the beginning.
        now: in seconds by a clock that only goes forward.

    Attributes:
        state: the newest.
        version: its version; 0 where there is none.
        epoch: the twin's.
        deleted: whether it was deleted before our eyes.
        foreign: whether the state is not what the last commit made.
        rates: commits per second.
        events: the last ones, newest first, and when they came.
        marks: what changed just now.
        movers: the numbers that move.
        root: the state's tree.
        news: whether anything came since it was last looked at.
    """

    def __init__(self, twin: str, server: str, snapshot: Snapshot, now: float) -> None:
        self.twin, self.server = twin, server
        self.state: FrozenState = snapshot.state
        self.version, self.epoch = snapshot.version, snapshot.epoch
        self.deleted = self.foreign = False
        self.rates, self.movers, self.marks = Rates(now), Movers(now), Marks()
        self.events: deque[tuple[datetime, Event]] = deque(maxlen=_EVENTS)
        self.root = tree.grow(self.state)
        self.news = True
        self._shown: frozenset[str] = frozenset()

    def take(self, event: Event, now: float, moment: datetime) -> None:
        """Takes in an event.

        Args:
            event: any; a heartbeat is no news.
            now: when it came.
            moment: the same by the calendar.
        """
        if isinstance(event, Heartbeat):
            return
        self.news = True
        self.events.appendleft((moment, event))
        match event:
            case StateEvent():
                self.rates.add(now, name_of(event.actor))
                self._stand(event, event.state)
            case StateRolledBack():
                self._stand(event, event.state)
                self.deleted = not event.epoch
            case ForeignWrite():
                self._stand(event, event.state or {})
                self.foreign = True

    def _stand(self, event: Event, state: FrozenState) -> None:
        self.state, self.version, self.epoch = state, event.version, event.epoch
        self.deleted = self.foreign = False

    def look(self, now: float) -> None:
        """Finds out what changed since the last look."""
        changes = [one for one in patch.diff(self.root.value, self.state) if one.pointer != STAMP]
        self.marks.fade(now)
        self.marks.note(changes, now)
        self.movers.note(changes, self.state, now)
        self.root = tree.grow(self.state, self.root)
        self.news = False

    def rows(self, room: int) -> list[tree.Row]:
        """The tree's lines, in so many of them."""
        found = tree.rows(self.root, self.marks, room, self._shown)
        self._shown = frozenset(row.pointer for row in found)
        return found

    def is_moving(self, now: float) -> bool:
        """Whether it looks different after a while, even where nothing comes."""
        return self.news or bool(self.marks.at) or any(self.rates.by_actor(now).values())
