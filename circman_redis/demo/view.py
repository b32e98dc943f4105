"""What a run shows while it goes on: plain lines here, the live view of a terminal in ``live.py``."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from circman_redis.demo.follow import SHORT
from circman_redis.demo.scene import Scene
from circman_redis.errors import CircmanError
from circman_redis.events import Event, FrozenState
from circman_redis.view.terminal import what_it_lacks

TICK = 0.05
"""Seconds between two looks at what there is to do and to tell."""

WINDOW = 1.0
"""Seconds that 'commits per second now' looks back."""

PAST = 240
"""Numbers of the recent past: more than a line is long."""

MANY = 3
"""Workers of a kind that are told one by one."""

SMALLEST = (80, 20)
"""Columns and lines that the live view needs."""


@dataclass(frozen=True, slots=True)
class Glance:
    """How a run stands.

    Attributes:
        elapsed: seconds since it began.
        version: the twin's version.
        state: the twin's state.
        newest: the last events, newest first, and when they came.
        rate: commits per second now.
        mean: commits per second since the beginning.
        past: commits per second in the recent past, oldest first.
        by_worker: commits per second now, by worker.
        counts: commits acknowledged, by worker.
        refused: commits that the rules refused.
        failed: the workers that have failed.
        killed: the workers that the run killed.
        over: whether the run is over.
    """

    elapsed: float
    version: int
    state: FrozenState
    newest: Sequence[tuple[datetime, Event]]
    rate: float
    mean: float
    past: Sequence[float]
    by_worker: Mapping[str, float]
    counts: dict[str, int]
    refused: int
    failed: frozenset[str]
    killed: frozenset[str]
    over: bool

    def share(self, worker: str) -> float:
        """A worker's part of all commits, 0 to 1."""
        return self.counts[worker] / max(1, sum(self.counts.values()))


class View(Protocol):
    """A way to show a run.

    Attributes:
        every: seconds between two looks.
    """

    every: float

    def shown(self) -> AbstractContextManager[object]:
        """Shows from here to the end of the context."""
        ...

    def show(self, glance: Glance) -> None:
        """Shows how the run stands."""
        ...

    def tell(self, text: str) -> None:
        """Shows what happened."""
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

    def shown(self) -> AbstractContextManager[object]:
        """Nothing to begin or to end."""
        return nullcontext()

    def show(self, glance: Glance) -> None:
        """Writes the line."""
        say(
            f"{glance.elapsed:6.1f} s  version {glance.version}  {glance.rate:.0f} commits/s  "
            f"{'  '.join(_shares(glance))}  refused {glance.refused}"
        )

    def tell(self, text: str) -> None:
        """Writes the line."""
        say(f"          {text}")

    def note(self, text: str) -> None:
        """Writes it to stderr."""
        complain(text)

    def conclude(self, text: str, *, good: bool) -> None:  # noqa: ARG002 - it is in the words
        """Writes the line."""
        say(text)


def _shares(glance: Glance) -> list[str]:
    """The share of each who commits; of many workers of a kind the sum."""
    kinds = Counter(kind_of(name) for name in glance.counts if glance.counts[name])
    shares: dict[str, float] = {}
    for name in glance.counts:
        several = kinds[kind_of(name)]
        label = f"{several} {kind_of(name)}" if several > MANY else name
        if glance.counts[name]:
            shares[label] = shares.get(label, 0.0) + glance.share(name)
    return [f"{label} {share:.0%}" for label, share in shares.items()]


def kind_of(worker: str) -> str:
    """What a worker does, by its name."""
    return worker.rpartition("-")[0]


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
    if what_it_lacks() or columns < SMALLEST[0] or lines < SMALLEST[1]:
        return PlainView()
    try:
        from circman_redis.demo.live import LiveView  # noqa: PLC0415 - needs the extra `cli`
    except ImportError:
        return PlainView()
    return LiveView(seconds)


def watch(scene: Scene, view: View, seconds: float) -> None:
    """Shows a run until its time is over, or no worker is left; then has the workers end, and shows that.

    Args:
        scene: the run.
        view: where to show it.
        seconds: how long the workers work.
    """
    look, crew = _Look(scene, view), scene.crew
    with view.shown():
        while crew.working and (due := look.last + view.every) < seconds:
            look.wait_until(due)
            look.now()
        look.wait_until(seconds)
        crew.finish()
        look.now(over=True, elapsed=min(seconds, look.elapsed))


@dataclass(slots=True)
class _Look:
    scene: Scene
    view: View
    began: float = field(default_factory=time.monotonic)
    last: float = 0.0
    trouble: str = ""

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def wait_until(self, moment: float) -> None:
        """Waits, but for what there is to do and to tell meanwhile."""
        while self.scene.crew.working and self.elapsed < moment:
            for text in (*self.scene.story.go_on(self.elapsed), *self.scene.around.news()):
                self.view.tell(text)
            time.sleep(min(TICK, max(0.0, moment - self.elapsed)))

    def now(self, *, over: bool = False, elapsed: float | None = None) -> None:
        """Looks how the run stands, and shows it; what is wrong with the server is shown once."""
        for failure in self.scene.crew.new_failures():
            self.view.note(failure)
        self._tell(self._trouble(over=over))
        self.last = self.elapsed if elapsed is None else elapsed
        self.view.show(self._glance(self.last, over=over))

    def _trouble(self, *, over: bool) -> str:
        """Takes in the events; what is wrong with them."""
        acknowledged = max((one.version for one in self.scene.crew.acknowledged), default=0) if over else 0
        try:
            self.scene.follower.catch_up(acknowledged)
        except CircmanError as error:
            return str(error)
        if not self.scene.follower.version:
            return "the twin has been deleted"
        return "" if self.scene.follower.feed.connected else "no connection to the server: trying again"

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            self.view.note(trouble)
        self.trouble = trouble

    def _glance(self, elapsed: float, *, over: bool) -> Glance:
        workers, rates, moment = self.scene.crew.workers, self.scene.follower.rates, self.began + elapsed
        return Glance(
            elapsed,
            self.scene.follower.version,
            self.scene.follower.state,
            list(self.scene.follower.newest),
            rate=rates.now(moment, WINDOW),
            mean=rates.total / max(elapsed, SHORT),
            past=rates.past(moment, PAST),
            by_worker=rates.by_actor(moment, WINDOW),
            counts={worker.role.name: len(worker.acknowledged) for worker in workers},
            refused=self.scene.crew.refused,
            failed=frozenset(worker.role.name for worker in workers if worker.failure),
            killed=frozenset(worker.role.name for worker in workers if worker.killed),
            over=over,
        )
