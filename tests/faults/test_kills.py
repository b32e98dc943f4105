"""Processes killed with -9: the writers in mid-commit, 200 times; the server, under writers and subscribers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from circman_redis import Journal, StateEvent, StateManager, patch
from tests.faults.journaled import ROOT, Writer, check, start
from tests.servers import Server, wait_until

KILLS = 200
ACTORS = ["w0", "w1", "w2", "w3"]


# --- a program that forks writers and kills them: to fork is cheaper than to start Python 200 times ------------------


def write_for_ever(url: str, twin: str, actor: str, journal: Path) -> None:
    """A writer, in a process of its own; every tenth commit is large, so that some are cut off while they are sent."""
    with StateManager(twin, url=url, actor=actor, timeout=60) as manager, Journal(journal) as log:
        number = 0
        while True:
            number += 1
            commit_id = f"{actor}-{os.getpid()}-{number}"
            if number % 10:
                with log.commit(commit_id, op="adjust") as note:
                    note(manager.adjust({"/n": 1, f"/by/{actor}": 1}, commit_id=commit_id))
            else:
                with log.commit(commit_id, op="merge") as note:
                    note(manager.update_state({"marks": {actor: "x" * random.randrange(100_000)}}, commit_id=commit_id))


def fork_writer(url: str, twin: str, actor: str, folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        write_for_ever(url, twin, actor, folder / f"{actor}.jsonl")
    finally:
        os._exit(1)  # it is to be killed, and not to end


def kill_many(url: str, twin: str, folder: Path, kills: int) -> None:
    """Keeps as many writers as there are actors, and kills one after the other, each at any moment after it began."""
    with StateManager(twin, url=url):
        pass  # whatever is imported as it is needed is there now, for all of them
    running = {actor: fork_writer(url, twin, actor, folder) for actor in ACTORS}
    for kill in range(kills):
        actor = ACTORS[kill % len(ACTORS)]
        journal = folder / f"{actor}.jsonl"
        sent = f'{{"sent":"{actor}-{running[actor]}-'.encode()
        wait_until(lambda journal=journal, sent=sent: journal.exists() and sent in journal.read_bytes())
        time.sleep(random.random() / 100)
        os.kill(running[actor], signal.SIGKILL)
        _, status = os.waitpid(running[actor], 0)
        assert os.WIFSIGNALED(status), f"{actor} ended by itself"
        if kill + len(ACTORS) < kills:
            running[actor] = fork_writer(url, twin, actor, folder)


# --- the tests -------------------------------------------------------------------------------------------------------


def test_writers_killed_in_mid_commit(server: Server, twin_id: str, tmp_path: Path) -> None:
    """200 times, four at a time: versions contiguous, what was acknowledged there once, the rest once at most."""
    with StateManager(twin_id, url=server.url, history_length=100_000, history="compact") as twin:
        start(twin, ACTORS)
        command = [sys.executable, "-m", "tests.faults.test_kills", server.url, twin_id, str(tmp_path), str(KILLS)]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=150, check=False)
        assert ended.returncode == 0, ended.stderr
        report = check(twin, [tmp_path / f"{actor}.jsonl" for actor in ACTORS])
        assert report.made + report.not_made > KILLS / 4  # so many were killed while a commit was under way
        entries = twin.get_commits()[::-1]
        assert [entry.version for entry in entries] == list(range(1, len(entries) + 1))
        for before, after in pairwise(entries[-200:]):
            assert patch.merge(before.state, after.patch) == after.state
        assert twin.verify() == []


@pytest.mark.parametrize("source", ["channel", "keyspace"])
def test_a_server_killed_and_restarted_under_writers_and_subscribers(
    own_server: Server, twin_id: str, tmp_path: Path, source: str
) -> None:
    """With an append-only file nothing acknowledged is lost; all go on by themselves, and miss nothing."""
    own_server.options = (*own_server.options, "--notify-keyspace-events", "K$lhg")
    own_server.kill()
    own_server.start()
    with StateManager(twin_id, url=own_server.url, history_length=100_000, timeout=60) as twin, ExitStack() as running:
        start(twin, ACTORS)
        followers = [running.enter_context(Follower(twin, source)) for _ in range(2)]
        writers = [
            running.enter_context(Writer(own_server.url, twin_id, actor, tmp_path, work="mixed", timeout=60))
            for actor in ACTORS
        ]
        for _ in range(3):
            for writer in writers:
                writer.wait_for(10)
            own_server.kill()
            own_server.start()
        for writer in writers:
            writer.wait_for(10)
            writer.stop()
        report = check(twin, [writer.journal for writer in writers])
        assert report.acknowledged == report.found
        last = twin.snapshot()
        for follower in followers:
            wait_until(lambda follower=follower: follower.versions[-1:] == [last.version])
            assert follower.versions == list(range(2, last.version + 1))
            assert follower.odd == []
            assert follower.state == last.state


class Follower:
    """A subscriber on a thread of its own."""

    def __init__(self, twin: StateManager, source: str) -> None:
        self.versions: list[int] = []
        self.odd: list[object] = []
        self.state: object = None
        self._subscription = twin.subscribe(since=1, source=source)
        self._thread = threading.Thread(target=self._follow)

    def _follow(self) -> None:
        for event in self._subscription:
            if isinstance(event, StateEvent):
                self.state = event.state
                self.versions.append(event.version)
            else:
                self.odd.append(event)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._subscription.close()
        self._thread.join()


if __name__ == "__main__":
    kill_many(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
