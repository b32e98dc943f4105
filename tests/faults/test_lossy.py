"""Over a link that loses requests, loses replies and cuts connections: each update applied once, in one order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from circman_redis import AsyncStateManager, Journal, StateManager, StoreUnavailable
from tests.servers import Server
from tests.topology import Faults, Proxy

COMMITS = frozenset({"EVALSHA"})  # a connection that is made anew is not to fail as often: that takes its time
TENTH = {
    "replies dropped": Faults(drop_reply=0.1, only=COMMITS),
    "requests dropped": Faults(drop_request=0.1, only=COMMITS),
    "connections cut": Faults(cut=0.1, only=COMMITS),
    "all of it": Faults(drop_reply=0.1, drop_request=0.1, cut=0.1, only=COMMITS),
    "silently": Faults(drop_reply=0.05, drop_request=0.05, then="silent", only=COMMITS),
}
PATIENT = 90.0
WORKERS, CALLS = 3, 10


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server, seed=1) as one:  # by which some of the first twenty are below 0.05
        yield one


@pytest.fixture
def quiet(server: Server, twin_id: str) -> Iterator[StateManager]:
    """The same twin by a link that loses nothing."""
    with server.client() as client, StateManager(twin_id, client=client, history_length=100_000) as twin:
        twin.set_state({"n": 0, "by": {}, "log": {}}, commit_id="start")
        yield twin


def url_of(proxy: Proxy) -> str:
    # An answer that never comes is given up soon, for the tests' sake.
    return f"{proxy.url}?socket_timeout=0.5&socket_connect_timeout=5"


def check(quiet: StateManager, journal: Path, proxy: Proxy, updates: int) -> None:
    """Every update is there once, in its call's order, and the faults did happen."""
    report = quiet.audit([journal])
    assert report.ok, "\n".join(map(str, report.findings))
    assert report.unlogged == 1
    entries = quiet.get_commits()[::-1]
    assert [entry.version for entry in entries] == list(range(1, updates + 2))
    assert len({entry.id for entry in entries}) == updates + 1
    assert quiet.verify() == []
    counts = proxy.counts
    assert counts.dropped_replies + counts.dropped_requests + counts.cuts > 0


def in_turn(twin: StateManager, journal: Journal, actor: str, calls: int = CALLS) -> int:
    """Updates of each kind; how many commits they are."""
    made = 0
    for number in range(calls):
        commit_id = f"{actor}-{number}"
        kind = number % 5
        with journal.commit(commit_id, n=3 if kind == 3 else 1) as note:
            if kind == 3:
                many = [{"log": {f"{commit_id}-{i}": number}} for i in range(3)]
                note(twin.update_many(many, commit_id=commit_id))
            elif kind == 4:
                note(twin.modify(lambda state: {**state, "n": state["n"] + 1}, commit_id=commit_id, attempts=1000))
            elif kind == 2:
                note(twin.update_state({"log": {commit_id: number}}, commit_id=commit_id))
            else:
                note(twin.adjust({"/n": 1}, commit_id=commit_id))
        made += 3 if kind == 3 else 1
    return made


@pytest.mark.parametrize("name", TENTH)
def test_threads(quiet: StateManager, twin_id: str, proxy: Proxy, tmp_path: Path, name: str) -> None:
    """Of one manager: adjust, update_state, update_many, modify."""
    proxy.faults = TENTH[name]
    path = tmp_path / "log"
    with (
        StateManager(twin_id, url=url_of(proxy), timeout=PATIENT) as twin,
        Journal(path) as journal,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        made = sum(pool.map(lambda actor: in_turn(twin, journal, f"t{actor}"), range(WORKERS)))
    check(quiet, path, proxy, made)
    assert quiet.get_current_state()["n"] == WORKERS * CALLS * 3 // 5


@pytest.mark.parametrize("name", TENTH)
def test_tasks(quiet: StateManager, twin_id: str, proxy: Proxy, tmp_path: Path, name: str) -> None:
    """Of one manager, many in one write: a batch that is lost is each task's own to send again."""
    proxy.faults = TENTH[name]
    path = tmp_path / "log"

    async def work(twin: AsyncStateManager, journal: Journal, actor: str) -> None:
        for number in range(10):
            commit_id = f"{actor}-{number}"
            with journal.commit(commit_id) as note:
                if number % 5 == 4:
                    change = lambda state: {**state, "n": state["n"] + 1}  # noqa: E731
                    note(await twin.modify(change, commit_id=commit_id, attempts=1000))
                else:
                    note(await twin.adjust({"/n": 1}, commit_id=commit_id))

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=url_of(proxy), timeout=PATIENT) as twin:
            await asyncio.gather(*(work(twin, journal, f"a{actor}") for actor in range(5)))

    with Journal(path) as journal:
        asyncio.run(main())
    check(quiet, path, proxy, 50)
    assert quiet.get_current_state()["n"] == 50


def test_a_client_of_the_callers_own_with_its_own_retries(
    quiet: StateManager, twin_id: str, proxy: Proxy, tmp_path: Path
) -> None:
    """redis-py's default: it would send a call again by itself, without a word of its age."""
    path = tmp_path / "log"
    with closing(redis.Redis(port=proxy.port, socket_timeout=0.5)) as client:
        assert client.get_retry().get_retries() > 0
        proxy.faults = TENTH["all of it"]
        with (
            StateManager(twin_id, client=client, timeout=PATIENT) as twin,
            Journal(path) as journal,
            ThreadPoolExecutor(WORKERS) as pool,
        ):
            made = sum(pool.map(lambda actor: in_turn(twin, journal, f"t{actor}"), range(WORKERS)))
    check(quiet, path, proxy, made)


def test_an_asyncio_client_of_the_callers_own_with_its_own_retries(
    quiet: StateManager, twin_id: str, proxy: Proxy, tmp_path: Path
) -> None:
    path = tmp_path / "log"

    async def adjust(twin: AsyncStateManager, journal: Journal, number: int) -> None:
        with journal.commit(f"a-{number}") as note:
            note(await twin.adjust({"/n": 1}, commit_id=f"a-{number}"))

    async def main() -> None:
        client = redis.asyncio.Redis(port=proxy.port, socket_timeout=0.5)
        proxy.faults = TENTH["all of it"]
        async with AsyncStateManager(twin_id, client=client, timeout=PATIENT) as twin:
            for first in range(0, 60, 3):
                await asyncio.gather(*(adjust(twin, journal, number) for number in range(first, first + 3)))
        await client.aclose()

    with Journal(path) as journal:
        asyncio.run(main())
    check(quiet, path, proxy, 60)
    assert quiet.get_current_state()["n"] == 60


def test_retries_of_the_callers_own(quiet: StateManager, twin_id: str, proxy: Proxy, tmp_path: Path) -> None:
    """A manager that tries once, and a caller that says it again with the id that the error brings."""
    path = tmp_path / "log"
    tries: Counter[str] = Counter()
    named: set[str | None] = set()

    def insist(commit_id: str, call: Callable[[], Any]) -> None:
        while True:
            tries[commit_id] += 1
            try:
                with journal.commit(commit_id) as note:
                    note(call())
            except StoreUnavailable as error:
                named.add(error.commit_id)
            else:
                return

    proxy.faults = Faults()
    with StateManager(twin_id, url=url_of(proxy), timeout=PATIENT, retries=0) as twin, Journal(path) as journal:
        proxy.faults = TENTH["all of it"]
        for number in range(50):
            commit_id = f"mine-{number}"
            insist(commit_id, partial(twin.adjust, {"/n": 1}, commit_id=commit_id))
        proxy.faults = Faults()
    assert named == {commit_id for commit_id, times in tries.items() if times > 1} != set()
    check(quiet, path, proxy, 50)
    assert quiet.get_current_state()["n"] == 50


def test_the_generated_id_of_a_lost_call_says_it_again(quiet: StateManager, twin_id: str, proxy: Proxy) -> None:
    """Whoever gave no id finds it in the error: the same call with it is the same commit."""
    with StateManager(twin_id, url=url_of(proxy), timeout=PATIENT, retries=0) as twin:
        twin.update_state({"n": 0})
        for faults in (Faults(drop_reply=1.0), Faults(drop_request=1.0)):
            proxy.faults = faults
            with pytest.raises(StoreUnavailable, match="not known") as lost:
                twin.adjust({"/n": 1})
            proxy.faults = Faults()
            again = twin.adjust({"/n": 1}, commit_id=lost.value.commit_id)
            assert again.duplicate is (faults.drop_reply == 1.0)
    assert quiet.get_current_state()["n"] == 2


def test_subscribers_get_every_commit_once_over_a_lossy_link(quiet: StateManager, twin_id: str, proxy: Proxy) -> None:
    """Their connections are cut again and again; what they missed they read."""
    with StateManager(twin_id, url=url_of(proxy), timeout=PATIENT) as twin, twin.subscribe(since=1) as subscription:
        proxy.faults = Faults(drop_reply=0.1, drop_request=0.1)
        versions = []
        for round_ in range(4):
            for _ in range(10):
                twin.adjust({"/n": 1})
            if round_ % 2 == 0:
                proxy.cut_all()
            versions += [next(subscription).version for _ in range(10)]
        proxy.faults = Faults()
    assert versions == list(range(2, 42))
    assert quiet.snapshot().version == 41
