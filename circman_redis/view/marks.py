"""Pure: which places of a state changed, how, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from circman_redis.patch import MISSING, Change

LASTS = 2.0
"""Seconds for which a change is marked."""

_MOST = 4096
"""Places that are remembered."""

_SPREAD = 2000
"""Changes at once beyond which they are no longer told apart."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened to a place.

    Attributes:
        sign: ▲ and ▼ for a number, + new, - removed, • otherwise.
        since: when.
    """

    sign: str
    since: float


@dataclass(slots=True)
class Marks:
    """The changes of the recent past.

    Attributes:
        at: the place that changed, to its mark.
        moved: the place that changed, to when it did; kept after its mark has faded.
        beneath: every object and array above a change, to when the last one was.
        gone: what was removed just now, to what stood there.
    """

    at: dict[str, Mark] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    beneath: dict[str, float] = field(default_factory=dict)
    gone: dict[str, Any] = field(default_factory=dict)

    def note(self, changes: Iterable[Change], now: float) -> None:
        """Marks what changed."""
        for number, change in enumerate(changes):
            if number >= _SPREAD:
                break
            self._note(change, now)
        for known in (self.moved, self.beneath):
            if len(known) > _MOST:
                for pointer in sorted(known, key=known.__getitem__)[: len(known) - _MOST // 2]:
                    del known[pointer]

    def _note(self, change: Change, now: float) -> None:
        pointer = change.pointer
        self.at[pointer] = Mark(_sign(change), now)
        if change.after is MISSING:
            self.gone[pointer] = change.before
            self.moved.pop(pointer, None)
        else:
            self.gone.pop(pointer, None)
            self.moved[pointer] = now
        while pointer:
            pointer = pointer.rpartition("/")[0]
            self.beneath[pointer] = now

    def fade(self, now: float) -> None:
        """Takes off the marks that have been seen for long enough."""
        for pointer in [pointer for pointer, mark in self.at.items() if now - mark.since > LASTS]:
            del self.at[pointer]
            self.gone.pop(pointer, None)


def _sign(change: Change) -> str:
    if change.before is MISSING:
        return "+"
    if change.after is MISSING:
        return "-"
    if is_number(change.before) and is_number(change.after):
        return "▲" if change.after > change.before else "▼"
    return "•"


def is_number(value: object) -> bool:
    """Whether it is a number to JSON: true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
