"""Thresholds: any number of observers, killed and begun anew, and each breach is raised once and cleared once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from circman_redis import StateManager
from circman_redis.events import StateRolledBack
from circman_redis.timestamps import microseconds, parse_timestamp
from circman_redis.twin.domain import DomainEvent, DomainEvents
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.thresholds import ThresholdObserver, Thresholds
from tests.servers import Server, wait_until
from tests.unit.twin.test_standing import expected

HOT = ThresholdRule(name="hot", pointer="/t", comparison="greater_than", value=80.0, hysteresis=5.0)

OBSERVER = """
import sys, threading
from circman_redis import StateManager
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.thresholds import ThresholdObserver

with StateManager(sys.argv[2], url=sys.argv[1]) as twin, DomainEvents(twin) as events:
    ThresholdObserver(twin, events).run(threading.Event())
"""


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        manager.set_state({"t": 20.0})
        yield manager


@contextmanager
def observed(twin: StateManager, events: DomainEvents, observers: int = 1) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(observers):
            stack.enter_context(ThresholdObserver(twin, events))
        yield


def turns(events: DomainEvents, name: str | None = None) -> list[tuple[bool, int]]:
    kinds = ("threshold_breached", "threshold_cleared")
    found = [one for one in events.get_events(kinds=kinds) if name in {None, one.data["threshold"]}]
    return [(one.kind == kinds[0], one.data.get("version", 0)) for one in found]


def come(events: DomainEvents, wanted: list[tuple[bool, int]]) -> None:
    try:
        wait_until(lambda: turns(events) == wanted, seconds=30)
    except AssertionError:
        assert turns(events) == wanted


def test_raised_once_and_cleared_once(twin: StateManager, events: DomainEvents) -> None:
    """By three that look at the same time; with what was seen."""
    Thresholds(twin, events).set(HOT)
    with observed(twin, events, 3):
        for value in (85.0, 78.0, 90.0, 74.0, 20.0, 81.0):
            twin.update_state({"t": value})
        come(events, [(True, 2), (False, 5), (True, 7)])
    first = events.get_events()[0]
    assert first.data["value"] == 85.0
    assert first.data["since"] == first.data["committed_at"] == twin.get_commits(before=3)[0].committed_at
    (threshold,) = Thresholds(twin, events).get()
    assert (threshold.rule, threshold.standing.breached, threshold.standing.version) == (HOT, True, 7)


def test_what_nobody_saw_is_judged_later(twin: StateManager, events: DomainEvents) -> None:
    """Each commit since the last turn, in order."""
    Thresholds(twin, events).set(HOT)
    for value in (85.0, 60.0, 90.0):
        twin.update_state({"t": value})
    with observed(twin, events):
        come(events, [(True, 2), (False, 3), (True, 4)])
    twin.update_state({"t": 60.0})
    twin.update_state({"t": 99.0})
    with observed(twin, events):
        come(events, [(True, 2), (False, 3), (True, 4), (False, 5), (True, 6)])


def test_a_breach_that_lasts(twin: StateManager, events: DomainEvents) -> None:
    """It is raised when it has lasted long enough, though nothing is committed then; a short one is not."""
    Thresholds(twin, events).set(HOT.model_copy(update={"minimum_duration": 0.4}))
    with observed(twin, events, 2):
        twin.update_many([{"t": 90.0}, {"t": 20.0}, {"t": 91.0}])
        come(events, [(True, 4)])
        (raised,) = events.get_events()
        assert raised.data["since"] == twin.snapshot().committed_at
        twin.update_state({"t": 20.0})
        come(events, [(True, 4), (False, 5)])


def test_a_rule_that_is_set_while_the_value_is_there(twin: StateManager, events: DomainEvents) -> None:
    """Is judged by the commit that stands, also where observers are at work; and cleared when it is removed."""
    thresholds = Thresholds(twin, events)
    twin.update_state({"t": 90.0})
    with observed(twin, events, 2):
        assert thresholds.set(HOT) is not None
        come(events, [(True, 2)])
        assert thresholds.set(HOT) is None
        assert thresholds.add(HOT.model_copy(update={"value": 99.0})) is None
        thresholds.set(HOT.model_copy(update={"value": 99.0}))
        come(events, [(True, 2), (False, 2)])
        thresholds.set(HOT)
        come(events, [(True, 2), (False, 2), (True, 2)])
        assert thresholds.remove("hot") is not None
        come(events, [(True, 2), (False, 2), (True, 2), (False, 0)])
    assert thresholds.get() == []
    assert thresholds.remove("hot") is None


def test_a_twin_that_is_deleted_or_set_back(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """What was breached by commits that are no more is cleared."""
    Thresholds(twin, events).set(HOT)
    with observed(twin, events, 2):
        twin.update_state({"t": 90.0})
        come(events, [(True, 2)])
        twin.delete(branches=False)
        come(events, [(True, 2), (False, 0)])
        twin.set_state({"t": 90.0})
        come(events, [(True, 2), (False, 0), (True, 1)])
    twin.delete(branches=False)
    twin.set_state({"t": 20.0})
    with observed(twin, events):
        come(events, [(True, 2), (False, 0), (True, 1), (False, 1)])


def test_a_twin_that_is_not_there_yet(server: Server, twin_id: str) -> None:
    """Can be observed; its first commit is judged."""
    with StateManager(twin_id, url=server.url) as twin, DomainEvents(twin) as events:
        Thresholds(twin, events).set(HOT)
        with observed(twin, events, 2):
            twin.set_state({"t": 90.0})
            come(events, [(True, 1)])


@pytest.mark.bundled_first
def test_observers_that_are_killed_again_and_again(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """What was raised and cleared is what one observer of all commits would have said."""
    Thresholds(twin, events).set(HOT)
    values = [20.0]
    chance = random.Random(1)  # the same in each run
    observers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        observers.append(subprocess.Popen([sys.executable, "-c", OBSERVER, server.url, twin.twin]))

    try:
        for _ in range(3):
            start()
        for number in range(150):
            values.append(chance.choice([20.0, 74.0, 76.0, 79.0, 81.0, 95.0]))
            twin.update_state({"t": values[-1]})
            if number % 25 == 24:  # those that are alive caught up
                come(events, expected(values, [float(n) for n in range(len(values))], HOT))
            if number % 10 == 9:  # in the middle of it
                observers[-3].kill()
                start()
        come(events, expected(values, [float(n) for n in range(len(values))], HOT))
    finally:
        for one in observers:
            one.kill()
            one.wait()


def test_one_that_sleeps_while_the_twin_is_deleted(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """Wakes up among commits that are no more, and breaches nothing by them."""
    Thresholds(twin, events).set(HOT)
    wanted: list[tuple[bool, int]] = []
    sleeper = subprocess.Popen([sys.executable, "-c", OBSERVER, server.url, twin.twin])
    try:
        with observed(twin, events):
            for _ in range(5):
                version = twin.update_state({"t": 90.0}).version
                wanted.append((True, version))
                come(events, wanted)
                sleeper.send_signal(signal.SIGSTOP)
                twin.update_many([{"t": 90.0 + n} for n in range(20)])
                twin.delete(branches=False)
                wanted.append((False, 0))
                come(events, wanted)
                sleeper.send_signal(signal.SIGCONT)
        twin.set_state({"t": 90.0})  # for the sleeper alone: which gets to it behind all that was before
        wanted.append((True, 1))
        come(events, wanted)
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.bundled_first
def test_several_rules_and_thousands_of_commits(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """While observers are killed: of each rule what one would have said; some last, some turn with each commit."""
    rules = [
        HOT,
        HOT.model_copy(update={"name": "edge", "hysteresis": 0.0}),
        HOT.model_copy(update={"name": "lasting", "hysteresis": 0.0, "minimum_duration": 0.02}),
        HOT.model_copy(update={"name": "long", "minimum_duration": 0.2}),
    ]
    for manager in (twin, events.manager):
        manager.set_history_length(100_000)
    Thresholds(twin, events).set(*rules)
    chance = random.Random()
    observers = [start_observer(server, twin) for _ in range(3)]
    try:
        for number in range(60):
            values = [chance.choice([20.0, 74.0, 76.0, 79.0, 81.0, 95.0]) for _ in range(chance.choice([1, 5, 50]))]
            twin.update_many([{"t": value} for value in values])
            time.sleep(chance.choice([0.0, 0.001, 0.03, 0.3]))
            if number % 15 == 14:
                observers[-3].kill()
                observers.append(start_observer(server, twin))
        twin.update_state({"t": 20.0})
        entries = twin.get_commits()[::-1]
        values = [entry.state["t"] for entry in entries]
        times = [microseconds(parse_timestamp(entry.committed_at)) / 1e6 for entry in entries]
        assert len(values) > 500
        for rule in rules:
            wanted = expected(values, times, rule)
            try:
                wait_until(lambda rule=rule, wanted=wanted: turns(events, rule.name) == wanted)
            except AssertionError:
                assert turns(events, rule.name) == wanted
            assert wanted
    finally:
        for one in observers:
            one.kill()
            one.wait()


def start_observer(server: Server, twin: StateManager) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", OBSERVER, server.url, twin.twin])


def test_a_state_as_large_as_one_can_be(twin: StateManager, events: DomainEvents) -> None:
    """Can be watched as a whole."""
    whole = ThresholdRule(name="whole", pointer="", comparison="not_equal", value={})
    Thresholds(twin, events).set(whole)
    with observed(twin, events):
        come(events, [(True, 1)])
        twin.delete(branches=False)
        come(events, [(True, 1), (False, 0)])
        deep: object = 1
        for _ in range(62):
            deep = [deep]
        twin.set_state({"deep": deep, "text": "x" * 1_000_000})
        come(events, [(True, 1), (False, 0), (True, 1)])


def test_a_server_that_is_away(own_server: Server, twin_id: str) -> None:
    """Is waited for; nothing is said twice and nothing is passed over."""
    with StateManager(twin_id, url=own_server.url) as twin, DomainEvents(twin) as events:
        twin.set_state({"t": 20.0})
        Thresholds(twin, events).set(HOT)
        with observed(twin, events, 2):
            twin.update_state({"t": 90.0})
            come(events, [(True, 2)])
            own_server.kill()
            own_server.start()
            twin.update_state({"t": 20.0})
            twin.update_state({"t": 90.0})
            come(events, [(True, 2), (False, 3), (True, 4)])
        own_server.kill()
        with observed(twin, events):  # who begins while there is none
            own_server.start()
            twin.update_state({"t": 20.0})
            come(events, [(True, 2), (False, 3), (True, 4), (False, 5)])


def _following(events: DomainEvents) -> Callable[[], list[str]]:
    subscription = events.subscribe(since=0, timeout=0.3)
    return lambda: [one.kind if isinstance(one, DomainEvent) else str(one) for one in subscription]


def test_they_come_over_the_stream(twin: StateManager, events: DomainEvents) -> None:
    """Like any domain event."""
    Thresholds(twin, events).set(HOT)
    following = _following(events)
    with observed(twin, events):
        twin.update_state({"t": 90.0})
        come(events, [(True, 2)])
    assert following() == ["threshold_breached"]
    assert StateRolledBack.kind not in following()
