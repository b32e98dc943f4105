"""Workers on one role that are paused, woken up and killed over and over: what an old holder sends is never stored."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import IO

import pytest

from circman_redis import StateManager
from tests.servers import Server, wait_until

pytestmark = pytest.mark.bundled_first

ROUNDS = 4
LONG = 100_000
"""Commits of history: so that all of a run is there to be looked at."""

WORKERS = {
    "sync": """
import sys
from circman_redis import LeaseLost, StateManager
from circman_redis.twin.leases import Lease

url, twin, name = sys.argv[1:]
with StateManager(twin, url=url) as manager:
    while True:
        with Lease(manager, "line", name, ttl=0.4) as lease:
            try:
                while True:
                    manager.adjust({"/n": 1}, actor=f"{name}.{lease.token}")
            except LeaseLost:
                print("lost", flush=True)
""",
    "async": """
import asyncio, sys
from circman_redis import AsyncStateManager, LeaseLost
from circman_redis.twin.leases import AsyncLease

async def main(url, twin, name):
    async with AsyncStateManager(twin, url=url) as manager:
        while True:
            async with AsyncLease(manager, "line", name, ttl=0.4) as lease:
                try:
                    while True:
                        made = (manager.adjust({"/n": 1}, actor=f"{name}.{lease.token}") for _ in range(4))
                        await asyncio.gather(*made)
                except LeaseLost:
                    print("lost", flush=True)

asyncio.run(main(*sys.argv[1:]))
""",
}


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url, history_length=LONG) as manager:
        manager.set_state({"n": 0}, actor="nobody.0")
        yield manager


@contextmanager
def worker(mode: str, server: Server, twin: str, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKERS[mode], server.url, twin, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def said(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def holder(twin: StateManager) -> str:
    """Who committed last."""
    return str(twin.snapshot().actor).partition(".")[0]


def check(twin: StateManager, handovers: int) -> None:
    """No commit of an older token is behind one of a newer; and each that counted is there once."""
    entries = twin.get_commits()[::-1]
    tokens = [int(str(entry.actor).partition(".")[2]) for entry in entries]
    assert all(before <= after for before, after in pairwise(tokens))
    assert len(set(tokens)) > handovers
    assert twin.get_current_state()["n"] == len(entries) - 1
    assert twin.verify() == []


@pytest.mark.parametrize("mode", WORKERS)
def test_a_paused_holder_writes_nothing_when_it_wakes_up(server: Server, twin: StateManager, mode: str) -> None:
    """Over and over: another takes the role while it sleeps, and it is told so."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(mode, server, twin.twin, name)) for name in ("a", "b")}
        wait_until(lambda: holder(twin) in workers)
        for _ in range(ROUNDS):
            name = holder(twin)
            workers[name].send_signal(signal.SIGSTOP)
            wait_until(lambda name=name: holder(twin) not in {name, "nobody"})
            workers[name].send_signal(signal.SIGCONT)
            assert said(workers[name].stdout) == "lost\n"
        for process in workers.values():
            process.kill()
            process.wait()
        check(twin, ROUNDS)


@pytest.mark.parametrize("mode", WORKERS)
def test_a_killed_holder_is_followed(server: Server, twin: StateManager, mode: str) -> None:
    """Over and over, each by a worker of another name; the twin is whole."""
    with ExitStack() as stack:
        names = [f"w{n}" for n in range(ROUNDS + 1)]
        workers = {name: stack.enter_context(worker(mode, server, twin.twin, name)) for name in names}
        left = set(workers)
        while left:
            wait_until(lambda: holder(twin) in left)
            name = holder(twin)
            workers[name].kill()
            workers[name].wait()
            left.remove(name)
        check(twin, ROUNDS)
