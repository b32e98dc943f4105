"""A role that one worker at a time has: taken, kept, lost, and never written with by who had it once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from circman_redis import LeaseLost, StateManager, UsageError
from circman_redis.twin.leases import Lease, holders
from tests.servers import Server, wait_until

WORKER = """
import sys, time
from circman_redis import LeaseLost, StateManager
from circman_redis.twin.leases import Lease

url, twin, name, ttl = sys.argv[1:]
with StateManager(twin, url=url, actor=name) as manager, Lease(manager, "simulation", name, ttl=float(ttl)):
    while True:
        try:
            manager.adjust({"/n": 1})
        except LeaseLost:
            print("lost", flush=True)
            break
"""


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        manager.set_state({"n": 0})
        yield manager


def worker(server: Server, twin: StateManager, name: str, ttl: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, server.url, twin.twin, name, str(ttl)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def last_actor(twin: StateManager) -> str | None:
    return twin.snapshot().actor


def test_commits_in_the_block_are_the_roles(twin: StateManager) -> None:
    """And those outside of it, and of other threads, are anybody's."""
    with Lease(twin, "line", "a") as lease:
        assert lease.held
        twin.adjust({"/n": 1})
        assert Lease(twin, "line", "a").take()  # the same worker, started again
        with pytest.raises(LeaseLost, match="'a' has it now"):
            twin.adjust({"/n": 1})
        others = threading.Thread(target=twin.adjust, args=({"/n": 1},))
        others.start()
        others.join()
    twin.adjust({"/n": 1})
    assert twin.get_current_state()["n"] == 3


def test_another_waits_until_it_is_given_back(twin: StateManager) -> None:
    """Or does not, and is told."""
    other = Lease(twin, "line", "b", ttl=0.3)
    with Lease(twin, "line", "a"):
        assert not other.take()
        assert not other.take(timeout=0.2)
        (found,) = holders(twin)
        assert (found.role, found.holder) == ("line", "a")
        waiting = threading.Thread(target=other.take, args=(None,))
        waiting.start()
    waiting.join()
    assert other.held
    other.release()
    assert [one.holder for one in holders(twin)] == [""]


def test_it_is_kept_for_longer_than_its_time(twin: StateManager) -> None:
    """As long as the block lasts."""
    with Lease(twin, "line", "a", ttl=0.2):
        until = holders(twin)[0].until
        wait_until(lambda: holders(twin)[0].until > until)
        assert not Lease(twin, "line", "b", ttl=0.2).take()


def test_it_cannot_be_kept_once_another_has_it(twin: StateManager) -> None:
    """Whoever held it is told, by the next word to the server, whichever that is."""
    first, second = Lease(twin, "line", "a", ttl=0.001), Lease(twin, "line", "b")
    assert first.take()
    assert second.take(timeout=10)
    with pytest.raises(LeaseLost, match="'b' has it now: take it anew"):
        first.keep()
    assert not first.held
    first.release()
    assert second.held
    assert holders(twin)[0].holder == "b"


def test_roles_are_apart(twin: StateManager) -> None:
    """Two roles, two holders; a thread may be in several, one per twin."""
    with Lease(twin, "line", "a"), Lease(twin, "store", "b"):
        assert [(one.role, one.holder) for one in holders(twin)] == [("line", "a"), ("store", "b")]


@pytest.mark.parametrize("ttl", [0, -1, 90_000, float("nan")])
def test_a_time_that_is_none(twin: StateManager, ttl: float) -> None:
    with pytest.raises(UsageError, match="ttl="):
        Lease(twin, "line", "a", ttl=ttl)


def test_a_killed_holder_is_followed_by_another(server: Server, twin: StateManager) -> None:
    """Once its time is over; the twin is whole."""
    first, second = worker(server, twin, "a", 0.5), worker(server, twin, "b", 0.5)
    with first, second:
        try:
            wait_until(lambda: last_actor(twin) in {"a", "b"})
            holder, other = (first, "b") if last_actor(twin) == "a" else (second, "a")
            holder.kill()
            wait_until(lambda: last_actor(twin) == other)
        finally:
            first.kill()
            second.kill()
    assert twin.verify() == []
    actors = [entry.actor for entry in reversed(twin.get_commits())][1:]
    assert actors == sorted(actors, key=[actors[0], other].index)


def test_a_paused_holder_cannot_write_when_it_wakes_up(server: Server, twin: StateManager) -> None:
    """It is refused, and says so; what the new holder does stays."""
    process = worker(server, twin, "a", 0.5)
    with process:
        try:
            wait_until(lambda: last_actor(twin) == "a")
            process.send_signal(signal.SIGSTOP)
            with Lease(twin, "simulation", "b"):
                twin.set_state({"n": -1}, actor="b")
                process.send_signal(signal.SIGCONT)
                assert process.stdout is not None
                assert process.stdout.readline() == "lost\n"
            assert twin.get_current_state()["n"] == -1
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
    assert last_actor(twin) == "b"
