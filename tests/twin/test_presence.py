"""Which workers are there: each joins once and leaves once, whoever notices."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from circman_redis import StateManager, UsageError, protocol
from circman_redis.timestamps import microseconds, parse_timestamp
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.presence import Presence, Worker, workers
from tests.servers import Server, wait_until

pytestmark = pytest.mark.bundled_first

WORKER = """
import sys, time
from circman_redis import StateManager
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.presence import Presence

url, twin, name, ttl = sys.argv[1:]
with StateManager(twin, url=url) as manager, DomainEvents(manager) as events:
    with Presence(manager, events, name, ["line"], ttl=float(ttl)) as presence:
        print("there", flush=True)
        presence.replaced.wait()
        print("replaced", flush=True)
"""


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        yield manager


def start(server: Server, twin: StateManager, name: str, ttl: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, server.url, twin.twin, name, str(ttl)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def names(twin: StateManager, events: DomainEvents) -> list[str]:
    return [one.name for one in workers(twin, events)]


def happened(events: DomainEvents) -> list[tuple[str, str, str]]:
    found = events.get_events(kinds=["worker_joined", "worker_left"])
    return [(one.kind.removeprefix("worker_"), one.data["worker"], one.data.get("why", "")) for one in found]


def test_there_for_as_long_as_the_block_lasts(twin: StateManager, events: DomainEvents, server: Server) -> None:
    """And what it said of itself would expire."""
    assert workers(twin, events) == []
    with Presence(twin, events, "line-1", ["line", "quality"], ttl=5):
        (found,) = workers(twin, events)
        assert (found.name, found.roles, found.present) == ("line-1", ("line", "quality"), True)
        with server.client() as client:
            assert 0 < client.pttl(twin.keys.worker("line-1")) <= 5000
    assert workers(twin, events) == []
    assert happened(events) == [("joined", "line-1", ""), ("left", "line-1", "stopped")]
    with server.client() as client:
        assert not client.exists(twin.keys.worker("line-1"))


def test_it_says_so_again_and_again(twin: StateManager, events: DomainEvents) -> None:
    """For longer than its time."""
    with Presence(twin, events, "a", ttl=0.1), Presence(twin, events, "b", ttl=0.1):
        begun = twin.run(protocol.server_time())
        wait_until(lambda: twin.run(protocol.server_time()) > begun + 500_000)
        assert [one.present for one in workers(twin, events)] == [True, True]
    assert len(happened(events)) == 4


def test_one_that_is_killed_is_noticed_once(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """By whichever of the others."""
    observers = [Presence(twin, events, name, ttl=0.2) for name in ("a", "b")]
    with start(server, twin, "killed", 0.3) as process, observers[0], observers[1]:
        process.kill()
        process.wait()
        wait_until(lambda: names(twin, events) == ["a", "b"])
    mine = [one for one in happened(events) if one[1] == "killed"]
    assert mine == [("joined", "killed", ""), ("left", "killed", "vanished")]


def test_one_that_stops_is_never_said_to_have_vanished(twin: StateManager, events: DomainEvents) -> None:
    """However closely others look."""
    with Presence(twin, events, "a", ttl=0.03), Presence(twin, events, "b", ttl=0.03):
        for _ in range(100):
            with Presence(twin, events, "c", ttl=60):
                pass
    assert {why for kind, name, why in happened(events) if name == "c"} == {"", "stopped"}


def test_what_another_says_under_its_name_stays(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """That one has taken the name while this one left."""
    with server.client() as client:
        with Presence(twin, events, "a", ttl=60):
            client.set(twin.keys.worker("a"), "another's")
        assert client.get(twin.keys.worker("a")) == b"another's"


def test_when_it_joined_is_told_by_the_servers_clock(twin: StateManager, events: DomainEvents) -> None:
    """So of two workers of one name, on machines whose clocks differ, the one that came first is the older one."""
    before = twin.run(protocol.server_time())
    with Presence(twin, events, "a"):
        (found,) = workers(twin, events)
    assert before <= microseconds(parse_timestamp(found.started)) <= twin.run(protocol.server_time())


def test_nobody_is_left_to_notice(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """Then it is listed as not there, and the next one who comes notices."""
    with start(server, twin, "killed", 0.2) as process:
        process.kill()
    wait_until(lambda: [one.present for one in workers(twin, events)] == [False])
    with Presence(twin, events, "a", ttl=0.2):
        wait_until(lambda: names(twin, events) == ["a"])


def test_one_that_was_paused_joins_again(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """It was taken for gone."""
    with start(server, twin, "paused", 0.3) as process:
        with Presence(twin, events, "a", ttl=0.2):
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: names(twin, events) == ["a"])
            process.send_signal(signal.SIGCONT)
            wait_until(lambda: names(twin, events) == ["a", "paused"])
        process.kill()
    mine = [one for one in happened(events) if one[1] == "paused"]
    assert mine == [("joined", "paused", ""), ("left", "paused", "vanished"), ("joined", "paused", "")]


def test_one_that_is_started_again_takes_its_place(server: Server, twin: StateManager, events: DomainEvents) -> None:
    """And a living one of the name is told, and says no more."""
    with start(server, twin, "w", 0.2) as first, start(server, twin, "w", 0.2) as second:
        assert first.stdout is not None
        assert first.stdout.readline() == "replaced\n"
        assert first.wait() == 0
        (found,) = workers(twin, events)
        assert found.pid == second.pid
        assert happened(events) == [("joined", "w", ""), ("left", "w", "replaced"), ("joined", "w", "")]
        second.kill()


def test_a_server_that_lost_everything(own_server: Server, twin_id: str) -> None:
    """It joins again."""
    with StateManager(twin_id, url=own_server.url) as twin, DomainEvents(twin) as events:
        with Presence(twin, events, "a", ttl=0.3):
            with own_server.client() as client:
                client.flushall()
            wait_until(lambda: names(twin, events) == ["a"])
            own_server.kill()
            own_server.start()
            wait_until(lambda: [one.present for one in workers(twin, events)] == [True])
        assert workers(twin, events) == []


@pytest.mark.parametrize(("name", "ttl"), [("", 1), ("a b", 1), ("a", 0), ("a", float("nan")), ("a", 90_000)])
def test_arguments_that_are_none(twin: StateManager, events: DomainEvents, name: str, ttl: float) -> None:
    with pytest.raises(UsageError, match="use"):
        Presence(twin, events, name, ttl=ttl)


def test_as_json() -> None:
    worker = Worker("a", ("line",), "host", 7, "2026-11-01T00:00:00.000000Z", present=True)
    assert worker.to_json() == {
        "name": "a",
        "roles": ["line"],
        "host": "host",
        "pid": 7,
        "started": "2026-11-01T00:00:00.000000Z",
        "present": True,
    }
