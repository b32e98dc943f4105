"""Processes that commit as fast as they can and log what they were told, and the proof of what they did.

A test starts a `Writer` for each, breaks something, ends them (or kills them), and calls `check`. As a program it is
the writer itself: ``python -m tests.faults.journaled URL TWIN ACTOR WORK JOURNAL KWARGS``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from circman_redis import (
    AuditReport,
    Journal,
    RetryExpired,
    StateConflict,
    StateError,
    StateManager,
    StoreError,
)
from tests.contract.waiting import WaitingManagers
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
MANY = 3
"""Commits of one update_many."""


def start(twin: StateManager, actors: Iterable[str]) -> None:
    """The state that the writers go on from; its commit is in no log."""
    twin.set_state({"n": 0, "by": dict.fromkeys(actors, 0), "marks": {}}, commit_id="start")


# --- in the test -----------------------------------------------------------------------------------------------------


class Writer:
    """A process that commits until it is told to stop, or killed.

    It goes on whatever the server does: a commit of which nobody knows is said again with its id until it is known.

    Args:
        url: the server.
        twin: the twin's id.
        actor: its name, without a dash, and that of its counter; it may be that of one that has ended.
        folder: for its log, what it prints and what it has to complain of.
        work: ``adjust`` adds 1 to its own counter and to the shared one; ``mixed`` also merges many at once, and sets
            the whole state on top of the version that it read.
        mode: ``sync`` or ``async``, for an AsyncStateManager.
        kwargs: more arguments for its StateManager, such as ``{"timeout": 5}``.
    """

    def __init__(
        self, url: str, twin: str, actor: str, folder: Path, *, work: str = "adjust", mode: str = "sync", **kwargs: Any
    ) -> None:
        self.actor = actor
        self.journal = folder / f"{actor}.jsonl"
        self._counts, self._errors = (folder / f"{actor}-{os.urandom(4).hex()}.{end}" for end in ("out", "err"))
        command = [sys.executable, "-m", "tests.faults.journaled", url, twin, actor, work, str(self.journal)]
        with self._counts.open("ab") as counts, self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, json.dumps({"mode": mode, **kwargs})],
                stdin=subprocess.PIPE,
                stdout=counts,
                stderr=errors,
                cwd=ROOT,
            )

    @property
    def count(self) -> int:
        """How many calls were acknowledged so far."""
        with self._counts.open("rb") as file:
            file.seek(max(file.seek(0, 2) - 100, 0))
            whole = file.read().rpartition(b"\n")[0]
        return int(whole.rpartition(b"\n")[2] or 0)

    def wait_for(self, more: int, seconds: float = 60.0) -> None:
        """Until so many more were acknowledged."""
        wanted = self.count + more
        wait_until(lambda: self._is_alive() and self.count >= wanted, seconds)

    def _is_alive(self) -> bool:
        assert self.process.poll() is None, f"{self.actor} has ended: {self.complaints}"
        return True

    @property
    def complaints(self) -> str:
        """What it wrote to stderr: nothing, unless it failed."""
        return self._errors.read_text()

    def stop(self) -> None:
        """Lets it finish its call, and end."""
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.complaints

    def kill(self) -> None:
        """Ends it with -9, wherever it is; it may have ended before."""
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def check(twin: StateManager, journals: Iterable[Path], *, others: int = 1) -> AuditReport:
    """Proves a run: the audit finds nothing, nobody else committed, and the counters add up.

    Args:
        twin: its history may be shorter than the run.
        journals: those of all writers.
        others: commits without a log that may be in the history; that of `start` is one.
    """
    paths = list(journals)
    report = twin.audit(paths)
    assert report.ok, "\n".join(map(str, report.findings))
    assert report.unlogged == others if report.first == 1 else report.unlogged <= others
    state = twin.get_current_state()
    assert state["n"] == sum(state["by"].values())
    sent, known = adjusts(paths)
    for actor, count in state["by"].items():
        assert known[actor] <= count <= sent[actor]
    if report.first == 1:
        made = Counter(entry.actor for entry in twin.get_commits() if entry.op == "adjust")
        assert {actor: made[actor] for actor in state["by"]} == state["by"]
    return report


def adjusts(journals: Iterable[Path]) -> tuple[Counter[str], Counter[str]]:
    """How many calls of adjust each actor sent, and how many were acknowledged, each id once."""
    events = [json.loads(line) for path in journals for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    sent = {event["sent"] for event in events if event.get("op") == "adjust"}
    known = {event["got"] for event in events if "got" in event} & sent
    return Counter(one.partition("-")[0] for one in sent), Counter(one.partition("-")[0] for one in known)


# --- in the process --------------------------------------------------------------------------------------------------


class _Work:
    """What a writer does, call after call."""

    def __init__(self, twin: StateManager, actor: str, journal: Journal, stop: threading.Event) -> None:
        self.twin, self.actor, self.journal, self.stop = twin, actor, journal, stop
        self.acknowledged = 0

    def adjust(self, number: int) -> None:
        deltas = {"/n": 1, f"/by/{self.actor}": 1}
        self._insist("adjust", number, lambda commit_id: self.twin.adjust(deltas, commit_id=commit_id))

    def many(self, number: int) -> None:
        updates = [{"marks": {self.actor: number * MANY + i}} for i in range(MANY)]
        self._insist("many", number, lambda commit_id: self.twin.update_many(updates, commit_id=commit_id), MANY)

    def set(self, number: int) -> None:
        try:
            snapshot = self.twin.snapshot()
        except StoreError:
            return
        state, version = {**snapshot.state, "set": {self.actor: number}}, snapshot.version
        del state["timestamp"]
        self._insist(
            "set", number, lambda commit_id: self.twin.set_state(state, expected_version=version, commit_id=commit_id)
        )

    def mixed(self, number: int) -> None:
        {3: self.many, 7: self.set}.get(number % 10, self.adjust)(number)

    def _insist(self, op: str, number: int, call: Callable[[str], Any], n: int = 1) -> None:
        """Says it again with its id, until it is acknowledged, or refused for good."""
        commit_id = f"{self.actor}-{os.getpid()}-{number}"
        while not self.stop.is_set():
            try:
                with self.journal.commit(commit_id, op=op, n=n) as note:
                    note(call(commit_id))
            except (StateConflict, RetryExpired):
                return
            except (StateError, StoreError):
                time.sleep(0.02)
            else:
                self.acknowledged += 1
                print(self.acknowledged, flush=True)
                return


def _open(twin: str, stop: threading.Event, make: Callable[..., Any], **kwargs: Any) -> StateManager | None:
    while not stop.is_set():
        try:
            return make(twin, **kwargs)
        except StoreError:
            time.sleep(0.02)
    return None


def main(arguments: Sequence[str]) -> None:
    url, twin, actor, work, journal, kwargs = arguments
    stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    given = json.loads(kwargs)
    managers = WaitingManagers() if given.pop("mode") == "async" else None
    manager = _open(twin, stop, managers or StateManager, url=url, actor=actor, **given)
    if manager is not None:
        _write(manager, actor, work, journal, stop)
    if managers:
        managers.close()


def _write(manager: StateManager, actor: str, work: str, journal: str, stop: threading.Event) -> None:
    number = 0
    with manager, Journal(journal) as log:
        do = getattr(_Work(manager, actor, log, stop), work)
        while not stop.is_set():
            do(number := number + 1)


if __name__ == "__main__":
    main(sys.argv[1:])
