"""Pure: what happened around the twin against what stands in its history: thresholds, roles, workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from circman_redis.frozen import freeze
from circman_redis.patch import resolve
from circman_redis.results import HistoryEntry, State
from circman_redis.twin.domain import DomainEvent, Kind
from circman_redis.twin.standing import Moment, Standing, Watch
from circman_redis.twin.threshold_rule import ThresholdRule

KINDS: tuple[Kind, Kind] = ("threshold_breached", "threshold_cleared")

Turn: TypeAlias = tuple[str, bool, int]
"""A threshold, whether it was breached or cleared, and by which version."""


@dataclass(slots=True)
class Readings:
    """What the rules watch, of each commit; taken from the history while it is read, newest first.

    Args:
        rules: the rules.
        epoch: the twin's.

    Attributes:
        moments: the commits with only what is watched.
    """

    rules: Sequence[ThresholdRule]
    epoch: str
    moments: list[Moment] = field(default_factory=list)
    _moved: list[tuple[str, int]] = field(default_factory=list)

    def of(self, entries: Iterable[HistoryEntry]) -> Iterator[HistoryEntry]:
        """The same entries; what they say is noted as they pass."""
        for entry in entries:
            watched: State = {}
            for rule in self.rules:
                section, name = rule.pointer.strip("/").split("/")
                value = resolve(entry.state, rule.pointer, None)
                if value is not None:
                    watched.setdefault(section, {})[name] = value
            self.moments.append(Moment(self.epoch, entry.version, entry.committed_at, freeze(watched)))
            if (entry.id or "").endswith("/production"):
                self._moved.append((str(entry.actor), entry.version))
            yield entry

    def expected(self) -> list[Turn]:
        """What one observer of all commits would say."""
        return [turn for rule in self.rules for turn in self._turns(rule)]

    def _turns(self, rule: ThresholdRule) -> Iterator[Turn]:
        watch, how = Watch(rule), Standing(epoch=self.epoch)
        for moment in reversed(self.moments):
            turns, watch = watch.judge(how, moment)
            for turn in turns:
                how = Standing(turn.breached, self.epoch, turn.moment.version, turn.moment.committed_at)
                yield rule.name, turn.breached, turn.moment.version

    def movers(self) -> list[tuple[str, int, int]]:
        """Who moved the line, from which version to which; whoever had the role twice is there twice."""
        spells: list[tuple[str, int, int]] = []
        for name, version in reversed(self._moved):
            if spells and spells[-1][0] == name:
                spells[-1] = (name, spells[-1][1], version)
            else:
                spells.append((name, version, version))
        return spells


def said(events: Iterable[DomainEvent]) -> list[Turn]:
    """The turns that were said."""
    return [
        (event.data["threshold"], event.kind == KINDS[0], event.data.get("version", 0))
        for event in events
        if event.kind in KINDS
    ]


def compare(expected: Sequence[Turn], turns: Sequence[Turn]) -> list[str]:
    """Where what was said of the thresholds is not what their commits say; a sentence each."""
    missing = sorted((Counter(expected) - Counter(turns)).elements(), key=lambda turn: turn[2])
    extra = sorted((Counter(turns) - Counter(expected)).elements(), key=lambda turn: turn[2])
    return [
        *(f"{name} was {_word(up)} at version {version}, and nobody said so" for name, up, version in missing),
        *(f"it was said that {name} was {_word(up)} at version {version}: it was not" for name, up, version in extra),
    ]


def of_thresholds(rules: Iterable[ThresholdRule], turns: Sequence[Turn]) -> Iterator[str]:
    """What there is to say of each threshold."""
    for rule in rules:
        count = Counter(up for name, up, _ in turns if name == rule.name)
        yield f"{rule.name} breached {_times(count[True])}, cleared {_times(count[False])}"


def of_workers(events: Iterable[DomainEvent], names: Iterable[str]) -> tuple[Mapping[str, int], list[str]]:
    """How many joined, left and vanished; and what is wrong with that.

    One that was held up for so long that it was taken for gone joins again.

    Args:
        events: what was said.
        names: the workers.
    """
    history: dict[str, list[str]] = {name: [] for name in names}
    for event in events:
        if event.kind in {"worker_joined", "worker_left"}:
            history.setdefault(event.data["worker"], []).append(event.data.get("why", "joined"))
    counts = Counter(how for one in history.values() for how in one)
    wrong = [
        f"{name} {' and '.join(one) or 'never joined'}"
        for name, one in history.items()
        if not one or any((how == "joined") != (place % 2 == 0) for place, how in enumerate(one))
    ]
    return {"joined": counts["joined"], "left": counts["stopped"], "vanished": counts["vanished"]}, wrong


def _word(breached: bool) -> str:
    return "breached" if breached else "cleared"


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")
