"""DigitalTwin: updates that commit only what changed, sources that may fail, and loops that end when they are told."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from circman_redis import InvalidJSON, StateManager, StateValidationError, StoreUnavailable, UsageError
from circman_redis.codec import JSONText
from circman_redis.twin.config import TwinConfig
from circman_redis.twin.core import DigitalTwin
from circman_redis.twin.domain import DomainEvent
from circman_redis.twin.leases import Lease
from tests.servers import Server, wait_until

pytestmark = pytest.mark.bundled_first

STATE = {"production_line": {"temperature": 22.0, "production_rate": 10}, "materials": {"glass": {"inventory": 7}}}


@pytest.fixture
def twin(server: Server, twin_id: str, tmp_path: Path) -> Iterator[DigitalTwin]:
    with (
        StateManager(twin_id, url=server.url, results=tmp_path) as manager,
        DigitalTwin(TwinConfig(update_frequency=20, log_level="DEBUG"), state_manager=manager) as one,
    ):
        yield one


def no_sensor() -> dict[str, Any]:
    raise OSError(5, "no sensor")


def errors_of(twin: DigitalTwin) -> list[tuple[str, str]]:
    events = twin.events.get_events(kinds=["error"])
    return [(str(one.data["source"]), str(one.data["error"])) for one in events]


def last_patch(twin: DigitalTwin) -> dict[str, Any]:
    """What the last commit named, but for its stamp."""
    patch = twin.state_manager.get_commits(1)[0].patch
    assert patch is not None
    return {name: value for name, value in patch.items() if name != "timestamp"}


def text_of(twin: DigitalTwin) -> str:
    return bytes(twin.state_manager.client.get(twin.state_manager.keys.state) or b"").decode()


# --- beginning -------------------------------------------------------------------------------------------------------


def test_the_first_state_is_made_where_there_is_none(twin: DigitalTwin) -> None:
    """And by one of all who want to."""
    assert twin.get_current_state() == {}
    made: list[object] = []
    states = [{"system_status": f"by-{number}"} for number in range(4)]
    racers = [threading.Thread(target=lambda one=one: made.append(twin.initialize(one))) for one in states]
    for one in racers:
        one.start()
    for one in racers:
        one.join()
    assert sum(one is not None for one in made) == 1
    assert twin.state_manager.snapshot().version == 1
    assert twin.initialize() is None


def test_it_needs_no_first_state(twin: DigitalTwin) -> None:
    """None makes an empty one; an update would do as well; one that breaks the rules is refused."""
    with pytest.raises(StateValidationError):
        twin.initialize({"environment": {"humidity": 101}})
    commit = twin.initialize()
    assert commit is not None
    assert twin.get_current_state().keys() == {"timestamp"}


def test_by_itself_it_goes_by_the_constants(server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, its history, its logger's level; and it closes what it opened."""
    monkeypatch.setenv("CIRCMAN_REDIS_URL", server.url)
    monkeypatch.setenv("CIRCMAN_CONSTANTS__DIGITAL_TWIN__NAME", f'"{twin_id}"')
    monkeypatch.setenv("CIRCMAN_CONSTANTS__DIGITAL_TWIN__HISTORY_LENGTH", "7")
    monkeypatch.setenv("CIRCMAN_CONSTANTS__DIGITAL_TWIN__LOG_LEVEL", "ERROR")
    root = logging.getLogger().level
    with DigitalTwin() as twin:
        assert (twin.config.name, twin.state_manager.twin) == (twin_id, twin_id)
        assert twin.state_manager.history_length == 7
        assert logging.getLogger("circman_redis.twin").level == logging.ERROR
        assert logging.getLogger().level == root
        assert twin.update({"a": 1}) is not None
    with pytest.raises(UsageError, match="is closed"):
        twin.get_current_state()


def test_a_given_manager_says_which_twin_it_is(twin: DigitalTwin, server: Server) -> None:
    """It stays open; and a name that says otherwise is refused."""
    manager = twin.state_manager
    assert twin.config.name == manager.twin
    with DigitalTwin(state_manager=manager) as other:
        assert other.config.name == manager.twin
    manager.update_state({"open": True})
    with pytest.raises(UsageError, match=r"config.name='another'"):
        DigitalTwin(TwinConfig(name="another"), state_manager=manager)
    with pytest.raises(UsageError, match="use a StateManager"):
        DigitalTwin(state_manager=server)  # type: ignore[arg-type]


# --- updates ---------------------------------------------------------------------------------------------------------


def test_only_what_changed_is_committed(twin: DigitalTwin) -> None:
    """As one merge; where nothing changed, there is no commit."""
    twin.initialize(STATE)
    reading = {"production_line": {"temperature": 22.0, "production_rate": 10}, "environment": {"humidity": 40}}
    twin.register_source("sensors", lambda: reading)
    twin.register_source("stock", lambda: {"materials": {"glass": {"inventory": 6}}})
    commit = twin.update()
    assert commit is not None
    assert commit.version == 2
    assert last_patch(twin) == {"environment": {"humidity": 40}, "materials": {"glass": {"inventory": 6}}}
    assert twin.update() is None
    assert twin.state_manager.snapshot().version == 2
    assert DigitalTwin(state_manager=twin.state_manager).update() is None  # that has no sources at all


def test_the_callers_data_go_over_the_sources(twin: DigitalTwin) -> None:
    """A null in them removes what is there, also what a source brings."""
    twin.initialize(STATE)
    twin.register_source("sensors", lambda: {"production_line": {"temperature": 30.0}, "new": 1})
    external = {"production_line": {"temperature": 25.0, "production_rate": None}, "new": None}
    assert twin.update(external) is not None
    assert last_patch(twin) == {"production_line": {"temperature": 25.0, "production_rate": None}}
    assert twin.get_current_state()["production_line"] == {"temperature": 25.0}
    assert twin.update(external) is None


def test_numbers_keep_their_digits(twin: DigitalTwin) -> None:
    """And what keeps them is no change, however often it comes."""
    twin.initialize()
    prices = {"quality_metrics": {"price": Decimal("22.10"), "tiny": 1e-7, "many": Decimal("0.12345678901234567890")}}
    twin.register_source("prices", lambda: prices)
    twin.register_source("text", lambda: JSONText('{"resource_metrics":{"power":1.50e3}}'))
    assert twin.update() is not None
    for digits in ('"price":22.10', '"many":0.12345678901234567890', '"tiny":1e-7', '"power":1.50e3'):
        assert digits in text_of(twin)
    assert twin.update() is None
    assert twin.update({"quality_metrics": {"price": 22.1}}) is not None
    assert '"price":22.1,' in text_of(twin)


def test_a_timestamp_that_a_source_gives_holds(twin: DigitalTwin) -> None:
    """Also where it is the one that the state has."""
    reading: dict[str, Any] = {"timestamp": "2026-01-01T00:00:00Z", "system_status": "running"}
    twin.register_source("sensors", lambda: reading)
    assert twin.update() is not None
    assert twin.update() is None
    reading["system_status"] = "idle"
    commit = twin.update()
    assert commit is not None
    assert commit.timestamp == "2026-01-01T00:00:00Z"


def test_what_is_no_json_object_is_the_callers_error(twin: DigitalTwin) -> None:
    """Before any source is asked."""
    asked: list[int] = []
    twin.register_source("sensors", lambda: {"n": asked.append(1)})
    with pytest.raises(InvalidJSON, match="external_data"):
        twin.update([1])  # type: ignore[arg-type]
    assert asked == []


@pytest.mark.parametrize("workers", [4])
def test_workers_never_undo_each_other(server: Server, twin: DigitalTwin, workers: int) -> None:
    """Each moves a part of its own, and keeps saying what it knows of it; a source of one is slow, and so knows old."""
    twin.initialize({"shared": {str(number): 0 for number in range(workers)}})
    rounds = 50

    def work(number: int) -> None:
        counted = iter(range(1, rounds + 1))
        client = server.client()
        with (
            StateManager(twin.state_manager.twin, client=client) as manager,
            DigitalTwin(state_manager=manager) as mine,
        ):
            mine.register_source("count", lambda: {"shared": {str(number): next(counted)}})
            for _ in range(rounds):
                assert mine.update() is not None
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert twin.get_current_state()["shared"] == {str(number): rounds for number in range(workers)}
    assert twin.state_manager.snapshot().version == 1 + workers * rounds
    for entry in twin.state_manager.get_commits(workers * rounds):
        assert entry.patch is not None
        assert len(entry.patch["shared"]) == 1
    assert twin.state_manager.verify() == []


def test_a_change_that_comes_between_the_look_and_the_commit_stays(twin: DigitalTwin) -> None:
    """A place that the sources did not change is not named, so what another worker writes there meanwhile holds."""
    twin.initialize(STATE)
    manager = twin.state_manager
    real = manager.update_state

    def slowly(updates: Any) -> Any:
        real({"materials": {"glass": {"inventory": 3}}})
        return real(updates)

    twin.register_source("all", lambda: {**STATE, "system_status": "running"})
    manager.update_state = slowly  # type: ignore[method-assign, assignment]
    try:
        assert twin.update() is not None
    finally:
        del manager.update_state
    assert twin.get_current_state()["materials"]["glass"]["inventory"] == 3


# --- sources that fail -----------------------------------------------------------------------------------------------


def test_a_source_that_fails_is_reported_once_and_the_rest_go_on(
    twin: DigitalTwin, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and as a domain event; again when the reason is another, and in the log when it is well again."""
    answers: list[Callable[[], Any]] = [no_sensor, no_sensor, lambda: [1], lambda: {"n": 1}]
    twin.register_source("bad", lambda: answers.pop(0)())  # noqa: PLW0108 - another one each time
    count = iter(range(1, 100))
    twin.register_source("good", lambda: {"count": next(count)})
    for number in range(1, 5):
        twin.update()
        assert twin.get_current_state()["count"] == number
        assert (twin.sources["bad"].failures, twin.sources["good"].failures) == (number % 4, 0)
    published = errors_of(twin)
    assert [name for name, _ in published] == ["bad", "bad"]
    assert published[0] == ("bad", "OSError(5, 'no sensor')")
    said = [record.getMessage() for record in caplog.records if record.name == "circman_redis.twin"]
    assert len(said) == 3
    assert "the source 'bad' fails: OSError(5, 'no sensor')" in said[0]
    assert "the source 'bad' is well again" in said[2]


def test_a_source_that_hangs_is_reported_and_the_rest_go_on(twin: DigitalTwin) -> None:
    """It holds up one update for its time, and none after."""
    released = threading.Event()
    twin.register_source("slow", lambda: {"late": released.wait(60)}, timeout=0.05)
    twin.register_source("good", lambda: {"n": 1})
    try:
        assert twin.update() is not None
        assert twin.update() is None
        assert twin.sources["slow"].failures == 2
        assert errors_of(twin) == [("slow", "no answer within 0.05 s")]
    finally:
        released.set()


def test_what_breaks_a_rule_is_left_out(twin: DigitalTwin) -> None:
    """The source is reported, and the rest are committed, as one commit."""
    twin.initialize(STATE)
    humidity = iter([101, 102.5, 50])
    twin.register_source("weather", lambda: {"environment": {"humidity": next(humidity), "temperature": 20}})
    twin.register_source("line", lambda: {"production_line": {"temperature": 23.0}})
    assert twin.update({"system_status": "running"}) is not None
    assert last_patch(twin) == {"production_line": {"temperature": 23.0}, "system_status": "running"}
    assert twin.sources["weather"].failures == 1
    assert twin.sources["line"].error is None
    assert twin.update() is None
    assert twin.sources["weather"].failures == 2
    ((name, why),) = errors_of(twin)
    assert name == "weather"
    assert "/environment/humidity" in why
    assert twin.update() is not None
    assert twin.sources["weather"].error is None
    assert twin.get_current_state()["environment"] == {"humidity": 50, "temperature": 20}


def test_what_the_caller_broke_is_the_callers_error(twin: DigitalTwin) -> None:
    """And nothing is committed; nor is a source blamed for it."""
    twin.initialize(STATE)
    twin.register_source("line", lambda: {"production_line": {"temperature": 23.0}})
    with pytest.raises(StateValidationError, match="/environment/humidity"):
        twin.update({"environment": {"humidity": 101}})
    assert twin.state_manager.snapshot().version == 1
    assert twin.sources["line"].error is None
    twin.register_source("weather", lambda: {"environment": {"humidity": 102}})
    with pytest.raises(StateValidationError, match="/environment/humidity: 101"):
        twin.update({"environment": {"humidity": 101}})  # which goes over the source's
    assert twin.update({"environment": {"humidity": 99}}) is not None
    assert twin.sources["weather"].error is None


class Balanced(BaseModel):
    """What goes in comes out: a check of the whole that only Python can make."""

    a: float = 0
    b: float = 0
    c: float = 0

    @model_validator(mode="after")
    def _check(self) -> Balanced:
        if self.a + self.b + self.c > 100:
            raise ValueError("more than there is")
        return self


@pytest.mark.parametrize("guilty", ["a", "b", "c"])
def test_a_check_of_the_whole_blames_the_one_whose_data_break_it(server: Server, twin_id: str, guilty: str) -> None:
    """Though it names no place: each source is left out in turn."""
    with (
        StateManager(twin_id, url=server.url, model=Balanced) as manager,
        DigitalTwin(state_manager=manager) as twin,
    ):
        for name in "abc":
            twin.register_source(name, lambda name=name: {name: 500 if name == guilty else 1})
        assert twin.update() is not None
        state = twin.get_current_state()
        assert [name in state for name in "abc"] == [name != guilty for name in "abc"]
        assert [one.failures for one in twin.sources.values()] == [int(name == guilty) for name in "abc"]


def test_an_event_that_cannot_be_published_breaks_nothing(twin: DigitalTwin, caplog: pytest.LogCaptureFixture) -> None:
    """Something else wrote where the domain events are: the update is made all the same, and that is logged."""
    twin.initialize(STATE)
    twin.events.publish("error", {"source": "old", "error": "none"})
    twin.state_manager.client.set(twin.events.manager.keys.state, "junk")
    twin.register_source("bad", no_sensor)
    twin.register_source("good", lambda: {"system_status": "running"})
    assert twin.update() is not None
    assert twin.update() is None
    assert twin.simulate(2).states
    said = [record.getMessage() for record in caplog.records]
    assert sum("could not be published: twin" in one for one in said) == 2


def test_nothing_is_said_of_a_branch(twin: DigitalTwin, caplog: pytest.LogCaptureFixture) -> None:
    """It has no domain events, and that is nothing to warn of; that a source fails is in the log."""
    twin.initialize(STATE)
    branch = twin.fork("what-if")
    with branch.manager, DigitalTwin(state_manager=branch.manager) as what_if:
        what_if.register_source("bad", no_sensor)
        assert what_if.update({"system_status": "trial"}) is not None
        assert what_if.simulate(2).states
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [f"twin '{branch.manager.twin}': the source 'bad' fails: OSError(5, 'no sensor')"]
    assert twin.events.get_events() == []


# --- around the state ------------------------------------------------------------------------------------------------


def test_a_simulation_touches_nothing_and_is_published(twin: DigitalTwin) -> None:
    """Of the steps of the configuration, unless it is told."""
    twin.initialize(STATE)
    before = twin.state_manager.snapshot()
    result = twin.simulate(seed=7)
    assert len(result.states) == twin.config.simulation_steps + 1
    assert twin.simulate(3, {"temperature_target": 30}, seed=7).parameters.temperature_target == 30
    with pytest.raises(UsageError, match="steps=0"):
        twin.simulate(0)
    assert twin.state_manager.snapshot() == before
    events = [one for one in twin.events.get_events() if one.kind == "simulation_result"]
    assert [one.data["steps"] for one in events] == [10, 3]
    assert events[0].data["quantities"] == result.summary()["quantities"]


def test_a_simulation_goes_by_the_constants(twin: DigitalTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its caller does not say otherwise."""
    monkeypatch.setenv("CIRCMAN_CONSTANTS__SIMULATION__PARAMETERS", "{ temperature_target = 31, consumption = 0.5 }")
    monkeypatch.setenv("CIRCMAN_CONSTANTS__SIMULATION__SEED", "7")
    twin.initialize(STATE)
    with DigitalTwin(state_manager=twin.state_manager) as other:
        result = other.simulate(2, {"temperature_target": 30})
    assert (result.seed, result.parameters.temperature_target, result.parameters.consumption) == (7, 30, 0.5)
    assert result.parameters.step_seconds == 60


def test_domain_events_are_followed(twin: DigitalTwin) -> None:
    twin.initialize(STATE)
    with twin.events.subscribe(timeout=60) as events:
        twin.register_source("bad", no_sensor)
        twin.update()
        event = next(events)
    assert isinstance(event, DomainEvent)
    assert (event.kind, event.data["source"]) == ("error", "bad")


def test_states_to_files_and_back(twin: DigitalTwin, tmp_path: Path) -> None:
    """And what was before."""
    twin.initialize(STATE)
    assert twin.save_state(tmp_path / "state.json")
    twin.update({"system_status": "running"})
    assert [state.get("system_status") for state in twin.get_state_history()] == [None]
    assert twin.load_state(tmp_path / "state.json")
    assert "system_status" not in twin.get_current_state()
    assert [state.get("system_status") for state in twin.get_state_history(limit=1)] == ["running"]


def test_a_fork_goes_its_own_way(twin: DigitalTwin) -> None:
    """It may be a twin of its own, with sources of its own."""
    twin.initialize(STATE)
    twin.update({"system_status": "running"})
    branch = twin.fork("what-if", version=1)
    with branch.manager, DigitalTwin(state_manager=branch.manager) as what_if:
        what_if.update({"production_line": {"temperature": 30.0}})
        assert "system_status" not in what_if.get_current_state()
        assert branch.merge_back() is not None
    assert twin.get_current_state()["production_line"]["temperature"] == 30.0
    assert twin.get_current_state()["system_status"] == "running"


# --- running ---------------------------------------------------------------------------------------------------------

WORKER = """
import itertools, os, sys
from circman_redis.twin.config import TwinConfig
from circman_redis.twin.core import DigitalTwin

twin_id, name, mode = sys.argv[1:]
count = itertools.count(1)

def source():
    number = next(count)
    return {"by": {name: number, name + "-again": number}}

with DigitalTwin(TwinConfig(name=twin_id, update_frequency=200, synchronization_mode=mode)) as twin:
    twin.register_source("count", source)
    twin.run()
    print("ended", twin.rounds.held, flush=True)
"""


@contextmanager
def workers(server: Server, twin: DigitalTwin, *names: str, mode: str = "real_time") -> Iterator[list[Any]]:
    environment = {**os.environ, "CIRCMAN_REDIS_URL": server.url}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, twin.state_manager.twin, name, mode],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    try:
        yield running
    finally:
        for one in running:
            one.kill()
            one.communicate()


def has_moved(twin: DigitalTwin, name: str) -> Callable[[], bool]:
    """Whether a worker committed since this was made."""
    stood = commits_by(twin, name)
    return lambda: commits_by(twin, name) not in {0, stood}


def commits_by(twin: DigitalTwin, name: str) -> int:
    return int(twin.get_current_state().get("by", {}).get(name, 0))


@pytest.mark.parametrize("mode", ["real_time", "batch"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_running_twin(server: Server, twin: DigitalTwin, number: int, mode: str) -> None:
    """With exit code 0, and its last commit whole; what a batch held is committed."""
    with workers(server, twin, "w1", "w2", mode=mode) as running:
        wait_until(lambda: all(commits_by(twin, name) for name in ("w1", "w2")))
        for one in running:
            one.send_signal(number)
        for one in running:
            said, errors = one.communicate(timeout=60)
            assert (one.returncode, said, errors) == (0, "ended 0\n", "")
    by = twin.get_current_state()["by"]
    for name in ("w1", "w2"):
        assert by[name] == by[f"{name}-again"]
    assert twin.state_manager.verify() == []


def test_killed_workers_leave_the_twin_whole(server: Server, twin: DigitalTwin) -> None:
    """At any moment, and others go on."""
    for seconds in (0.0, 0.003, 0.011):
        with workers(server, twin, "w1", "w2") as (killed, other):
            before = twin.state_manager.snapshot().version
            wait_until(has_moved(twin, "w1"))
            time.sleep(seconds)
            killed.kill()
            killed.wait()
            wait_until(has_moved(twin, "w2"))
            other.terminate()
            assert other.wait(60) == 0
            by = twin.get_current_state()["by"]
            assert by["w1"] == by["w1-again"]
            assert twin.state_manager.snapshot().version > before
    assert twin.state_manager.verify() == []


def test_it_ends_when_it_is_told(twin: DigitalTwin) -> None:
    """In any thread; signals do what they did before."""
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    count = iter(range(10**9))
    twin.register_source("count", lambda: {"n": next(count)})
    stop = threading.Event()

    def tell() -> None:
        wait_until(lambda: twin.get_current_state().get("n", 0) > 3)
        stop.set()

    threading.Thread(target=tell).start()
    twin.run(stop)
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers
    again = threading.Event()
    thread = threading.Thread(target=twin.run, args=(again,))
    stood = twin.get_current_state()["n"]
    thread.start()
    wait_until(lambda: twin.get_current_state()["n"] > stood)
    again.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_signal_comes_while_a_source_hangs(twin: DigitalTwin) -> None:
    """Nobody waits for it."""
    released = threading.Event()
    asked = threading.Event()

    def slow() -> dict[str, Any]:
        asked.set()
        released.wait(60)
        return {}

    twin.register_source("slow", slow, timeout=600)

    def tell() -> None:
        asked.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell).start()
    try:
        twin.run()
    finally:
        released.set()
    assert twin.sources["slow"].error is None


def test_a_server_that_is_away_for_a_while_does_not_end_it(
    own_server: Server, twin_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported once, and the rounds go on when it is back."""
    count = iter(range(1, 10**9))
    with (
        StateManager(twin_id, url=own_server.url, timeout=0.3) as manager,
        DigitalTwin(TwinConfig(update_frequency=50), state_manager=manager) as twin,
    ):
        twin.register_source("count", lambda: {"n": next(count)})
        stop = threading.Event()
        thread = threading.Thread(target=twin.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: manager.get_current_state().get("n", 0) > 3)
            own_server.kill()
            wait_until(lambda: any("a round failed" in record.getMessage() for record in caplog.records))
            with pytest.raises(StoreUnavailable):
                twin.update({"mine": 1})
            own_server.start()
            stood = manager.get_current_state()["n"]
            wait_until(lambda: manager.get_current_state()["n"] > stood)
            assert thread.is_alive()
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert manager.verify() == []
    said = [record.getMessage() for record in caplog.records]
    assert any("rounds succeed again" in one for one in said)


def test_a_role_that_was_lost_ends_it(server: Server, twin: DigitalTwin) -> None:
    """What it commits is committed in the role of the thread that runs it."""
    from circman_redis import LeaseLost

    twin.initialize({"n": 0})
    count = iter(range(1, 10**9))
    twin.register_source("count", lambda: {"n": next(count)})
    manager = twin.state_manager

    def take() -> None:
        wait_until(lambda: twin.get_current_state()["n"] > 3)
        Lease(manager, "line", "a").take()  # the same worker, started again

    threading.Thread(target=take).start()
    with Lease(manager, "line", "a"), pytest.raises(LeaseLost, match="'a' has it now"):
        twin.run()


def test_in_mode_event_it_goes_by_paths(twin: DigitalTwin) -> None:
    """And in no other."""
    with pytest.raises(UsageError, match="only mode 'event'"):
        twin.run(paths="/order")
    with pytest.raises(UsageError, match="JSON Pointer"):
        twin.run(paths="order")


def test_what_it_is_called(twin: DigitalTwin) -> None:
    assert json.dumps(twin.config.name) in repr(twin).replace("'", '"')
