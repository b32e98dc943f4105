"""What must not hang, lose or mislead whoever follows a twin: signals, forks, impatience, busy servers, damage."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from itertools import islice
from typing import Any

import pytest

from circman_redis import (
    AsyncStateManager,
    ForeignWrite,
    Heartbeat,
    HistoryGap,
    StateEvent,
    StateManager,
    UsageError,
    timeline,
)
from tests.servers import Server, wait_until


def test_an_interruption_at_any_moment_loses_nothing(
    server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's handler raises in the middle of a page: what was not handed out comes again."""
    real, interrupted = timeline.Timeline._mark, []

    def mark(self: timeline.Timeline, facts: dict[str, Any]) -> None:
        real(self, facts)
        if facts["version"] in {30, 60} and facts["version"] not in interrupted:
            interrupted.append(facts["version"])
            raise KeyboardInterrupt

    monkeypatch.setattr(timeline.Timeline, "_mark", mark)
    with StateManager(twin_id, url=server.url) as twin, twin.subscribe() as subscription:
        versions = []
        twin.update_many([{"n": n} for n in range(40)])
        for _ in range(100):
            try:
                versions += [event.version for event in islice(subscription, 40 - len(versions))]
                break
            except KeyboardInterrupt:
                position = subscription.position
        assert position.split(":")[1] in {"0", "29"}
        with server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        twin.update_many([{"n": n} for n in range(40, 80)])
        with pytest.raises(KeyboardInterrupt):
            versions += [event.version for event in islice(subscription, 40)]
        versions += [event.version for event in islice(subscription, 40)]
    assert interrupted == [30, 60]
    assert sorted(set(versions)) == versions
    assert versions[-1] == 80


FORKED = """
import os, sys, threading, time
from circman_redis import StaleMirror, StateManager, UsageError

twin = StateManager("forked", url=sys.argv[1])
twin.set_state({"n": 1})
subscription, mirror = twin.subscribe(timeout=30), twin.mirror()
handle = twin.on_change(lambda event: None)
child = os.fork()
if not child:
    for call in (lambda: next(subscription), lambda: mirror.wait_for(version=9)):
        try:
            call()
            os._exit(1)
        except (UsageError, StaleMirror):
            pass
    if mirror.connected or handle.connected:
        os._exit(2)
    handle.close()
    mirror.close()
    subscription.close()
    if twin.update_state({"n": 2}).version != 2:
        os._exit(3)
    twin.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert next(subscription).version == 2
assert mirror.wait_for(version=2, timeout=30)["n"] == 2
twin.close()
print("well")
"""


def test_a_fork_leaves_the_parents_followers_alone(server: Server) -> None:
    """The child is told that they are not its own, and closing them there takes nothing from the parent."""
    run = subprocess.run(
        [sys.executable, "-c", FORKED, server.url], capture_output=True, text=True, timeout=90, check=False
    )
    assert (run.returncode, run.stdout) == (0, "well\n"), run.stderr


def test_impatience_loses_nothing_and_costs_no_connections(server: Server, twin_id: str) -> None:
    """Whoever gives up each time after a millisecond gets every event in the end, over the one connection."""
    commits = 150

    async def main() -> list[int]:
        versions: list[int] = []
        async with AsyncStateManager(twin_id, url=server.url) as twin, twin.subscribe() as subscription:
            writing = asyncio.create_task(write(twin))
            before = connections_made(server)
            while len(versions) < commits:
                try:
                    async with asyncio.timeout(0.001):
                        versions.append((await anext(subscription)).version)
                except TimeoutError:
                    pass
            await writing
            assert connections_made(server) - before < 30
        return versions

    async def write(twin: AsyncStateManager) -> None:
        for n in range(commits):
            await twin.update_state({"n": n})
            await asyncio.sleep(0.002)

    assert asyncio.run(main()) == list(range(1, commits + 1))


def connections_made(server: Server) -> int:
    with server.client() as client:
        return int(client.info("stats")["total_connections_received"])


def test_what_begins_to_follow_while_the_manager_closes_is_refused(server: Server, twin_id: str) -> None:
    """Nothing is left over that nobody would ever close."""
    twin = StateManager(twin_id, url=server.url)
    begun, go_on = threading.Event(), threading.Event()
    twin.on_change(lambda _: (begun.set(), go_on.wait(60)))
    twin.update_state({"n": 1})
    assert begun.wait(60)
    closing = threading.Thread(target=twin.close)
    closing.start()
    wait_until(lambda: twin._is_over)
    for follow in (twin.subscribe, lambda: twin.on_change(print), twin.mirror):
        with pytest.raises(UsageError, match="closed"):
            follow()
    go_on.set()
    closing.join()
    with server.client() as client:
        wait_until(lambda: not client.client_list(_type="pubsub"))


def test_many_mirrors_close_together(server: Server, twin_id: str) -> None:
    """Not one after the other: each needs a moment until its thread looks."""
    with StateManager(twin_id, url=server.url) as twin:
        mirrors = [twin.mirror() for _ in range(60)]
    assert not any(mirror.connected for mirror in mirrors)
    with server.client() as client:
        wait_until(lambda: not client.client_list(_type="pubsub"))


@pytest.mark.parametrize("source", ["channel", "keyspace"])
def test_a_time_out_ends_in_the_midst_of_commits_that_are_not_wanted(server: Server, twin_id: str, source: Any) -> None:
    """They do not count as events."""
    over = threading.Event()
    with StateManager(twin_id, url=server.url) as twin, StateManager(twin_id, client=server.client()) as other:

        def write() -> None:
            while not over.is_set():
                other.update_state({"n": 1})

        writer = threading.Thread(target=write)
        writer.start()
        try:
            with twin.subscribe(paths=["/quiet"], source=source, timeout=0.3) as subscription:
                assert list(subscription) == []
        finally:
            over.set()
            writer.join()


def test_a_busy_server_is_waited_for(own_server: Server, twin_id: str) -> None:
    """Somebody's script runs for ever: that is no reason to give up, and when it is killed the events go on."""
    with StateManager(twin_id, url=own_server.url) as twin, own_server.client() as client:
        client.config_set("busy-reply-threshold", 50)
        with twin.subscribe(heartbeat=0.1) as subscription:
            subscription.stream._alive_at -= 60  # as if it were time to ask for a sign of life
            busy = threading.Thread(target=run_for_ever, args=(own_server,))
            busy.start()
            beats = (event for event in subscription if isinstance(event, Heartbeat))
            assert any(not beat.connected for beat in islice(beats, 600))
            client.script_kill()
            busy.join()
            twin.set_state({"n": 1})
            assert next(event for event in subscription if not isinstance(event, Heartbeat)).version == 1


def run_for_ever(server: Server) -> None:
    with server.client(retry=None, socket_timeout=None) as client, pytest.raises(Exception, match="kill"):
        client.eval("while true do end", 0)


def test_keyspace_notifications_over_resp2(server: Server, twin_id: str) -> None:
    """The server's settings come as a list there."""
    with (
        StateManager(twin_id, url=f"{server.url}?protocol=2") as twin,
        twin.subscribe(source="keyspace") as subscription,
    ):
        twin.set_state({"n": 1})
        assert next(subscription).version == 1


def test_a_callback_that_exits_ends_nothing(server: Server, twin_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """`sys.exit()`, or the end of a task that it waited for, is logged like any other mishap."""
    seen: list[int] = []

    def callback(event: Any) -> None:
        seen.append(event.version)
        sys.exit(3)

    async def main() -> None:
        async def wait_for_cancelled(event: Any) -> None:
            seen.append(event.version)
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task

        async with AsyncStateManager(twin_id, url=server.url) as twin:
            handle = await twin.on_change(wait_for_cancelled, since=0)
            while seen != [1, 2]:
                await asyncio.sleep(0.01)
            await handle.close()

    with StateManager(twin_id, url=server.url) as twin:
        twin.update_many([{"n": 1}, {"n": 2}])
        with twin.on_change(callback, since=0):
            wait_until(lambda: seen == [1, 2])
        seen.clear()
        asyncio.run(main())
        for nothing in (3, None):
            with pytest.raises(UsageError, match="callback"):
                twin.on_change(nothing)  # type: ignore[arg-type]
    assert caplog.text.count("a callback failed") == 4


def test_a_damaged_history_is_said_once_and_passed_over(server: Server, twin_id: str) -> None:
    """What it hides counts as lost; what is committed afterwards comes."""
    with StateManager(twin_id, url=server.url) as twin, server.client() as client:
        twin.update_many([{"n": n} for n in range(1, 6)])
        client.lset(twin.keys.history, 1, "junk")
        with twin.subscribe(since=1) as subscription:
            foreign, gap, newest = islice(subscription, 3)
            twin.update_state({"n": 6})
            following = next(subscription)
    assert isinstance(foreign, ForeignWrite)
    assert foreign.key == twin.keys.history
    assert isinstance(gap, HistoryGap)
    assert gap.lost == range(2, 5)
    assert [newest.version, following.version] == [5, 6]
    assert isinstance(following, StateEvent)
    assert following.state["n"] == 6


def test_a_mirror_waits_for_a_commit(server: Server, twin_id: str) -> None:
    """Of its own epoch: the same version of a twin that was deleted is another."""
    with StateManager(twin_id, url=server.url) as twin, twin.mirror() as m:
        for n in range(3):
            twin.delete()
            commit = twin.set_state({"n": n})
            assert m.wait_for(commit, timeout=60)["n"] == n
            assert m.epoch == commit.epoch
        for nothing in ((), (3,)):
            with pytest.raises(UsageError, match="wait_for"):
                m.wait_for(*nothing)


def test_a_mirror_says_when_it_shows_what_nobody_committed(server: Server, twin_id: str) -> None:
    """Until the next commit."""
    with StateManager(twin_id, url=server.url) as twin, twin.mirror() as m, server.client() as client:
        commit = twin.set_state({"n": 1})
        m.wait_for(commit, timeout=60)
        assert not m.foreign
        client.set(twin.keys.state, json.dumps({"another": "text"}))
        m._stream.timeline.behind = True  # as if it were time to look
        m.wait_for(lambda state: "another" in state, timeout=60)
        assert (m.foreign, m.version) == (True, 1)
