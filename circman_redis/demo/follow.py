"""The parent's side of the event stream: what came over it, and whether all of it came in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from circman_redis.events import Event, FrozenState, HistoryGap, StateEvent, StateRolledBack
from circman_redis.twin.domain import DomainEvent, DomainSubscription
from circman_redis.view.feed import Feed
from circman_redis.view.happenings import in_words
from circman_redis.view.rates import Rates
from circman_redis.view.words import incident, name_of

PATIENCE = 10.0
"""Seconds to wait for the last events, once their commits were acknowledged."""

SHORT = 0.01
"""Seconds between two looks."""


@dataclass(slots=True)
class Tape:
    """Pure: the versions that came, each held against the one before.

    Attributes:
        last: the version before the first one that is to come; later the last one that came.
        received: how many commits came.
        problems: what did not come as it should, a sentence each.
    """

    last: int
    received: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """Takes in an event."""
        match event:
            case StateEvent():
                if event.version != self.last + 1:
                    self.problems.append(f"the event of version {event.version} came after that of version {self.last}")
                self.received += 1
                self.last = event.version
            case HistoryGap():
                self.problems.append(incident(event))
                self.last = event.lost[-1]
            case StateRolledBack():
                self.problems.append(incident(event))
                self.last = event.version
            case _:
                self.problems.append(incident(event))

    def check(self, newest: int) -> list[str]:
        """The problems, once all should have come.

        Args:
            newest: the twin's version.
        """
        ends = [f"the event stream ends at version {self.last}, not at {newest}"] if self.last != newest else []
        return [*self.problems, *ends]

    def conclusion(self, first: int, newest: int) -> str:
        """What there is to say of the stream at the end.

        Args:
            first: the version of the first commit that had to come.
            newest: the twin's version.
        """
        came = f"event stream: {self.received} events"
        if self.check(newest):
            return f"{came}, and not each of the versions {first}..{newest} once and in order"
        return f"{came}, versions {first}..{newest}, each once and in order"


class Follower:
    """What was seen of the twin over its events.

    Args:
        feed: the events after the first commit.
        state: the one that the first commit made.
        version: its version.
        clock: that of the feed.

    Attributes:
        feed: where they come from.
        tape: whether all came in order.
        state: the newest.
        newest: the last events, newest first, and when they came.
        rates: commits per second.
    """

    def __init__(
        self, feed: Feed[Event], state: FrozenState, version: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.feed = feed
        self.tape = Tape(version)
        self.state = state
        self.newest: deque[tuple[datetime, Event]] = deque(maxlen=50)
        self.rates = Rates(clock())
        self._clock = clock

    @property
    def version(self) -> int:
        """The version of the newest state."""
        return self.tape.last

    def follow(self) -> None:
        """Takes in what came since.

        Raises:
            CircmanError: nothing will come any more.
        """
        for moment, date, event in self.feed.take():
            self.tape.note(event)
            self.newest.appendleft((date, event))
            if isinstance(event, StateEvent):
                self.rates.add(moment, name_of(event.actor))
                self.state = event.state
            elif isinstance(event, StateRolledBack):
                self.state = event.state

    def catch_up(self, version: int) -> None:
        """Waits for what was acknowledged to come.

        Args:
            version: the newest that was.

        Raises:
            CircmanError: nothing will come any more.
        """
        give_up = self._clock() + PATIENCE
        self.follow()
        while self.version < version and self._clock() < give_up:
            time.sleep(SHORT)
            self.follow()


class Around:
    """What happened around the twin: its domain events.

    Args:
        events: a subscription to them, from before the first.

    Attributes:
        seen: all that came.
    """

    def __init__(self, events: DomainSubscription) -> None:
        self._feed = Feed(events)
        self.seen: list[DomainEvent] = []

    def take(self) -> list[DomainEvent]:
        """Takes in what came since.

        Raises:
            CircmanError: nothing will come any more.
        """
        came = [event for _, _, event in self._feed.take() if isinstance(event, DomainEvent)]
        self.seen += came
        return came

    def news(self) -> list[str]:
        """What came since, in words; of workers only those that vanished."""
        usual = ("worker_joined", "worker_left")
        return [
            in_words(event) for event in self.take() if event.kind not in usual or event.data.get("why") == "vanished"
        ]

    def catch_up(self, position: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Waits for the event at a position to come.

        Args:
            position: that of the newest.
            clock: seconds.

        Raises:
            CircmanError: nothing will come any more.
        """
        give_up = clock() + PATIENCE
        self.take()
        while all(one.position != position for one in self.seen[-1:]) and clock() < give_up:
            time.sleep(SHORT)
            self.take()
