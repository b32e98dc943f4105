"""Pure: when a subscription connects, listens, reads and gives up, as generators of what to do next.

A step yields an Action (of the connection that listens) or a Call (of the one that reads), and is sent what came of it,
or has its error thrown in. ``subscription.py`` does what it says, for threads and for tasks.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias, TypeVar

from redis.backoff import ExponentialWithJitterBackoff

from circman_redis import observing, protocol
from circman_redis import patch as patches
from circman_redis.errors import StoreError, StoreUnavailable, UsageError
from circman_redis.events import Event, Heartbeat, StateEvent
from circman_redis.keys import TwinKeys
from circman_redis.patch import MISSING
from circman_redis.protocol import Call
from circman_redis.results import read_position
from circman_redis.timeline import Timeline
from circman_redis.wish import Wish

T = TypeVar("T")
log = logging.getLogger("circman_redis")

POLL = 0.25
"""Seconds after which whoever listens looks whether it was closed."""

LOOK = 10.0
"""Seconds after which a connection that seems well is not taken at its word: the version is read."""

_MOST_WAKE_UPS = 256  # that one reading answers
_ENOUGH = 10  # failures after which the rests grow no longer


class Heard(Enum):
    """Whether messages come: a look at the version may find commits of which there was none."""

    YES = auto()
    DOUBTED = auto()
    ASKED = auto()  # what was on its way, if anything was, comes before the answer to this PING


@dataclass(frozen=True, slots=True)
class Join:
    """Connect anew, and subscribe to a channel.

    Attributes:
        channel: its name.
        sharded: whether it is a sharded one (SSUBSCRIBE).
    """

    channel: str
    sharded: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """Drop the connection, if there is one."""


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for a message: its type and its data, as redis-py names them, or None when the time is up."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for a sign of life; the answer comes as a message."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Do nothing for a while."""

    seconds: float


Action: TypeAlias = Join | Leave | Read | Ping | Rest
Steps: TypeAlias = Generator[Action | Call[Any], Any, T]


class Stream:
    """One subscription.

    Args:
        keys: the twin's.
        wish: what the subscriber asked for.
        patience: seconds to wait for an answer before a connection counts as dead.
        clock: seconds that only go forward.

    Attributes:
        timeline: what was handed out.
        connected: whether there is a connection that listens.
        refusal: what the server refused last, until it refuses no more.
        current_at: when everything up to then was known to have been received and handed out, by the clock.
        closed: set to end it.
        database: the number of the database, for keyspace notifications; to be set before it begins.
        sharded: whether events come by sharded pub/sub, as in a cluster; to be set before it begins.
    """

    def __init__(
        self,
        keys: TwinKeys,
        wish: Wish,
        *,
        patience: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeline = Timeline(keys, *wish.start(), compare=wish.source == "keyspace")
        self.connected = False
        self.refusal: StoreError | None = None
        self.current_at: float | None = None
        self.closed = False
        self.database = 0
        self.sharded = False
        self._keys = keys
        self._wish = wish
        self._patience = patience
        self._clock = clock
        self._ready: deque[Event] = deque()
        self._backoff = ExponentialWithJitterBackoff(cap=1.0, base=0.05)
        self._failures = 0
        self._trouble: StoreUnavailable | None = None
        self._known_at: float | None = None
        self._rest_until = 0.0
        self._pinged: float | None = None
        self._alive_at = 0.0
        self._looked_at = 0.0
        self._looking = False
        self._heard = Heard.YES
        self._wake_ups = 0
        self._idle = False
        self._handed = self.timeline.position
        self._quiet = 0.0  # seconds waited without an event, up to the last heartbeat

    @property
    def twin(self) -> str:
        """The twin's id."""
        return self._keys.twin

    # --- what the subscriber calls ---------------------------------------------------------------------------

    def begin(self) -> Steps[None]:
        """Goes on until the subscription stands, and the version to begin after is known.

        Raises:
            StoreUnavailable: not within the patience.
            StoreError: the server refuses to be listened to, or read.
            CorruptTwin: the twin is not what commits made.
        """
        give_up = self._clock() + self._patience
        while not self.closed and (not self.connected or self.timeline.version is None or self.timeline.state is None):
            if self._trouble and self._clock() >= give_up:
                raise self._unavailable()
            if self._ready and self.connected:
                return  # a gap, or what stood in the place of the state
            yield from self._step(POLL)
        self._settle()

    def next(self) -> Steps[Event | None]:
        """The next event; None when the time is up, or it was closed.

        Raises:
            StoreUnavailable: the time is up, and there is no connection that could know of an event.
            StoreError: the server refuses to be listened to, or read, by now.
        """
        begin = self._clock()
        self._idle = False
        stepped = False
        while not self.closed:
            if self._ready:
                self._quiet = 0.0
                return self._hand(self._ready.popleft())
            self._settle()
            waited = self._clock() - begin
            if stepped and self._is_over(self._quiet + waited):
                break
            if self._is_beat(waited):
                self._quiet += waited
                return self._heartbeat()
            yield from self._step(self._room(waited))
            stepped = True
        self._quiet = 0.0
        return None

    def rewind(self) -> None:
        """Goes back to what was handed out last, for whatever was under way was broken off in the middle."""
        self._ready.clear()
        self.timeline = Timeline(self._keys, *read_position(self._handed), compare=self._wish.source == "keyspace")
        self.connected = False

    def _settle(self) -> None:
        """Notes that all that was received has been handed out, if it has."""
        if not self._ready:
            self._handed = self.timeline.position
            self.current_at = self._known_at

    @property
    def position(self) -> str:
        """What was handed out last, as `StateEvent.position`.

        Raises:
            UsageError: it does not stand yet.
        """
        if self.timeline.version is None:
            raise UsageError(f"the subscription to twin {self._keys.twin!r} does not stand yet: it has no position")
        return self._handed

    def _heartbeat(self) -> Heartbeat:
        epoch, version, committed_at = self.timeline.epoch, self.timeline.version or 0, self.timeline.committed_at
        return Heartbeat(self._keys.twin, epoch, version, connected=self.connected, committed_at=committed_at)

    def _hand(self, event: Event) -> Event:
        if observer := observing.observer:
            observer.handed_out(event)
        self._handed = event.position
        return event

    def _is_over(self, quiet: float) -> bool:
        if self._wish.timeout is None or quiet < self._wish.timeout:
            return False
        if self._trouble:
            self._quiet = 0.0
            raise self._unavailable()
        if self.timeline.behind:
            return False
        if self._idle or self._looked_at >= self._clock() - (quiet - self._wish.timeout):
            return True
        self.timeline.behind = True  # messages keep coming, and none of them is wanted: one look, and it is over
        return False

    def _is_beat(self, waited: float) -> bool:
        due = self._wish.heartbeat is not None and waited >= self._wish.heartbeat
        return due and (self._idle or self._trouble is not None)

    def _room(self, waited: float) -> float:
        """Seconds to wait in one go."""
        ends = [POLL]
        if self._wish.timeout is not None:
            ends.append(self._wish.timeout - self._quiet - waited)
        if self._wish.heartbeat is not None:
            ends.append(self._wish.heartbeat - waited)
        return max(0.0, min(ends))

    def _unavailable(self) -> StoreUnavailable:
        return StoreUnavailable(f"no events, for there is no connection: {self._trouble}")

    def _missing(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(f"twin {self._keys.twin!r}: {what} within {self._patience:g} s")

    def _deaf(self) -> StoreUnavailable:
        why = "there were commits of which no message came: the twin may be on another server by now"
        return StoreUnavailable(f"twin {self._keys.twin!r}: {why}")

    # --- one thing at a time ---------------------------------------------------------------------------------

    def _step(self, seconds: float) -> Steps[None]:
        try:
            if self.connected and self.timeline.behind:
                yield from self._catch_up()
            elif self.connected:
                yield from self._listen(seconds)
            elif self._clock() >= self._rest_until:
                yield from self._join()
            else:
                yield Rest(max(0.0, min(seconds or POLL, self._rest_until - self._clock())))
        except StoreUnavailable as error:
            yield from self._lost(error)
        except StoreError as error:
            self.refusal, self._pinged = error, None
            raise

    def _join(self) -> Steps[None]:
        if self._wish.source == "keyspace":
            yield from self._check_notifications()
            yield Join(f"__keyspace@{self.database}__:{self._keys.state}")
        else:
            yield Join(self._keys.events, self.sharded)
        give_up = self._clock() + self._patience
        while True:
            message = yield Read(POLL)
            if message is not None and message[0].endswith("subscribe"):
                break
            if self._clock() >= give_up:
                raise self._missing("no answer to SUBSCRIBE")
        self.connected, self.timeline.behind = True, True
        self._pinged, self._alive_at = None, self._clock()
        self._looking, self._heard = False, Heard.YES

    def _check_notifications(self) -> Steps[None]:
        try:
            flags: str = yield protocol.notifications()
        except StoreUnavailable:
            raise
        except StoreError:
            return  # not everybody may look; the version is read every LOOK seconds in any case
        if "K" not in flags or ("A" not in flags and not {"$", "g"} <= set(flags)):
            raise StoreError(
                f"twin {self._keys.twin!r}: source='keyspace', but notify-keyspace-events is {flags!r} on the server: "
                f"CONFIG SET notify-keyspace-events {''.join(dict.fromkeys('K$lhg' + flags))}, or use source='channel'"
            )

    def _catch_up(self) -> Steps[None]:
        asked = self._clock()
        events = yield from self.timeline.catch_up()
        self._hand_out(events)
        if self._looking and self._heard is Heard.YES and any(isinstance(event, StateEvent) for event in events):
            self._heard = Heard.DOUBTED
        self._looking = self._looking and self.timeline.behind
        self._failures = 0
        if self._trouble:
            log.info("twin %r: connected again, at version %s", self._keys.twin, self.timeline.version)
            _count_reconnect()
        self._trouble = self.refusal = None
        if not self.timeline.behind:
            self._looked_at = self._known_at = asked

    def _listen(self, seconds: float) -> Steps[None]:
        now = self._clock()
        if now - self._looked_at >= LOOK:
            self._looking = self.timeline.behind = True
            return
        until_ping = self._alive_at + self._wish.pulse - now
        if self._pinged is None and (until_ping <= 0 or self._heard is Heard.DOUBTED):
            self._pinged = now
            self._heard = Heard.ASKED if self._heard is Heard.DOUBTED else self._heard
            yield Ping()
        elif self._pinged is None:
            seconds = min(seconds, until_ping)
        message = yield Read(0 if self._wake_ups else seconds)
        if message is not None:
            self._take(*message)
        elif self._wake_ups:
            self._wake_up()
        else:
            self._idle = True
            if self._pinged is not None and self._clock() - self._pinged >= self._patience:
                raise self._missing("no answer to PING")

    def _take(self, kind: str, data: Any) -> None:
        if kind == "pong":
            # Messages come in order: all that was published before the PING has been received.
            self._known_at, self._pinged, self._alive_at = self._pinged, None, self._clock()
            if self._heard is Heard.ASKED:
                raise self._deaf()
        elif kind.endswith("unsubscribe"):
            raise StoreUnavailable(f"twin {self._keys.twin!r}: the server ended the subscription")
        elif kind.endswith("subscribe"):
            self.timeline.behind = True  # redis-py connected anew by itself
            _count_reconnect()
        else:
            self._heard = Heard.YES
            self._take_message(data)

    def _take_message(self, data: Any) -> None:
        if self._wish.source == "channel":
            self._hand_out(self.timeline.offer(data))
            return
        self._wake_ups += 1
        if self._wake_ups >= _MOST_WAKE_UPS:
            self._wake_up()

    def _wake_up(self) -> None:
        self._wake_ups = 0
        self.timeline.behind = True

    def _lost(self, error: StoreUnavailable) -> Steps[None]:
        if not self._trouble:
            log.warning("no events for now, connecting again: %s", error)
        self.connected, self._trouble = False, error
        self._failures += 1
        self._rest_until = self._clock() + self._backoff.compute(min(self._failures, _ENOUGH))
        yield Leave()

    # --- what is handed out ----------------------------------------------------------------------------------

    def _hand_out(self, events: list[Event]) -> None:
        self._ready.extend(event for event in events if self._is_wanted(event))

    def _is_wanted(self, event: Event) -> bool:
        """Whether a commit changed something at one of the paths, below it or above it."""
        if self._wish.paths is None or not isinstance(event, StateEvent) or event.previous is None:
            return True
        for path in self._wish.paths:
            before, after = (patches.resolve(state, path, MISSING) for state in (event.previous, event.state))
            if before is not after and not patches.same(before, after):
                return True
        return False


def _count_reconnect() -> None:
    if observer := observing.observer:
        observer.reconnected()
