"""Workers as processes: killed, paused, stopped, doubled, met with junk; the twin stays whole and the work goes on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from circman_redis import StateManager
from circman_redis.models import TwinState
from circman_redis.patch import merge
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.roles import ROLES, STOCK
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.thresholds import Thresholds
from tests.servers import Server, wait_until
from tests.twin.crew import Crew, never_within, started
from tests.unit.twin.test_standing import expected

pytestmark = pytest.mark.bundled_first

ROUNDS = 3
LONG = 1_000_000
"""Commits of history: so that all of a run is there to be looked at."""

HOT = ThresholdRule(name="hot", pointer="/t", comparison="greater_than", value=80.0, hysteresis=5.0)


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url, history_length=LONG) as manager:
        yield manager


@pytest.fixture
def events(twin: StateManager) -> Iterator[DomainEvents]:
    with DomainEvents(twin) as one:
        one.manager.set_history_length(LONG)
        yield one


@pytest.fixture
def crew(server: Server, twin: StateManager, events: DomainEvents, tmp_path: Path) -> Iterator[Crew]:
    with Crew(server.url, twin, events, tmp_path) as one:
        yield one


@contextmanager
def stirred(twin: StateManager) -> Iterator[list[float]]:
    """The state changes all the while, for those who do something about that; yields the values."""
    values, over, chance = [20.0], threading.Event(), random.Random(7)
    twin.update_state({"t": 20.0, "production_line": {"temperature": 20.0}})

    def stir() -> None:
        while not over.wait(0.01):
            values.append(chance.choice([20.0, 74.0, 79.0, 95.0]))
            twin.update_state({"t": values[-1]})

    thread = threading.Thread(target=stir)
    thread.start()
    try:
        yield values
    finally:
        over.set()
        thread.join()


def left(events: DomainEvents) -> dict[str, Counter[str]]:
    """Of each worker, how often it joined, and how often it left in which way."""
    found: dict[str, Counter[str]] = {}
    for one in events.get_events(kinds=["worker_joined", "worker_left"]):
        found.setdefault(one.data["worker"], Counter())[one.data.get("why", "joined")] += 1
    return found


def errors(events: DomainEvents) -> list[str]:
    return [str(one.data["error"]) for one in events.get_events(kinds=["error"])]


# --- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_killing_any_worker_with_9_at_any_time(
    role: str, crew: Crew, twin: StateManager, events: DomainEvents, tmp_path: Path
) -> None:
    """Leaves the twin whole; its lease passes on; and its presence goes."""
    chance, killed = random.Random(), list[str]()
    Thresholds(twin, events).set(HOT)
    with stirred(twin) if role in {"simulation", "monitor"} else stirred_once(twin) as values:
        alive = {crew.start(role), crew.start(role)}
        for _ in range(ROUNDS):
            wait_until(lambda: set(crew.present) == alive)
            crew.wait_for_work(role, alive, more=chance.randrange(1, 30))
            name = crew.holder(role) if ROLES[role].single else chance.choice(sorted(alive))
            time.sleep(chance.random() / 50)  # any moment
            crew.kill(name)
            killed.append(name)
            alive.remove(name)
            crew.wait_for_work(role, set(alive))
            wait_until(lambda name=name: name not in events.state().get("workers", {}))
            alive.add(crew.start(role))
        wait_until(lambda: set(crew.present) == alive)
    if role == "monitor":
        wanted = expected(values, [float(n) for n in range(len(values))], HOT)
        wait_until(lambda: turns(events) == wanted)
    assert crew.stop_all() == [0, 0]

    assert crew.present == []
    assert left(events) == {
        **{name: Counter(joined=1, vanished=1) for name in killed},
        **{name: Counter(joined=1, stopped=1) for name in alive},
    }
    for manager in (twin, events.manager):
        assert manager.verify() == []
    report = twin.audit(list(tmp_path.glob("*.log")))
    assert report.ok, report
    assert report.acknowledged > 0 or role in {"simulation", "monitor"}
    assert errors(events) == []
    if role == "materials":
        balances(twin)


@contextmanager
def stirred_once(twin: StateManager) -> Iterator[list[float]]:
    twin.update_state({"t": 20.0, "parameters": {"consumption": 0.3}, "production_line": {"production_rate": 90}})
    yield [20.0]


def turns(events: DomainEvents) -> list[tuple[bool, int]]:
    kinds = ("threshold_breached", "threshold_cleared")
    return [(one.kind == kinds[0], one.data["version"]) for one in events.get_events(kinds=kinds)]


def balances(twin: StateManager) -> None:
    """Each stock is what it was made with, and what each commit took and put in."""
    stocks = [state["materials"] for state in twin.get_history() if state.get("materials")]
    for entry in twin.get_commits():
        if entry.op == "adjust":
            assert all(one["inventory"] >= 0 for one in entry.state["materials"].values())
    assert len(stocks) > 10


def test_any_number_of_workers_take_materials(crew: Crew, twin: StateManager, events: DomainEvents) -> None:
    """All that they took and put in, as each was told, adds up to what is there."""
    start = {name: {"inventory": 500} for name in ("glass", "film", "wafer")}
    twin.set_state({"materials": start, "parameters": {"consumption": 0.3}, "production_line": {"production_rate": 90}})
    command = [sys.executable, "-c", TAKER, crew.url, twin.twin]
    takers = [subprocess.Popen([*command, f"taker-{n}"], stdout=subprocess.PIPE, text=True) for n in range(4)]
    taken: Counter[str] = Counter()
    try:
        wait_until(lambda: len(crew.present) == 4)
        names = {f"taker-{n}" for n in range(4)}
        for name in names:
            crew.wait_for_work("materials", {name}, more=5)
        wait_until(lambda: any(one.op == "adjust" and is_restock(one.patch) for one in twin.get_commits()))
        for one in takers:
            one.terminate()
        for one in takers:
            taken.update(json.loads(one.communicate(timeout=60)[0]))
    finally:
        for one in takers:
            one.kill()
            one.wait()
    there = {name: one["inventory"] for name, one in twin.get_current_state()["materials"].items()}
    assert there == {name: 500 - taken[name] for name in start}
    assert twin.verify() == []
    assert errors(events) == []


def is_restock(patch: Any) -> bool:
    return any(one["inventory"] >= 1000 for one in patch.get("materials", {}).values())


TAKER = """
import json, sys, threading
from collections import Counter
from circman_redis import StateManager
from circman_redis.twin.stopping import stopped_by_signals
from circman_redis.twin.worker import TwinWorker, WorkerConfig

url, twin, name = sys.argv[1:]
stop, taken = threading.Event(), Counter()
with StateManager(twin, url=url) as manager, stopped_by_signals(stop):
    told = lambda made, commit_id, units: taken.update(units)
    TwinWorker(manager, WorkerConfig(name, ("materials",), rate=200), told=told).run(stop)
print(json.dumps(taken))
"""


# --- stopped, paused -------------------------------------------------------------------------------------------------


def test_one_that_is_told_to_stop_leaves_at_once(crew: Crew, twin: StateManager, events: DomainEvents) -> None:
    """And gives back its role, which another takes long before it would have ended."""
    alive = {crew.start("production", ttl=600), crew.start("production", ttl=600)}
    wait_until(lambda: set(crew.present) == alive)
    crew.wait_for_work("production", alive)
    first = crew.holder("production")
    assert crew.stop(first) == 0
    assert crew.present == sorted(alive - {first})
    assert first != crew.holder("production")
    crew.wait_for_work("production", alive - {first})
    assert left(events)[first] == Counter(joined=1, stopped=1)
    assert " commits in " in crew.said(first)


@pytest.mark.parametrize("role", ["production", "simulation"])
def test_one_that_was_paused_does_not_write_until_it_has_the_role_again(
    role: str, crew: Crew, twin: StateManager, events: DomainEvents
) -> None:
    """Another has it meanwhile; it joins again, and stands by."""
    with stirred(twin) if role == "simulation" else stirred_once(twin):
        alive = {crew.start(role, ttl=3), crew.start(role, ttl=3)}
        wait_until(lambda: set(crew.present) == alive)
        crew.wait_for_work(role, alive)
        first = crew.holder(role)
        (second,) = alive - {first}
        crew.wait_for_work(role, {first}, more=5)
        crew.running[first].send_signal(signal.SIGSTOP)
        crew.wait_for_work(role, {second}, more=5)
        wait_until(lambda: crew.present == [second])
        crew.running[first].send_signal(signal.SIGCONT)
        wait_until(lambda: set(crew.present) == alive)
        crew.wait_for_work(role, {second}, more=20)
        assert crew.stop(second) == 0
        crew.wait_for_work(role, {first}, more=5)
        assert crew.stop(first) == 0
    actors = [actor for actor, _ in groupby(actor for _, actor in crew.work(role, None) if actor in alive)]
    assert actors == [first, second, first]
    assert left(events)[first] == Counter(joined=2, vanished=1, stopped=1)


def test_two_of_one_name(crew: Crew, events: DomainEvents) -> None:
    """The older one ends, and says why; the younger goes on."""
    crew.start("production", name="line")
    wait_until(lambda: crew.present == ["line"])
    old = crew.running.pop("line")
    crew.start("production", name="line")
    try:
        assert old.wait(60) == 2
    finally:
        old.kill()
        old.wait()
    assert "another worker took over the name 'line': give each its own" in crew.said("line")
    assert "Traceback" not in crew.said("line")
    crew.wait_for_work("production", {"line"})
    assert crew.present == ["line"]
    assert crew.stop("line") == 0
    assert left(events) == {"line": Counter(joined=2, replaced=1, stopped=1)}


# --- the server ------------------------------------------------------------------------------------------------------


def test_a_server_that_is_restarted(own_server: Server, twin_id: str, tmp_path: Path) -> None:
    """Is waited for; nothing is lost, and nothing is there twice."""
    with (
        StateManager(twin_id, url=own_server.url, history_length=LONG) as twin,
        DomainEvents(twin) as events,
        Crew(own_server.url, twin, events, tmp_path) as crew,
    ):
        names = [crew.start(role, rate=100, ttl=2) for role in ("production", "materials", "monitor")]
        crew.wait_for_work("production", {names[0]}, more=10)
        for _ in range(2):
            own_server.kill()
            own_server.start()
            for name in names[:2]:
                crew.wait_for_work("production", {name}, more=5)
            wait_until(lambda: crew.present == sorted(names))
        assert crew.stop_all() == [0, 0, 0]
        assert twin.verify() == []
        report = twin.audit(list(tmp_path.glob("*.log")))
        assert report.ok, report
        assert crew.present == []


def test_no_server_at_all(tmp_path: Path) -> None:
    """Is said, and not tried for ever."""
    worker = started("worker", "--role", "production", "--url", f"unix://{tmp_path}/none", stderr=tmp_path / "err")
    try:
        assert worker.wait(60) == 1
    finally:
        worker.kill()
        worker.wait()
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said
    assert f"error: unix://{tmp_path}/none" in said or f"unix://{tmp_path}/none" in said


# --- what the state holds --------------------------------------------------------------------------------------------

JUNK = [
    ("production", {"parameters": {"nonsense": 1}}, {"parameters": None}),
    ("production", {"parameters": "text"}, {"parameters": None}),
    ("production", {"production_line": {"temperature": "hot"}}, {"production_line": None}),
    ("quality", {"materials": {"glass": {"quality": "fine"}}}, {"materials": None}),
    ("materials", {"materials": {"glass": "much"}}, {"materials": None}),
    ("materials", {"production_line": {"production_rate": "fast"}}, {"production_line": {"production_rate": 90}}),
    ("materials", {"materials": ["glass"]}, {"materials": None}),
    ("simulation", {"production_line": {"temperature": [1]}}, {"production_line": {"temperature": 20.0}}),
]


@pytest.mark.parametrize(("role", "junk", "mended"), JUNK, ids=lambda value: str(value)[:40])
def test_junk_in_the_state(
    role: str, junk: dict[str, Any], mended: dict[str, Any], crew: Crew, twin: StateManager, events: DomainEvents
) -> None:
    """Is told once, and not in each turn; where it is mended, the work goes on."""
    twin.publish_model(TwinState, validation="none")
    twin.set_state(merge({"production_line": {"production_rate": 90}}, junk))
    name = crew.start(role, rate=100)
    wait_until(lambda: errors(events))
    assert never_within(twin, 300, lambda: len(errors(events)) > 1)
    twin.update_state(mended)
    crew.wait_for_work(role, {name})
    assert len(errors(events)) == 1
    assert crew.stop(name) == 0


@pytest.mark.parametrize("role", ["production", "monitor"])
def test_a_state_that_something_else_wrote(role: str, crew: Crew, twin: StateManager, events: DomainEvents) -> None:
    """Is told once; where the twin is repaired, the work goes on."""
    Thresholds(twin, events).set(HOT)
    twin.set_state({"t": 1.0})
    with crew.twin.client as client:
        client.set(twin.keys.state, "no JSON")
    name = crew.start(role, rate=100)
    wait_until(lambda: errors(events))
    assert never_within(twin, 300, lambda: len(errors(events)) > 1)
    twin.repair(apply=True)
    twin.update_state({"t": 90.0})
    crew.wait_for_work(role, {name}) if role == "production" else wait_until(lambda: turns(events))
    assert len(errors(events)) == 1
    assert crew.stop(name) == 0


@pytest.mark.parametrize("role", ["environment", "production", "materials", "quality"])
def test_an_empty_twin(role: str, crew: Crew, twin: StateManager, events: DomainEvents) -> None:
    """Each begins by itself; and anew, where the twin was deleted."""
    name = crew.start(role)
    for _ in range(2):
        wait_until(lambda: [actor for _, actor in crew.work(role)][-1:] == [name])
        wait_until(lambda: role != "materials" or twin.get_current_state().get("materials", {}).keys() == set(STOCK))
        twin.delete()
    wait_until(lambda: crew.work(role))
    wait_until(lambda: crew.present == [name])
    assert twin.verify() == []
    assert errors(events) == []


def test_one_worker_with_every_role(crew: Crew, twin: StateManager, events: DomainEvents) -> None:
    """On an empty twin."""
    roles = [word for role in ROLES if role != "environment" for word in ("--role", role)]
    name = crew.start("environment", *roles)
    wait_until(lambda: events.get_events(kinds=["simulation_result"]))
    wait_until(lambda: {"environment", "production_line", "materials"} <= twin.get_current_state().keys())
    wait_until(lambda: "defect_rate" in twin.get_current_state()["production_line"])
    assert Thresholds(twin, events).get()
    assert crew.stop(name) == 0
    assert errors(events) == []
