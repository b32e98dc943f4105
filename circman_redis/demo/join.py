"""One worker that joins the demo's twin from wherever it runs: what docker-compose.yml scales."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
import time
from collections import Counter
from typing import Any

from circman_redis.demo import factory, worker
from circman_redis.demo.run import TwinTaken
from circman_redis.demo.view import say
from circman_redis.errors import StateConflict
from circman_redis.manager import StateManager


def join(kind: str, seconds: float, twin: str, url: str | None, prefix: str | None = None) -> int:
    """Works on the twin, which the first worker to come makes; ends after the time, or on SIGTERM.

    Args:
        kind: one of those in ``factory.PER_SECOND``.
        seconds: how long to work.
        twin: the twin's id.
        url: the server; None for what the environment says, else the embedded one.
        prefix: what the twin's keys begin with; None for what the environment says.

    Returns:
        0, the exit code.

    Raises:
        TwinTaken: the twin is somebody else's.
        CircmanError: the server cannot be reached.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = f"{kind}-{socket.gethostname()}"
    counts: Counter[str] = Counter()

    def tally(**line: Any) -> None:
        counts["refused" if "refused" in line else "commits"] += 1

    ids = secrets.token_hex(4)
    with worker.open_manager(twin, url, prefix, name) as manager:
        _join_or_make(manager)
        say(f"{name} works on the twin {twin!r} for {seconds:g} s")
        begun = time.monotonic()
        worker.work(
            manager,
            kind,
            ids,
            per_second=factory.PER_SECOND[kind],
            seconds=seconds,
            stop=stop,
            seed=secrets.randbits(32),
            say=tally,
        )
        say(f"{name}: {counts['commits']} commits in {time.monotonic() - begun:.0f} s, {counts['refused']} refused")
    return 0


def _join_or_make(manager: StateManager) -> None:
    try:
        manager.set_state(factory.initial_state("joined"), expected_version=0)
    except StateConflict as error:
        if not factory.is_demo(manager.get_current_state()):
            raise TwinTaken(f"twin {manager.twin!r} was not made by this demo, and is left as it is") from error
