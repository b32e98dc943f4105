"""Pure: the numbers of a state that move, and what they were in the recent past."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from circman_redis.patch import MISSING, Change, resolve
from circman_redis.view.marks import is_number

STEP = 0.5
"""Seconds between two samples."""

QUIET = 10.0
"""Seconds without a change after which a number gives way to others."""

_SAMPLES = 240
_MOST = 200  # numbers that are followed


@dataclass(slots=True)
class Series:
    """One number.

    Attributes:
        pointer: where it stands.
        moved: when it last changed.
        samples: what it was, every `STEP` seconds, oldest first.
        now: what it is.
    """

    pointer: str
    moved: float
    now: float
    samples: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    @property
    def values(self) -> list[float]:
        """Its course until now."""
        return [*self.samples, self.now]


class Movers:
    """The numbers that changed since somebody looks.

    Args:
        now: in seconds by any clock that only goes forward.
    """

    def __init__(self, now: float) -> None:
        self._sampled = now
        self._series: dict[str, Series] = {}

    def note(self, changes: Iterable[Change], state: Any, now: float) -> None:
        """Takes in what changed, and samples every number where it is time to."""
        for change in changes:
            if is_number(change.before) and is_number(change.after):
                self._note(change, now)
            else:
                self._series.pop(change.pointer, None)
        steps = int((now - self._sampled) / STEP)
        if steps > 0:
            self._sampled += steps * STEP
            self._sample(state, min(steps, _SAMPLES))

    def _note(self, change: Change, now: float) -> None:
        series = self._series.get(change.pointer)
        if series is None:
            if len(self._series) >= _MOST:
                del self._series[min(self._series.values(), key=lambda one: one.moved).pointer]
            series = self._series[change.pointer] = Series(change.pointer, now, change.after)
            series.samples.append(change.before)
        series.moved, series.now = now, change.after

    def _sample(self, state: Any, steps: int) -> None:
        for pointer, series in list(self._series.items()):
            value = resolve(state, pointer, MISSING)
            if is_number(value):
                series.samples.extend([value] * steps)
            else:  # it went with the object that it stood in
                del self._series[pointer]

    def newest(self, now: float) -> list[Series]:
        """Those that move, in the order in which they began to; after them the quiet ones, latest first."""
        moving = [one for one in self._series.values() if now - one.moved < QUIET]
        quiet = [one for one in self._series.values() if now - one.moved >= QUIET]
        return moving + sorted(quiet, key=lambda one: -one.moved)


def labels(pointers: Sequence[str], levels: int = 1) -> dict[str, str]:
    """The shortest end of each pointer, of at least so many levels, that tells it from the others."""
    found: dict[str, str] = {}
    left = list(pointers)
    while left:
        ends: dict[str, list[str]] = {}
        for pointer in left:
            ends.setdefault("/".join(pointer.split("/")[1:][-levels:]), []).append(pointer)
        found |= {same[0]: end for end, same in ends.items() if len(same) == 1}
        left = [pointer for same in ends.values() if len(same) > 1 for pointer in same]
        levels += 1
    return found
