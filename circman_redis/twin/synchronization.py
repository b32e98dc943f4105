"""SynchronizationManager: when data sources are asked, and what they said is committed (docs/synchronization.md)."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import Any, Protocol, Self

from circman_redis.errors import CircmanError, LeaseLost, UsageError
from circman_redis.manager import StateManager
from circman_redis.results import Commit
from circman_redis.shown import shown
from circman_redis.twin.config import SynchronizationConfig
from circman_redis.twin.constants import ConstantsService
from circman_redis.twin.reports import Told
from circman_redis.twin.rounds import MOST_TOGETHER, Rounds
from circman_redis.twin.sources import SourceFunction, SourceStatus
from circman_redis.wish import Wish

log = logging.getLogger("circman_redis.twin")

GLANCE = 0.1
"""Seconds between two looks at whether to stop, while a change is waited for."""

_FAR = 2.0**53  # rounds: no interval is so short that it counts


class HasRounds(Protocol):
    """What a `DigitalTwin` has of this."""

    @property
    def rounds(self) -> Rounds:
        """Its rounds, and with them its sources."""


class SynchronizationManager:
    """Asks data sources and commits what changed: at an interval, when something changes, or when told to.

    Args:
        twin_or_manager: a `DigitalTwin`, whose sources it then shares; or a `StateManager`. It stays the caller's to
            close, after `stop`.
        config: the mode, the interval, the time that a source may take, and how many rounds are committed together;
            None for those of the constants (`ConstantsService`).
        paths: JSON Pointers: in mode ``event``, where a change counts; None for anywhere. A string is one path.

    Raises:
        UsageError: a path is none, the mode goes by none, or there is neither a twin nor a manager.
    """

    def __init__(
        self,
        twin_or_manager: HasRounds | StateManager,
        config: SynchronizationConfig | None = None,
        *,
        paths: Iterable[str] | None = None,
    ) -> None:
        self.config = config or ConstantsService().get_synchronization_config()
        self.paths = Wish.of(paths=paths).paths
        if self.paths is not None and self.config.mode != "event":
            raise UsageError(f"paths={self.paths!r}: only mode 'event' goes by them, and this is {self.config.mode!r}")
        self._has_own_rounds = isinstance(twin_or_manager, StateManager)
        self._rounds = _rounds_of(twin_or_manager)
        self._told = Told()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # --- sources -----------------------------------------------------------------------------------------------------

    def register_data_source(self, name: str, fn: SourceFunction, *, timeout: float | None = None) -> None:
        """Adds a source.

        Args:
            name: what it goes by; it is in logs and events.
            fn: returns a JSON object: a merge patch (RFC 7396), in which a null removes a member; ``{}`` says nothing.
                It is called on a thread of its own, and not again before it has come back.
            timeout: seconds that it may take; None for those of the configuration.

        Raises:
            UsageError: there is a source of that name, or an argument is not allowed.
        """
        self._rounds.register(name, fn, timeout)

    def unregister_data_source(self, name: str) -> None:
        """Removes a source.

        Raises:
            UsageError: there is none of that name.
        """
        self._rounds.unregister(name)

    @property
    def status(self) -> Mapping[str, SourceStatus]:
        """How each source does: when it last delivered, what went wrong since, how often."""
        return self._rounds.sources.status

    # --- when told to ------------------------------------------------------------------------------------------------

    def sync_now(self) -> Commit | None:
        """One round at once, in any mode; rounds that are held for a batch are committed before it.

        Returns:
            The last commit; None where nothing changed.

        Raises:
            StoreError: the server, or the way to it, is at fault.
        """
        return self._rounds.update(timeout=self.config.timeout)

    # --- by itself ---------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether it was started, and goes on by itself."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Goes on by itself, on a thread of its own, until `stop`.

        What it commits carries no role: a worker that has one (docs/leases.md) calls `run` from the thread that has it.

        Raises:
            UsageError: it runs already.
        """
        if self.is_running:
            raise UsageError(f"the synchronization of twin {self._twin!r} runs already: stop it first")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run_alone, name=f"{self._twin} rounds", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it, once a commit under way is done. No source is waited for; what a batch holds is committed."""
        self._stop.set()
        if self._thread is threading.current_thread():
            return
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._has_own_rounds:
            self._rounds.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, stop: threading.Event | None = None) -> None:
        """Goes on by itself in this thread.

        A server that does not answer, or refuses something, is reported, and the next round tries again.

        Args:
            stop: set to end it; None for never.

        Raises:
            LeaseLost: the role that this thread commits in is another worker's now.
            UsageError: the state manager was closed.
        """
        stop = stop or threading.Event()
        match self.config.mode:
            case "real_time":
                self._in_real_time(stop)
            case "batch":
                self._in_batches(stop)
            case "event":
                self._on_changes(stop)
            case "manual":
                stop.wait()

    def _run_alone(self) -> None:
        try:
            self.run(self._stop)
        except CircmanError as error:
            log.error("the synchronization of twin %r ended: %s", self._twin, error)  # noqa: TRY400 - it says it all

    @property
    def _twin(self) -> str:
        return self._rounds.manager.twin

    def _in_real_time(self, stop: threading.Event) -> None:
        for _ in ticks(self.config.interval, stop):
            self._guarded(lambda: self._rounds.update(timeout=self.config.timeout, stop=stop))

    def _in_batches(self, stop: threading.Event) -> None:
        size = min(self.config.batch_size, MOST_TOGETHER)
        for _ in ticks(self.config.interval, stop):
            self._rounds.hold(timeout=self.config.timeout, stop=stop)
            if self._rounds.held >= size:
                self._guarded(self._rounds.commit_held)
        if not self._guarded(self._rounds.commit_held):
            log.warning("twin %r: %d rounds are not committed", self._twin, self._rounds.held)

    def _on_changes(self, stop: threading.Event) -> None:
        seen: SimpleQueue[str] = SimpleQueue()
        with ExitStack() as following:
            for _ in ticks(self.config.interval, stop):
                if self._guarded(lambda: following.enter_context(self._following(seen))):
                    break
            wanted, free = False, time.monotonic()
            while not stop.is_set():
                wanted = self._came(seen, GLANCE) or wanted
                if not wanted or stop.wait(max(0.0, free - time.monotonic())):
                    continue
                self._came(seen, 0)  # what came until now is seen by this round
                free = time.monotonic() + self.config.interval
                wanted = not self._guarded(lambda: self._rounds.update(timeout=self.config.timeout, stop=stop))

    def _following(self, seen: SimpleQueue[str]) -> Any:
        manager = self._rounds.manager
        return manager.on_change(lambda event: seen.put(event.position), paths=self.paths)

    def _came(self, seen: SimpleQueue[str], seconds: float) -> bool:
        """Whether somebody else changed something; waits for the first event only.

        Asked by the thread that commits: so whatever is its own is known as such by now, and begins no round.
        """
        came = False
        try:
            came = not self._rounds.is_own(seen.get(timeout=seconds))
            while True:
                came = not self._rounds.is_own(seen.get_nowait()) or came
        except Empty:
            return came

    def _guarded(self, do: Callable[[], object]) -> bool:
        """Does something that may fail for a while; whether it was done."""
        try:
            do()
        except (LeaseLost, UsageError):
            raise
        except CircmanError as error:
            if self._told.begins("", str(error)):
                log.warning("twin %r: a round failed, trying again with the next: %s", self._twin, error)
            return False
        if self._told.ends(""):
            log.info("twin %r: rounds succeed again", self._twin)
        return True


def _rounds_of(given: HasRounds | StateManager) -> Rounds:
    found: object = Rounds(given) if isinstance(given, StateManager) else getattr(given, "rounds", None)
    if not isinstance(found, Rounds):
        raise UsageError(f"twin_or_manager={shown(given)}: use a DigitalTwin or a StateManager")
    return found


def ticks(interval: float, stop: threading.Event) -> Iterator[int]:
    """The numbers of the rounds, each when it is due: the first at once; ends when the event is set.

    Args:
        interval: seconds from one to the next.
        stop: set to end it.
    """
    start, number = time.monotonic(), -1
    while not stop.is_set():
        number = next_round(number, time.monotonic() - start, interval)
        due = start + number * interval
        # Of waits as long as a lock can wait: an interval may be longer.
        while (left := due - time.monotonic()) > 0 and not stop.is_set():
            stop.wait(min(left, threading.TIMEOUT_MAX))
        if not stop.is_set():
            yield number


def next_round(last: int, elapsed: float, interval: float) -> int:
    """The number of the round that comes next; round n is due n intervals after the start, however long others took.

    Args:
        last: the number of the one before, -1 for none.
        elapsed: seconds since the start.
        interval: seconds from one to the next.

    Returns:
        The one after the last; where that was missed, the latest that is due: rounds between are skipped, not made up.
    """
    return max(last + 1, math.floor(min(elapsed / interval, _FAR)))
