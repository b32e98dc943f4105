"""Each instrument moves when it should, and each commit is a span."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from opentelemetry.trace import SpanKind, StatusCode

from circman_redis import (
    AsyncStateManager,
    ForeignWrite,
    HistoryGap,
    StateConflict,
    StateManager,
    StateRolledBack,
    StoreUnavailable,
    telemetry,
)
from circman_redis._version import __version__
from tests.servers import Server, free_port, lanes, wait_until
from tests.telemetry.conftest import Told

ROOT = Path(__file__).parents[2]


def test_a_commit_is_a_span_below_the_callers(twin: StateManager, told: Told, server: Server) -> None:
    twin.set_state({"n": 1})
    with told.traces.get_tracer("caller").start_as_current_span("shift"):
        commits = twin.update_many([{"n": 2}, {"n": 3}])
    *_, ours, theirs = told.spans
    assert ours.parent is not None
    assert ours.parent.span_id == theirs.context.span_id
    assert (ours.name, ours.kind, ours.status.status_code) == ("circman.commit", SpanKind.CLIENT, StatusCode.UNSET)
    assert ours.instrumentation_scope is not None
    assert (ours.instrumentation_scope.name, ours.instrumentation_scope.version) == ("circman_redis", __version__)
    assert dict(ours.attributes or {}) == {
        "db.system.name": "redis",
        "db.operation.name": "commit",
        "server.address": str(server.socket),
        "circman.twin": twin.twin,
        "circman.op": "merge",
        "circman.commits": 2,
        "circman.version": commits[-1].version,
        "circman.duplicate": False,
    }


def test_a_refused_commit_is_an_error_that_quotes_nothing(twin: StateManager, told: Told) -> None:
    twin.set_state({"n": 1})
    with pytest.raises(StateConflict):
        twin.update_state({"secret": "s3cret"}, expected_version=7)
    span = told.spans[-1]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (span.attributes or {})["error.type"] == "StateConflict"
    assert not span.events
    assert "s3cret" not in span.to_json()


def test_commits_are_timed_and_counted(twin: StateManager, told: Told) -> None:
    twin.set_state({"n": 1})
    twin.update_many([{"n": 2}, {"n": 3}])
    twin.adjust({"/n": 1}, commit_id="once")
    assert twin.adjust({"/n": 1}, commit_id="once").duplicate
    assert told.total("circman.commits", circman__op="merge") == 2
    assert told.total("circman.commits", circman__op="adjust") == 1
    assert told.total("circman.commit.duplicates", circman__op="adjust") == 1
    assert told.total("circman.commit.duration", circman__op="adjust") == 2
    assert told.metrics["circman.commit.duration"].unit == "s"
    bounds = told.points("circman.commit.duration")[0].explicit_bounds
    assert (bounds[0], bounds[-1]) == (0.0001, 10)
    assert all(0 < point.sum < 60 for point in told.points("circman.commit.duration"))


def test_conflicts_are_counted_also_those_that_modify_settles(twin: StateManager, told: Told) -> None:
    twin.set_state({"n": 1})
    faster = iter([True, False])

    def change(state: dict[str, int]) -> None:
        if next(faster):
            twin.update_state({"other": 1})
        state["n"] += 1

    twin.modify(change)
    with pytest.raises(StateConflict):
        twin.set_state({}, expected_version=1)
    assert told.total("circman.commit.conflicts", circman__op="merge") == 1
    assert told.total("circman.commit.conflicts", circman__op="set") == 1
    assert told.total("circman.commit.duration", error__type="StateConflict") == 2


def test_retries_are_counted(own_server: Server, twin_id: str, told: Told) -> None:
    """Commits and reads that were sent while the server was away."""
    with StateManager(twin_id, url=own_server.url, retries=50) as twin, ThreadPoolExecutor(2) as threads:
        twin.set_state({"n": 1})
        assert told.total("circman.retries") == 0
        own_server.kill()
        commit, read = threads.submit(twin.update_state, {"n": 2}), threads.submit(twin.get_current_state)
        try:
            wait_until(lambda: told.total("circman.retries", circman__call="commit"))
            wait_until(lambda: told.total("circman.retries", circman__call="GET"))
        finally:
            own_server.start()
        assert commit.result(60).version == 2
        assert read.result(60)["n"] in {1, 2}
    span = told.spans[-1]
    assert (span.attributes or {})["circman.retries"] == told.total("circman.retries", circman__call="commit")
    assert told.total("circman.commits", circman__op="merge") == 1


def test_a_commit_without_an_answer_is_timed_too(own_server: Server, twin_id: str, told: Told) -> None:
    with StateManager(twin_id, url=own_server.url, retries=1) as twin:
        twin.set_state({"n": 1})
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            twin.update_state({"n": 2})
    assert told.total("circman.commit.duration", error__type="StoreUnavailable") == 1
    assert told.total("circman.retries", circman__call="commit") == 1


def test_gaps_and_rollbacks_are_counted(twin: StateManager, told: Told) -> None:
    twin.set_history_length(2)
    twin.update_many([{"n": n} for n in range(10)])
    with twin.subscribe(since=1) as events:
        assert isinstance(next(events), HistoryGap)
        assert [next(events).version for _ in range(3)] == [8, 9, 10]
        twin.delete()
        assert isinstance(next(events), StateRolledBack)
    assert told.total("circman.stream.gaps") == 1
    assert told.total("circman.stream.lost_versions") == 6
    assert told.total("circman.stream.rollbacks") == 1


def test_foreign_writes_are_counted(twin: StateManager, told: Told, client: redis.Redis) -> None:
    twin.set_state({"n": 1})
    with twin.subscribe(source="keyspace") as events:
        client.set(twin.keys.state, '{"n": 2}')
        assert isinstance(next(events), ForeignWrite)
    assert told.total("circman.stream.foreign_writes") == 1


@pytest.mark.parametrize("adopted", [False, True])
def test_reconnects_are_counted(server: Server, twin_id: str, told: Told, adopted: bool) -> None:
    """Of a mirror; with a client of the caller's own too, for which redis-py may connect again by itself."""
    with server.client() as own:
        where = {"client": own} if adopted else {"url": server.url}
        with StateManager(twin_id, **where) as twin, twin.mirror() as mirror:
            own.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            wait_until(lambda: told.total("circman.stream.reconnects") == 1)
            commit = twin.set_state({"n": 1})
            mirror.wait_for(commit)
    assert told.total("circman.stream.reconnects") == 1


def test_the_length_of_a_history_is_told_when_it_is_learned(server: Server, twin_id: str, told: Told) -> None:
    with StateManager(twin_id, url=server.url) as twin:
        twin.update_many([{"n": n} for n in range(5)])
        assert told.points("circman.history.length")[0].max == 0  # as it was opened
        assert len(twin.state_history) == 4
    with StateManager(twin_id, url=server.url):
        assert (told.total("circman.history.length"), told.points("circman.history.length")[0].sum) == (3, 8)


def test_a_history_that_cannot_be_looked_at_stops_nobody(
    server: Server, twin_id: str, told: Told, client: redis.Redis
) -> None:
    client.execute_command("ACL", "SETUSER", "shy", "reset", "on", ">pw", "~*", "&*", "+@all", "-llen")
    try:
        with StateManager(twin_id, url=f"unix://shy:pw@{server.socket}") as twin:
            assert twin.get_current_state() == {}
    finally:
        client.acl_deluser("shy")
    assert "circman.history.length" not in told.metrics


def test_tasks_are_told_of_alike(server: Server, twin_id: str, told: Told, client: redis.Redis) -> None:
    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as twin:
            await twin.set_state({"n": 0})
            async with twin.mirror() as mirror:
                await asyncio.to_thread(client.execute_command, "CLIENT", "KILL", "TYPE", "pubsub")
                await asyncio.to_thread(wait_until, lambda: told.total("circman.stream.reconnects") == 1)
                with told.traces.get_tracer("caller").start_as_current_span("shift"):
                    commits = await asyncio.gather(*(twin.adjust({"/n": 1}) for _ in range(5)))
                await mirror.wait_for(max(commits, key=lambda commit: commit.version))
            with pytest.raises(StateConflict):
                await twin.update_state({"n": 9}, expected_version=1)
            assert await twin.state_history.length() == 5

    asyncio.run(main())
    assert told.total("circman.commits", circman__op="adjust") == 5
    assert told.total("circman.commit.conflicts", circman__op="merge") == 1
    assert told.points("circman.history.length")[0].max == 5
    [shift] = [span for span in told.spans if span.name == "shift"]
    below = [span for span in told.spans if span.parent and span.parent.span_id == shift.context.span_id]
    assert sorted((span.attributes or {})["circman.version"] for span in below) == [2, 3, 4, 5, 6]


def test_retries_of_tasks_are_counted(own_server: Server, twin_id: str, told: Told) -> None:
    async def main() -> None:
        async with AsyncStateManager(twin_id, url=own_server.url, retries=50) as twin:
            await twin.set_state({"n": 1})
            own_server.kill()
            commit = asyncio.create_task(twin.update_state({"n": 2}))
            try:
                await asyncio.to_thread(wait_until, lambda: told.total("circman.retries", circman__call="commit"))
            finally:
                await asyncio.to_thread(own_server.start)
            assert (await commit).version == 2

    asyncio.run(main())


def test_a_task_that_is_cancelled_ends_its_span(own_server: Server, twin_id: str, told: Told) -> None:
    async def main() -> None:
        async with AsyncStateManager(twin_id, url=own_server.url) as twin:
            await twin.set_state({"n": 1})
            with own_server.stopped(), pytest.raises(TimeoutError):
                await asyncio.wait_for(twin.update_state({"n": 2}), 0.1)

    asyncio.run(main())
    assert (told.spans[-1].attributes or {})["error.type"] == "CancelledError"


def test_a_port_is_told_and_a_password_is_not(lane: str, twin_id: str, told: Told) -> None:
    port = free_port()
    one = Server(lanes()[lane], ("--bind", "127.0.0.1", "--port", str(port))).start()
    try:
        with one.client() as client:
            client.execute_command("ACL", "SETUSER", "line", "reset", "on", ">s3cret", "~*", "&*", "+@all")
        with StateManager(twin_id, url=f"redis://line:s3cret@127.0.0.1:{port}") as twin:
            twin.set_state({"n": 1})
    finally:
        one.stop()
    attributes = told.spans[-1].attributes or {}
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", port)
    assert not [span for span in told.spans if "s3cret" in span.to_json()]


def test_uninstrument_ends_it(twin: StateManager, told: Told) -> None:
    twin.set_state({"n": 1})
    before = len(told.spans), told.total("circman.commit.duration")
    assert telemetry.is_instrumented()
    telemetry.uninstrument()
    assert not telemetry.is_instrumented()
    twin.update_state({"n": 2})
    assert (len(told.spans), told.total("circman.commit.duration")) == before


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from circman_redis import StateManager, UsageError, telemetry

with StateManager("t", url=sys.argv[1]) as twin:
    with twin.subscribe() as events:
        assert twin.update_state({"n": 1}).version == next(events).version
    try:
        telemetry.instrument()
    except UsageError as error:
        assert "pip install 'circman-redis[otel]'" in str(error)
        assert isinstance(error.__cause__, ImportError)
    else:
        raise AssertionError("instrumented without OpenTelemetry")
    assert twin.update_state({"n": 2}).version == 2
assert "opentelemetry" not in sys.modules
"""


def run(program: str, url: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, url],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_works_without_opentelemetry(server: Server) -> None:
    run(BLOCKED, server.url)


def test_opentelemetry_is_imported_when_it_is_asked_for() -> None:
    """The package itself imports OpenTelemetry only when it is asked to (redis-py does, where its SDK is there)."""
    for path in (ROOT / "circman_redis").rglob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.startswith(("import opentelemetry", "from opentelemetry")), path
