"""What a run shows while it goes on: plain lines here, the live view of a terminal in ``live.py``."""

from __future__ import annotations

import bisect
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from circman_redis.demo.crew import Crew
from circman_redis.errors import CircmanError
from circman_redis.manager import StateManager
from circman_redis.results import HistoryEntry

WINDOW = 1.0
"""Seconds that 'commits per second now' looks back."""

SPARK = 0.25
"""Seconds that one bar of the rate's little diagram stands for."""

SHORT = 0.01
"""Seconds between two looks at the clock."""

SMALLEST = (80, 20)
"""Columns and lines that the live view needs."""


@dataclass(frozen=True, slots=True)
class Glance:
    """How a run stands.

    Attributes:
        elapsed: seconds since it began.
        newest: the newest commits in Redis, newest first; the first of them has the state.
        rate: commits per second now.
        mean: commits per second since the beginning.
        rates: commits per second in each SPARK of the recent past, oldest first.
        counts: commits acknowledged, by worker.
        refused: commits that the rules refused.
        failed: the workers that have failed.
        over: whether the run is over.
    """

    elapsed: float
    newest: list[HistoryEntry]
    rate: float
    mean: float
    rates: list[float]
    counts: dict[str, int]
    refused: int
    failed: frozenset[str]
    over: bool

    @property
    def version(self) -> int:
        """The twin's version."""
        return self.newest[0].version

    @property
    def state(self) -> dict[str, Any]:
        """The twin's state."""
        return self.newest[0].state

    def share(self, worker: str) -> float:
        """A worker's part of all commits, 0 to 1."""
        return self.counts[worker] / max(1, sum(self.counts.values()))


class Meter:
    """Versions over time, and from them commits per second.

    Args:
        version: the twin's at the beginning.
    """

    def __init__(self, version: int) -> None:
        self._moments, self._versions = [0.0], [version]

    @property
    def version(self) -> int:
        """The last version that was noted."""
        return self._versions[-1]

    @property
    def last(self) -> float:
        """When the last version was noted, in seconds since the beginning."""
        return self._moments[-1]

    def add(self, elapsed: float, version: int) -> None:
        """Notes that the twin was at a version."""
        self._moments.append(elapsed)
        self._versions.append(version)

    def rate(self, begin: float, end: float) -> float:
        """Commits per second between two moments, as near as they were noted."""
        first = max(0, bisect.bisect_right(self._moments, begin) - 1)
        last = max(0, bisect.bisect_right(self._moments, end) - 1)
        lasted = self._moments[last] - self._moments[first]
        made = max(0, self._versions[last] - self._versions[first])  # a twin made anew begins at 1 again
        return made / lasted if lasted > 0 else 0.0

    def rates(self, most: int) -> list[float]:
        """Commits per second in each SPARK so far, the last ``most`` of them."""
        whole = int(self.last / SPARK)
        return [self.rate(SPARK * number, SPARK * (number + 1)) for number in range(max(0, whole - most), whole)]


class View(Protocol):
    """A way to show a run.

    Attributes:
        every: seconds between two looks.
        newest: how many of the newest commits it needs, at least 1.
        sparks: how many of the recent rates it shows.
    """

    every: float
    newest: int
    sparks: int

    def shown(self) -> AbstractContextManager[object]:
        """Shows from here to the end of the context."""
        ...

    def show(self, glance: Glance) -> None:
        """Shows how the run stands."""
        ...

    def note(self, text: str) -> None:
        """Shows what went wrong."""
        ...

    def conclude(self, text: str, *, good: bool) -> None:
        """Shows the last line."""
        ...


class PlainView:
    """A line per second, for pipes and files."""

    every = 1.0
    newest = 1
    sparks = 0

    def shown(self) -> AbstractContextManager[object]:
        """Nothing to begin or to end."""
        return nullcontext()

    def show(self, glance: Glance) -> None:
        """Writes the line."""
        say(
            f"{glance.elapsed:6.1f} s  version {glance.version}  {glance.rate:.0f} commits/s  "
            f"{'  '.join(_shares(glance))}  refused {glance.refused}"
        )

    def note(self, text: str) -> None:
        """Writes it to stderr."""
        complain(text)

    def conclude(self, text: str, *, good: bool) -> None:  # noqa: ARG002 - it is in the words
        """Writes the line."""
        say(text)


def _shares(glance: Glance) -> list[str]:
    """Each worker's share; of many consumers the sum."""
    names, most = list(glance.counts), 8
    if len(names) <= most:
        return [f"{name} {glance.share(name):.0%}" for name in names]
    consumers = [name for name in names if name.startswith("consumer")]
    rest = [f"{name} {glance.share(name):.0%}" for name in names if name not in consumers]
    return [*rest, f"{len(consumers)} consumers {sum(map(glance.share, consumers)):.0%}"]


def say(text: str) -> None:
    """Writes a line to stdout, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Writes a line to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def choose(seconds: float) -> View:
    """The live view on a terminal that can show it, else plain lines.

    Args:
        seconds: how long the run will be.
    """
    columns, lines = shutil.get_terminal_size()
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    capable = sys.stdout.isatty() and unicode and os.environ.get("TERM", "dumb") != "dumb"
    if not capable or columns < SMALLEST[0] or lines < SMALLEST[1]:
        return PlainView()
    try:
        from circman_redis.demo.live import LiveView  # noqa: PLC0415 - needs the extra `cli`
    except ImportError:
        return PlainView()
    return LiveView(seconds)


def watch(
    manager: StateManager, crew: Crew, view: View, seconds: float, clock: Callable[[], float] = time.monotonic
) -> None:
    """Shows a run until its time is over, or no worker is left; then has the workers end, and shows that.

    Args:
        manager: of the twin.
        crew: the workers, at work.
        view: where to show it.
        seconds: how long they work.
        clock: in seconds.
    """
    began = clock()
    look = _Look(manager, crew, view, Meter(manager.snapshot().version))
    with view.shown():
        while crew.working and (due := look.meter.last + view.every) < seconds:
            time.sleep(max(0.0, began + due - clock()))
            look.at(max(due, clock() - began))
        while crew.working and clock() - began < seconds:
            time.sleep(SHORT)
        crew.finish()
        look.at(min(seconds, clock() - began), over=True)


@dataclass(slots=True)
class _Look:
    manager: StateManager
    crew: Crew
    view: View
    meter: Meter
    trouble: str = ""

    def at(self, elapsed: float, *, over: bool = False) -> None:
        """Looks how the run stands, and shows it; what is wrong with the server is shown once."""
        for failure in self.crew.new_failures():
            self.view.note(failure)
        try:
            newest = self.manager.get_commits(limit=self.view.newest)
        except CircmanError as error:
            self._miss(elapsed, str(error))
            return
        if not newest:
            self._miss(elapsed, f"twin {self.manager.twin!r} has been deleted")
            return
        self.trouble = ""
        self.meter.add(elapsed, newest[0].version)
        self.view.show(self._glance(elapsed, newest, over=over))

    def _miss(self, elapsed: float, trouble: str) -> None:
        if trouble != self.trouble:
            self.view.note(trouble)
        self.trouble = trouble
        self.meter.add(elapsed, self.meter.version)

    def _glance(self, elapsed: float, newest: list[HistoryEntry], *, over: bool) -> Glance:
        workers = self.crew.workers
        return Glance(
            elapsed,
            newest,
            rate=self.meter.rate(elapsed - WINDOW, elapsed),
            mean=self.meter.rate(0.0, elapsed),
            rates=self.meter.rates(self.view.sparks),
            counts={worker.role.name: len(worker.acknowledged) for worker in workers},
            refused=self.crew.refused,
            failed=frozenset(worker.role.name for worker in workers if worker.failure),
            over=over,
        )
