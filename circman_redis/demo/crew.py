"""The parent's side of the worker processes: starts them, listens to them, and sees to it that they all end."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Self

from circman_redis.demo.factory import Role
from circman_redis.demo.verify import Acknowledged
from circman_redis.demo.worker import GIVE_UP

START_TIMEOUT = 60.0
"""Seconds that the workers have to start."""

END_TIMEOUT = GIVE_UP + 5.0
"""Seconds that the workers have to end after the stop, before they are killed."""

# Our own module path, as `multiprocessing` hands it on too: a checkout that is not installed works as well.
_BOOT = (
    "import json, sys; job = json.loads(sys.stdin.readline()); sys.path[:] = job.pop('path'); "
    "from circman_redis.demo.worker import main; sys.exit(main(**job))"
)


@dataclass(slots=True)
class Worker:
    """One worker process, and what it said so far.

    Attributes:
        role: its part.
        acknowledged: its commits.
        refused: how many of its commits the rules refused.
        failure: how it ended, where it did not end well.
        killed: whether the run killed it, to see what becomes of that.
    """

    role: Role
    process: subprocess.Popen[str]
    errors: IO[bytes]
    acknowledged: list[Acknowledged] = field(default_factory=list)
    refused: int = 0
    failure: str | None = None
    killed: bool = False
    ready: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    done: bool = False

    def listen(self) -> None:
        """Takes in what the worker says, until its end."""
        assert self.process.stdout is not None  # noqa: S101 - it was started with a pipe
        with self.process.stdout as said:
            for line in said:
                # The last line of one that was killed may be cut short: then it told nobody.
                if line.endswith("\n"):
                    self._hear(json.loads(line))
        status = self.process.wait()
        if not (self.done or self.killed) and self.failure is None:
            self.failure = _how_it_ended(status, self._last_words())
        self.ready.set()
        self.ended.set()

    def _hear(self, line: dict[str, Any]) -> None:
        if "version" in line:
            self.acknowledged.append(Acknowledged(actor=self.role.name, **line))
        elif "refused" in line:
            self.refused += 1
        elif "failed" in line:
            self.failure = str(line["failed"])
        elif "ready" in line:
            self.ready.set()
        else:
            self.done = True

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def tell(self, text: str) -> None:
        """Sends the worker a line; one that has ended does not hear it."""
        assert self.process.stdin is not None  # noqa: S101 - it was started with a pipe
        with suppress(BrokenPipeError):  # `listen` learns how it ended
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        """Ends the worker at this moment, whatever it is at (SIGKILL)."""
        self.killed = True
        self.process.kill()

    def stop(self) -> None:
        """Has the worker end after the commit that it is at."""
        assert self.process.stdin is not None  # noqa: S101 - it was started with a pipe
        with suppress(BrokenPipeError):
            self.process.stdin.close()


def _how_it_ended(status: int, last_words: str) -> str:
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with exit code {status}" + (f": {last_words}" if last_words else "")


class Crew:
    """The workers of one run; as a context manager it leaves none behind.

    Args:
        roles: one per worker.
        job: what they all need to know: twin, url, prefix.
    """

    def __init__(self, roles: Sequence[Role], job: dict[str, Any]) -> None:
        self.workers: list[Worker] = []
        self._listeners: list[threading.Thread] = []
        self._reported: set[str] = set()
        self._roles, self._job = roles, job

    def __enter__(self) -> Self:
        try:
            for number, role in enumerate(self._roles):
                self._start(role, seed=number)
        except BaseException:
            self._end(0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(END_TIMEOUT if error is None else 1.0)

    def _start(self, role: Role, seed: int) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _end; not a pipe, which could fill up
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _BOOT, role.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            process_group=0,  # Ctrl-C is for the parent, which stops the workers in order
        )
        worker = Worker(role, process, errors)
        self.workers.append(worker)
        listener = threading.Thread(target=worker.listen, name=role.name, daemon=True)
        self._listeners.append(listener)
        listener.start()
        part = {"name": role.name, "kind": role.kind, "per_second": role.per_second, "seed": seed}
        worker.tell(json.dumps({**self._job, **part, "path": sys.path}))

    def wait_until_ready(self) -> None:
        """Waits until every worker could begin; one that could not is among the `failures`."""
        deadline = time.monotonic() + START_TIMEOUT
        for worker in self.workers:
            if not worker.ready.wait(max(0.0, deadline - time.monotonic())):
                worker.failure = f"did not start within {START_TIMEOUT:g} s"

    def go(self) -> None:
        """Has all workers begin."""
        for worker in self.workers:
            worker.tell("go")

    @property
    def acknowledged(self) -> list[Acknowledged]:
        """The commits of all workers so far."""
        return list(itertools.chain.from_iterable(worker.acknowledged for worker in self.workers))

    @property
    def refused(self) -> int:
        """How many commits the rules refused so far."""
        return sum(worker.refused for worker in self.workers)

    @property
    def working(self) -> bool:
        """Whether any worker is still at it."""
        return not all(worker.ended.is_set() for worker in self.workers)

    @property
    def failures(self) -> list[str]:
        """Who did not end well, and how."""
        return [
            f"{worker.role.name} (process {worker.process.pid}) {worker.failure}"
            for worker in self.workers
            if worker.failure
        ]

    def new_failures(self) -> list[str]:
        """The failures since this was last asked for."""
        new = [failure for failure in self.failures if failure not in self._reported]
        self._reported.update(new)
        return new

    def finish(self) -> None:
        """Stops the workers, and waits until all have ended and all that they said was heard."""
        self._end(END_TIMEOUT)

    def _end(self, timeout: float) -> None:
        for worker in self.workers:
            worker.stop()
        deadline = time.monotonic() + timeout
        for worker in self.workers:
            if not worker.ended.wait(max(0.0, deadline - time.monotonic())):
                worker.failure = worker.failure or f"did not end within {timeout:g} s of the stop, and was killed"
                worker.process.kill()
        for worker, listener in zip(self.workers, self._listeners, strict=False):
            listener.join()
            worker.errors.close()
