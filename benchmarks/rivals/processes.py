"""Servers of the rivals: started in a folder of their own, ended by whoever started them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 30.0
"""Seconds that a server has to come up, and to go down."""


@dataclass
class Process:
    """One server.

    Args:
        user: who runs it, where the caller is root; None for the caller.
    """

    user: str | None = None
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cr-")))
    _running: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self._user = self.user if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)

    def run(self, command: Sequence[str | Path]) -> None:
        """Runs a command to its end."""
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self.folder)

    def start(self, command: Sequence[str | Path], is_up: Callable[[], bool]) -> None:
        """Starts the server, and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user, cwd=self.folder
            )
        deadline = time.monotonic() + PATIENCE
        while not is_up():
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not come up: {(self.folder / 'log').read_text()[-500:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it, and removes its folder."""
        if self._running is not None:
            self._running.terminate()
            try:
                self._running.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._running.kill()
                self._running.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
