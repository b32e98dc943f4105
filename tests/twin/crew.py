"""Workers of a twin as processes, to be started, killed and paused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from circman_redis import StateManager
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.leases import holders
from circman_redis.twin.presence import workers
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]

OF_DOMAIN = {"simulation": "simulation_result", "monitor": "threshold_"}
"""Roles whose work is said beside the twin, as events that begin so."""


class Crew:
    """The workers of one twin; at the end of the block none is left.

    Args:
        url: the server.
        twin: the twin's manager.
        events: its domain events.
        folder: where logs and journals go.
    """

    def __init__(self, url: str, twin: StateManager, events: DomainEvents, folder: Path) -> None:
        self.url, self.twin, self.events, self.folder = url, twin, events, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str, *more: str, name: str | None = None, rate: float = 300, ttl: float = 1.0) -> str:
        """Starts a worker; it may not be there yet. Returns its name."""
        number = len(list(self.folder.glob("*.err")))
        name = name or f"{role}-{number}"
        own = ("--name", name, "--rate", str(rate), "--ttl", str(ttl), "--journal", str(self.folder / f"{name}.log"))
        command = ["worker", "--role", role, *own, "--url", self.url, "--twin", self.twin.twin, *more]
        self.running[f"{name}" if name not in self.running else f"{name} {number}"] = started(
            *command, stderr=self.folder / f"{number} {name}.err"
        )
        return name

    def kill(self, name: str) -> None:
        """Ends it with -9."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        """Tells it to end; returns its exit code."""
        process = self.running.pop(name)
        process.terminate()
        return process.wait(60)

    def stop_all(self) -> list[int]:
        """Tells all of them to end, at once; returns their exit codes."""
        for process in self.running.values():
            process.terminate()
        codes = [process.wait(60) for process in self.running.values()]
        self.running.clear()
        return codes

    def said(self, name: str) -> str:
        """What workers of that name said on stderr."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"* {name}.err")))

    @property
    def present(self) -> list[str]:
        """Who joined, has not left, and says so."""
        return [one.name for one in workers(self.twin, self.events) if one.present]

    def holder(self, role: str) -> str:
        """Who has a role, as the last one who was given it."""
        return next((one.holder for one in holders(self.twin) if one.role == role), "")

    def work(self, role: str, limit: int | None = 50) -> list[tuple[int, str]]:
        """Versions and actors of what was done in a role, oldest first."""
        if role not in OF_DOMAIN:
            return [(one.version, str(one.actor)) for one in reversed(self.twin.get_commits(limit))]
        found = self.events.get_events(limit)
        return [(one.version, str(one.actor)) for one in found if one.kind.startswith(OF_DOMAIN[role])]

    def wait_for_work(self, role: str, names: set[str] | None = None, more: int = 1) -> None:
        """Waits for work that is done from now on, by any, or by these."""
        manager = self.events.manager if role in OF_DOMAIN else self.twin
        since = manager.snapshot().version

        def done() -> bool:
            seen = [actor for version, actor in self.work(role) if version > since]
            return len([actor for actor in seen if names is None or actor in names]) >= more

        try:
            wait_until(done)
        except AssertionError as error:
            raise AssertionError("\n".join(map(self.said, self.running))) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def started(*arguments: str, stderr: Path, **more: Any) -> subprocess.Popen[bytes]:
    """A command as a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with stderr.open("wb") as log:
        command = [sys.executable, "-m", "circman_redis.cli", *arguments]
        return subprocess.Popen(command, env=environment, stderr=log, **more)


def never_within(twin: StateManager, milliseconds: int, condition: Callable[[], object]) -> bool:
    """Whether something did not come about for so long by the server's clock."""
    from circman_redis import protocol

    until = twin.run(protocol.server_time()) + milliseconds * 1000
    while twin.run(protocol.server_time()) < until:
        if condition():
            return False
    return True
