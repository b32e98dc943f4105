"""Data sources: functions that are asked for parts of the state, all at once and in time (docs/synchronization.md)."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from circman_redis.errors import InvalidJSON, UsageError
from circman_redis.results import State
from circman_redis.shown import shown
from circman_redis.timestamps import format_timestamp
from circman_redis.twin.layers import Layer, read
from circman_redis.wish import is_seconds

SourceFunction: TypeAlias = Callable[[], Any]

GLANCE = 0.05
"""Seconds between two looks at whether to stop, while sources are waited for."""


@dataclass(frozen=True, slots=True)
class SourceFailure:
    """A source that failed.

    Attributes:
        name: which.
        why: what went wrong, in words.
        since: when it began to fail (ISO 8601, this machine's clock).
        times: how often it failed since.
    """

    name: str
    why: str
    since: str
    times: int


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source does.

    Attributes:
        name: which.
        last_ok: when it last delivered (ISO 8601, this machine's clock); None for never.
        error: what went wrong since; None where it is well.
        since: when it began to fail; None where it is well.
        failures: how often it failed since.
    """

    name: str
    last_ok: str | None = None
    error: str | None = None
    since: str | None = None
    failures: int = 0

    def after_failure(self, why: str, now: str) -> SourceStatus:
        """The status after another failure."""
        return SourceStatus(self.name, self.last_ok, why, self.since or now, self.failures + 1)


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of asking the sources once.

    Attributes:
        layers: what each delivered, in the order of registration.
        failures: those that failed.
    """

    layers: tuple[Layer, ...]
    failures: tuple[SourceFailure, ...]

    @property
    def data(self) -> State:
        """What all of them said, as one merge patch (RFC 7396): a later source goes over an earlier one."""
        together: State = {}
        for layer in self.layers:
            together = _over(together, layer.data)
        return together


class Sources:
    """The sources of a twin, by name; it may be used by several threads."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()

    def register(self, name: str, fn: SourceFunction, timeout: float | None = None) -> None:
        """Adds a source.

        Args:
            name: what it goes by; it is in logs and events.
            fn: returns a JSON object, whatever `StateManager.update_state` takes: a merge patch, in which a null
                removes a member; ``{}`` says nothing. It is called on a thread of its own, and not again before it has
                come back.
            timeout: seconds that it may take; None for those of whoever asks.

        Raises:
            UsageError: there is a source of that name, or an argument is not allowed.
        """
        given: object = name
        if not isinstance(given, str) or not given:
            raise UsageError(f"source {shown(given)}: give it a name")
        function: object = fn
        if not callable(function) or inspect.iscoroutinefunction(fn):
            raise UsageError(f"source {name!r}: {shown(fn)} is no plain function that returns a JSON object")
        if timeout is not None:
            check_timeout(timeout)
        with self._lock:
            if name in self._sources:
                raise UsageError(f"there is a source {name!r} already: unregister it first, or use another name")
            self._sources[name] = _Source(name, fn, timeout)

    def unregister(self, name: str) -> None:
        """Removes a source; what it is just about to return is dropped.

        Raises:
            UsageError: there is none of that name.
        """
        with self._lock:
            if self._sources.pop(name, None) is None:
                raise UsageError(f"there is no source {shown(name)}; there are {', '.join(self._sources) or 'none'}")

    @property
    def status(self) -> Mapping[str, SourceStatus]:
        """How each source does, in the order of registration."""
        with self._lock:
            return {name: source.status for name, source in self._sources.items()}

    def collect(self, timeout: float, stop: threading.Event | None = None) -> Collected:
        """Asks all sources at once, and waits for what they say.

        One that raises, returns no JSON object or takes too long has failed, and the rest go on. One that takes too
        long is not asked again until it has come back; what it returns then is dropped.

        Args:
            timeout: seconds that one may take that has no time of its own.
            stop: once it is set, nothing is waited for any more; what did not come by then has not failed.
        """
        check_timeout(timeout)
        with self._lock:
            sources = list(self._sources.values())
        asked = {source: _Asked(source, timeout) for source in sources}
        answers: SimpleQueue[_Asked] = SimpleQueue()
        for one in asked.values():
            one.begin(answers)
        _wait(answers, [one for one in asked.values() if not one.is_over], stop)
        now = format_timestamp(datetime.now(UTC))
        failures = [source.settle(one, now) for source, one in asked.items()]
        layers = [Layer(source.name, one.data) for source, one in asked.items() if one.data is not None]
        return Collected(tuple(layers), tuple(one for one in failures if one))

    def refuse(self, name: str, why: str) -> SourceFailure:
        """Takes back that a source was well when it was asked last: what it delivered was of no use.

        Args:
            name: which.
            why: what was wrong with it.
        """
        with self._lock:
            source = self._sources.get(name) or _Source(name, dict, None)
        source.status = source.before
        return source.failed(why, format_timestamp(datetime.now(UTC)))


class _Source:
    """A source, and how it does."""

    def __init__(self, name: str, fn: SourceFunction, timeout: float | None) -> None:
        self.name, self.fn, self.timeout = name, fn, timeout
        self.status = self.before = SourceStatus(name)  # now, and before it was asked last
        self.is_out = False  # whether it was asked, and has not come back

    def settle(self, asked: _Asked, now: str) -> SourceFailure | None:
        """Notes what came of asking it."""
        self.before = self.status
        if asked.data is not None:
            self.status = SourceStatus(self.name, last_ok=now)
        return self.failed(asked.why, now) if asked.why else None

    def failed(self, why: str, now: str) -> SourceFailure:
        """Notes a failure."""
        self.status = status = self.status.after_failure(why, now)
        return SourceFailure(self.name, why, status.since or now, status.failures)


class _Asked:
    """A source that is asked once; exactly one of data and why is there in the end, or neither where it was stopped."""

    def __init__(self, source: _Source, timeout: float) -> None:
        self.source = source
        self.seconds = timeout if source.timeout is None else source.timeout
        self.until = time.monotonic() + self.seconds
        self.data: State | None = None
        self.why = ""
        self._answer: tuple[State | None, str] = (None, "")

    @property
    def is_over(self) -> bool:
        return self.data is not None or bool(self.why)

    def begin(self, answers: SimpleQueue[_Asked]) -> None:
        if self.source.is_out:
            self.give_up()
            return
        self.source.is_out = True
        # Not an executor: its threads are joined at the interpreter's end, and one that hangs would hang that too.
        thread = threading.Thread(target=self._ask, args=(answers,), name=f"source {self.source.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no more threads
            self.source.is_out = False
            self.why = shown(error)

    def _ask(self, answers: SimpleQueue[_Asked]) -> None:
        try:
            self._answer = read(self.source.fn(), "its data"), ""
        except InvalidJSON as error:
            self._answer = None, str(error)
        except BaseException as error:  # noqa: BLE001 - somebody else's function: sys.exit() is its failure too
            self._answer = None, shown(error)
        self.source.is_out = False
        answers.put(self)

    def take(self) -> None:
        """Takes what it answered."""
        self.data, self.why = self._answer

    def give_up(self) -> None:
        self.why = f"no answer within {self.seconds:g} s"


def _wait(answers: SimpleQueue[_Asked], waiting: list[_Asked], stop: threading.Event | None) -> None:
    """Waits until each has answered, or its time is over, or all shall stop: then what is there already counts."""
    while waiting:
        is_last = stop is not None and stop.is_set()
        left = 0.0 if is_last else max(0.0, min(one.until for one in waiting) - time.monotonic())
        try:
            came = answers.get(timeout=left if stop is None else min(left, GLANCE))
        except Empty:
            if is_last:
                return
            now = time.monotonic()
            for one in waiting:
                if one.until <= now:
                    one.give_up()
        else:
            if not came.is_over:  # else it was given up
                came.take()
        waiting = [one for one in waiting if not one.is_over]


def _over(first: State, second: State) -> State:
    """Two merge patches as one; a null stays, for it removes."""
    both = dict(first)
    for name, value in second.items():
        before = both.get(name)
        both[name] = _over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def check_timeout(timeout: float) -> None:
    """Refuses what is no time to wait.

    Raises:
        UsageError: it is none.
    """
    if not is_seconds(timeout) or not 0 < timeout <= threading.TIMEOUT_MAX:
        raise UsageError(f"timeout={shown(timeout)}: use a number of seconds above 0")
