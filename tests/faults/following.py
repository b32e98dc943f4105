"""A subscriber in a thread of its own, sync or async, that can be told to stop reading for a while."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import redis

from circman_redis import AsyncStateManager, StateManager
from circman_redis.events import Event, Heartbeat
from tests.servers import Server, wait_until

WRITER = """
import sys
from circman_redis import StateManager

url, twin, actor, commits, size = sys.argv[1:]
with StateManager(twin, url=url, actor=actor) as manager:
    for call in sys.stdin:
        manager.update_many([{"by": {actor: call.strip()}, "pad": "x" * int(size)}] * int(commits))
        print("done", flush=True)
"""


class Follower:
    """Collects the events of a twin.

    Args:
        mode: sync or async.
        url: the server.
        twin: the twin's id.
        wishes: what `subscribe` is called with.
    """

    def __init__(self, mode: str, url: str, twin: str, **wishes: Any) -> None:
        self.events: list[Event] = []
        self._url, self._twin, self._wishes = url, twin, {"heartbeat": 0.02, **wishes}
        self._stands, self._over, self._reading = threading.Event(), threading.Event(), threading.Event()
        self._reading.set()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(self._follow if mode == "sync" else self._follow_async,)
        )

    @property
    def versions(self) -> list[int]:
        """Those of the commits that came, in the order that they came in."""
        return [event.version for event in list(self.events) if event.kind == "commit"]

    def stop_reading(self) -> None:
        """After the next event."""
        self._reading.clear()

    def go_on(self) -> None:
        self._reading.set()

    def wait_for(self, count: int) -> None:
        """Until so many events came."""
        wait_until(lambda: self._failed or len(self.events) >= count, seconds=100)
        if self._failed:
            raise self._failed

    def __enter__(self) -> Follower:
        self._thread.start()
        wait_until(lambda: self._stands.is_set() or self._failed)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._reading.set()
        self._thread.join()
        if self._failed:
            raise self._failed

    def _run(self, follow: Any) -> None:
        try:
            follow()
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            self._failed = error

    def _follow(self) -> None:
        with (
            StateManager(self._twin, url=self._url) as manager,
            manager.subscribe(**self._wishes) as subscription,
        ):
            self._stands.set()
            for event in subscription:
                if self._take(event):
                    break

    def _follow_async(self) -> None:
        async def follow() -> None:
            async with (
                AsyncStateManager(self._twin, url=self._url) as manager,
                manager.subscribe(**self._wishes) as subscription,
            ):
                self._stands.set()
                async for event in subscription:
                    if self._take(event):
                        break

        asyncio.run(follow())

    def _take(self, event: Event) -> bool:
        if not isinstance(event, Heartbeat):
            self.events.append(event)
            self._reading.wait()
        return self._over.is_set()


class Writers:
    """Processes that commit when they are told to.

    Args:
        server: where.
        twin: the twin's id.
        folder: for what they have to complain of.
        commits: so many per call.
        size: bytes per commit.
    """

    COUNT = 4

    def __init__(self, server: Server, twin: str, folder: Path, *, commits: int, size: int) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        for n in range(self.COUNT):
            command = [sys.executable, "-c", WRITER, server.url, twin, f"w{n}", str(commits), str(size)]
            with (folder / f"w{n}.err").open("wb") as errors:
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
                )

    def begin(self, calls: int) -> None:
        """Tells each to make so many calls."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("".join(f"{n}\n" for n in range(calls)))
            process.stdin.flush()
        self._calls = calls

    def finish(self) -> None:
        """Waits until all of them were answered."""
        for process in self._processes:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(self._calls)] == ["done\n"] * self._calls

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


class Cutter:
    """Has commits made, and cuts the follower off meanwhile, each time in another way.

    Args:
        server: the server.
        follower: the one that is cut off.
        channel: what it listens to.
        writers: those who commit.
    """

    CALLS = 10

    def __init__(self, server: Server, follower: Follower, channel: str, writers: Writers) -> None:
        self._server, self._follower, self._channel, self._writers = server, follower, channel, writers
        self._ways = itertools.cycle([self._kill_connection, self._let_it_overflow, self._kill_server])

    def round(self) -> None:
        """Ten calls of each writer, and one cut."""
        next(self._ways)()
        self._writers.finish()

    def _kill_connection(self) -> None:
        self._begin_and_follow()
        with self._server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def _let_it_overflow(self) -> None:
        """Reads nothing until the server has cut it off."""
        with self._server.client() as client:
            wait_until(lambda: subscribers(client))
            self._follower.stop_reading()
            try:
                self._writers.begin(self.CALLS)
                # A keyspace notification is short: those of one round do not fill the buffers.
                while self._channel.startswith("__") and client.publish(self._channel, b"x" * 65536):
                    pass
                wait_until(lambda: not subscribers(client))
            finally:
                self._follower.go_on()

    def _kill_server(self) -> None:
        self._begin_and_follow()
        self._server.kill()
        self._server.start()

    def _begin_and_follow(self) -> None:
        before = len(self._follower.events)
        self._writers.begin(self.CALLS)
        self._follower.wait_for(before + 100)


def subscribers(client: redis.Redis) -> int:
    """How many connections listen."""
    return len(client.client_list(_type="pubsub"))
