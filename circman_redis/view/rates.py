"""Pure: commits per second, of all and of each actor, now and in the recent past."""

from __future__ import annotations

import math
from collections import Counter, deque

STEP = 0.25
"""Seconds that one number of the recent past stands for."""

WINDOW = 2.0
"""Seconds that 'now' looks back."""

KEEP = 60.0
"""Seconds after which a commit no longer counts, and a quiet actor is no longer named."""


class Rates:
    """Commits by the time that they came.

    Args:
        now: when counting begins, in seconds by any clock that only goes forward.

    Attributes:
        total: all commits since.
    """

    def __init__(self, now: float) -> None:
        self.total = 0
        self._begin = now
        self._steps: deque[tuple[int, Counter[str]]] = deque()

    def add(self, now: float, actor: str, commits: int = 1) -> None:
        """Counts what came at a time; times do not go back."""
        step = self._step(now)
        if not self._steps or self._steps[-1][0] < step:
            self._steps.append((step, Counter()))
        self._steps[-1][1][actor] += commits
        self.total += commits
        while self._steps[0][0] < step - KEEP / STEP:
            self._steps.popleft()

    def now(self, now: float, window: float = WINDOW) -> float:
        """Commits per second of all."""
        return math.fsum(self.by_actor(now, window).values())

    def by_actor(self, now: float, window: float = WINDOW) -> dict[str, float]:
        """Commits per second of each actor that committed within `KEEP`, by name."""
        end = self._step(now)
        steps = max(1, min(round(window / STEP), end))
        counts: Counter[str] = Counter()
        for step, found in self._steps:
            if step >= end - KEEP / STEP:
                counts.update(found if end - steps <= step < end else dict.fromkeys(found, 0))
        return {actor: counts[actor] / (steps * STEP) for actor in sorted(counts)}

    def mean(self, now: float) -> float:
        """Commits per second since the beginning."""
        return self.total / (now - self._begin) if now > self._begin else 0.0

    def past(self, now: float, most: int) -> list[float]:
        """Commits per second in each `STEP` so far, oldest first, the last ``most`` of them."""
        end = self._step(now)
        totals = {step: found.total() for step, found in self._steps}
        most = min(most, int(KEEP / STEP))
        return [totals.get(step, 0) / STEP for step in range(max(0, end - most), end)]

    def _step(self, now: float) -> int:
        return max(0, int((now - self._begin) / STEP))
