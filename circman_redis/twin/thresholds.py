"""Thresholds of a twin: their rules stand in Redis, any number of observers judge by them, and each turn is taken once.

See docs/thresholds.md. What is judged is pure, in ``standing.py``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from circman_redis import protocol
from circman_redis.errors import StateConflict, StoreError, UsageError, WaitTimeout
from circman_redis.events import Event, FrozenState, Heartbeat, HistoryGap, StateEvent, StateRolledBack
from circman_redis.frozen import EMPTY, freeze
from circman_redis.manager import StateManager
from circman_redis.mirror import Mirror
from circman_redis.patch import merge
from circman_redis.results import Commit, Snapshot, position
from circman_redis.timestamps import format_timestamp, microseconds, moment_of, parse_timestamp
from circman_redis.twin import standing
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.standing import Moment, Standing, Turn, Watch
from circman_redis.twin.threshold_rule import ThresholdRule

log = logging.getLogger("circman_redis.twin")

TICK = 0.25
"""Seconds after which an observer looks whether a breach has lasted long enough, or whether it is to stop."""

AGAIN = 1.0
"""Seconds until it tries again, where the server did not answer."""

PATIENCE = 5.0
"""Seconds until what was decided has to be known here; then it begins anew."""

REPLAY = 10_000
"""Commits before the newest one that an observer judges at most, where there was none for a while."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold of a twin.

    Attributes:
        rule: its rule.
        standing: how it stands.
    """

    rule: ThresholdRule
    standing: Standing

    def to_json(self) -> dict[str, Any]:
        """The threshold as a JSON object."""
        facts = {name: getattr(self.standing, name) for name in self.standing.__slots__}
        return {"name": self.rule.name} | standing.rule_json(self.rule) | facts


class Thresholds:
    """The rules of a twin, as all observers go by them.

    Args:
        manager: the twin's.
        events: its domain events.
    """

    def __init__(self, manager: StateManager, events: DomainEvents) -> None:
        self._manager, self._events = manager, events

    def get(self) -> list[Threshold]:
        """All of them, by name."""
        domain = freeze(self._events.state())
        return [Threshold(rule, Standing.of(domain, rule.name)) for rule in rules_in(domain)]

    def set(self, *rules: ThresholdRule, actor: str | None = None) -> Commit | None:
        """Adds rules; one of the same name is replaced, and its threshold stands as it stood until it is judged anew.

        Args:
            rules: what to add.
            actor: who does.

        Returns:
            The commit; None where they were all there.

        Raises:
            UsageError: two have the same name, or a value that a merge patch cannot say.
        """
        return self._publish(rules, actor, replacing=True)

    def add(self, *rules: ThresholdRule, actor: str | None = None) -> Commit | None:
        """Adds those rules of whose name there is none; arguments, results and errors are those of `set`."""
        return self._publish(rules, actor, replacing=False)

    def remove(self, name: str, *, actor: str | None = None) -> Commit | None:
        """Removes a rule; its threshold is cleared, if it is breached.

        Returns:
            The commit; None where there is no such rule.
        """
        return self._events.decide(lambda domain: standing.removed(freeze(domain), name), actor=actor)

    def _publish(self, rules: Iterable[ThresholdRule], actor: str | None, *, replacing: bool) -> Commit | None:
        wanted = {rule.name: rule for rule in _checked(list(rules))}
        head = _moment(self._manager.snapshot())
        return self._events.decide(
            lambda domain: standing.published(freeze(domain), wanted, head, replacing=replacing), actor=actor
        )


class ThresholdObserver:
    """Judges the commits of a twin by its rules, as one of any number of observers.

    It follows the commits without a hole, from those on that nobody judged yet. What was decided in Redis meanwhile, by
    others, it goes by; so a breach is raised once and cleared once, whoever is behind, killed, or begins anew. As a
    context manager it observes on a thread of its own for as long as the block lasts.

    Args:
        manager: the twin's.
        events: its domain events.
        actor: who decides; None for whoever commits to the twin.
    """

    def __init__(self, manager: StateManager, events: DomainEvents, *, actor: str | None = None) -> None:
        self._manager, self._events, self._actor = manager, events, actor
        self._watches: dict[str, Watch] = {}
        self._void: dict[str, Standing] = {}  # as they stand by commits that are no more
        self._due: dict[str, float] = {}  # by the monotonic clock
        self._known = ("", 0)  # epoch and version of the rules
        self._last: Moment | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self.run, args=(self._over,), name="thresholds", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def run(self, stop: threading.Event) -> None:
        """Observes until it is told to stop; while the server is away, it waits.

        Args:
            stop: set to stop.

        Raises:
            StateError: the twin, or what stands beside its events, is not what commits made.
        """
        while not stop.is_set():
            try:
                with self._events.mirror() as domain:
                    self._observe(domain, stop)
            except (StoreError, StateConflict, WaitTimeout) as error:
                log.warning("twin %r: no thresholds are judged, trying again: %s", self._manager.twin, error)
                stop.wait(AGAIN)

    def _observe(self, domain: Mirror, stop: threading.Event) -> None:
        self._watches, self._last, self._due = {}, None, {}
        self._learn(domain)
        head = self._look(domain)
        judged = [Standing.of(domain.state, name).version for name in self._watches if name not in self._void]
        everything = [0] if self._void else []
        start = max(min(judged + everything, default=head.version), head.version - REPLAY, 0)
        with self._manager.subscribe(position(head.epoch, start), heartbeat=TICK) as commits:
            if start == head.version:
                self._judge(domain, head)
            for event in commits:
                if stop.is_set():
                    return
                self._take(domain, event)

    def _look(self, domain: Mirror) -> Moment:
        """The twin's newest commit; what thresholds were judged by commits that are no more, is known then.

        Where there is no twin, it is the time at which there was none: after all that was committed before, so that
        nobody who is behind judges that once more, and before all that comes.
        """
        now = self._manager.run(protocol.server_time())
        head = _moment(self._manager.snapshot(), nothing_at=format_timestamp(moment_of(now)))
        standings = {name: Standing.of(domain.state, name) for name in self._watches}
        self._void = {name: one for name, one in standings.items() if self._is_void(one, head)}
        return head

    def _is_void(self, how: Standing, head: Moment) -> bool:
        if not how.committed_at or how.epoch != head.epoch or how.version > head.version:
            return how.epoch != head.epoch or how.version > head.version
        there = self._manager.run(protocol.commit_at(self._manager.keys, how.version))
        return there is not None and there["committed_at"] != how.committed_at  # None: it left the history

    def _take(self, domain: Mirror, event: Event) -> None:
        if (domain.epoch, domain.version) != self._known:
            self._learn(domain)
            if self._last:
                self._judge(domain, self._last)
        match event:
            case StateEvent():
                if self._last and self._last.epoch != event.epoch:
                    self._look(domain)
                self._judge(domain, Moment(event.epoch, event.version, event.committed_at, event.state))
            case StateRolledBack():
                self._forget(domain)
                head, last = self._look(domain), self._last
                was_last = last.committed_at if last and last.epoch == event.previous_epoch else ""
                gone_at = was_last if head.version else head.committed_at
                self._judge(domain, _moment(event.snapshot, nothing_at=gone_at))
            case HistoryGap():  # nobody knows what was between
                self._forget(domain)
            case Heartbeat(connected=True):
                self._look_at_the_clock(domain)

    def _forget(self, domain: Mirror) -> None:
        """What lasted until now has no beginning any more."""
        self._watches = {name: Watch(watch.rule) for name, watch in self._watches.items()}
        self._refresh(domain)

    def _learn(self, domain: Mirror) -> None:
        """The rules as they are now; what is known of those that are the same is kept."""
        self._known, known = (domain.epoch, domain.version), self._watches
        self._watches = {rule.name: Watch(rule) for rule in rules_in(domain.state)}
        for name, watch in self._watches.items():
            if name in known and standing.same_rule(known[name].rule, watch.rule):
                self._watches[name] = known[name]

    def _refresh(self, domain: Mirror) -> None:
        """Waits until what others decided is known here."""
        domain.wait_for(version=self._events.manager.snapshot().version, timeout=PATIENCE)
        self._learn(domain)

    def _judge(self, domain: Mirror, moment: Moment) -> None:
        for name in list(self._watches):
            while name in self._watches and not self._is_judged(domain, name, moment):
                self._refresh(domain)
        self._last = moment

    def _is_judged(self, domain: Mirror, name: str, moment: Moment) -> bool:
        """Judges a moment; False where others decided something meanwhile, so that it is to be judged anew."""
        watch = self._watches[name]
        how = Standing.of(domain.state, name)
        turns, after = watch.judge(how, moment, void=self._void.get(name) == how)
        if not all(self._decide(domain, watch.rule, turn) for turn in turns):
            return False
        self._watches[name] = after
        if after.since is not watch.since:
            self._due.pop(name, None)
        return True

    def _decide(self, domain: Mirror, rule: ThresholdRule, turn: Turn) -> bool:
        made = self._events.decide(lambda now: standing.decided(freeze(now), rule, turn), actor=self._actor)
        if made is not None:
            domain.wait_for(made, timeout=PATIENCE)
        return made is not None

    def _look_at_the_clock(self, domain: Mirror) -> None:
        """Raises what has lasted long enough, while there are no commits that would say so."""
        for name, watch in list(self._watches.items()):
            if watch.since is None or watch.last is None or time.monotonic() < self._due.get(name, 0.0):
                continue
            began = microseconds(parse_timestamp(watch.since.committed_at))
            lasted = (self._manager.run(protocol.server_time()) - began) / 1_000_000
            if lasted < watch.rule.minimum_duration:
                self._due[name] = time.monotonic() + watch.rule.minimum_duration - lasted
            elif self._manager.snapshot().position == _position(watch.last):  # else there is a commit on its way
                how = Standing.of(domain.state, name)
                self._decide(domain, watch.rule, Turn(True, how, watch.last, watch.since.committed_at))
                self._watches[name] = Watch(watch.rule)


def rules_in(domain: FrozenState) -> Iterator[ThresholdRule]:
    """The rules in the state of ``plant@domain``, by name; what is none is passed over."""
    for name in sorted(domain.get("rules", EMPTY)):
        rule = standing.stored_rule(domain, name)
        if rule is not None:
            yield rule


def _checked(rules: list[ThresholdRule]) -> list[ThresholdRule]:
    for rule in rules:
        facts = standing.rule_json(rule)
        if merge({}, facts) != facts:
            raise UsageError(f"threshold {rule.name!r}: a null in its value cannot be kept: compare something else")
    if len({rule.name for rule in rules}) < len(rules):
        raise UsageError(f"thresholds {', '.join(rule.name for rule in rules)}: each needs a name of its own")
    return rules


def _moment(snapshot: Snapshot, nothing_at: str = "") -> Moment:
    at = (snapshot.committed_at or "") if snapshot.version else nothing_at
    return Moment(snapshot.epoch, snapshot.version, at, freeze(snapshot.state))


def _position(moment: Moment) -> str:
    return position(moment.epoch, moment.version, moment.committed_at)
