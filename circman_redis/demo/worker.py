"""One worker of the demo: a `TwinWorker` in a process of its own, with a StateManager of its own.

``crew.py`` starts it and speaks with it in lines of JSON: on stdin first the job, then ``go``; the end of
stdin means stop. On stdout it says ``ready``, each commit as it was acknowledged, each refusal, and how it ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from circman_redis.demo import factory
from circman_redis.errors import CircmanError, StateError
from circman_redis.manager import StateManager
from circman_redis.results import Commit
from circman_redis.twin.worker import TwinWorker, WorkerConfig

GIVE_UP = 10.0
"""Seconds after the stop until a worker that is stuck in a call ends itself."""


def main(
    *,
    name: str,
    kind: str,
    per_second: float,
    twin: str,
    url: str | None,
    prefix: str | None,
    seed: int,
) -> int:
    """Works as told; the exit code of the process.

    Args:
        name: the worker's name, the actor of its commits.
        kind: its role.
        per_second: turns per second.
        twin: the twin's id.
        url: the server; None for what the environment says, else the embedded one.
        prefix: what the twin's keys begin with; None for what the environment says.
        seed: of its random choices.
    """
    _say(ready=True)
    if not sys.stdin.readline():
        return 1
    stop = threading.Event()
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    config = WorkerConfig(name, (kind,), rate=per_second or 1.0, ttl=factory.TTL, seed=seed)
    try:
        with open_manager(twin, url, prefix, name) as manager:
            TwinWorker(manager, config, told=_Teller(manager), refused=lambda short: _say(refused=list(short))).run(
                stop
            )
    except CircmanError as error:
        _say(failed=f"{type(error).__name__}: {error}")
        return 1
    _say(done=True)
    return 0


def open_manager(twin: str, url: str | None, prefix: str | None, name: str) -> StateManager:
    """The worker's own manager."""
    # As the parent made it, whatever the environment says (CIRCMAN_HISTORY_LENGTH would shorten the history).
    return StateManager(
        twin,
        url=url,
        prefix=prefix,
        actor=name,
        validation=factory.VALIDATION,
        history_length=factory.HISTORY_LENGTH,
    )


def _refused(short: Sequence[str]) -> None:
    _say(refused=list(short))


class _Teller:
    """Says each commit; all of them have to be of the same life of the twin."""

    def __init__(self, manager: StateManager) -> None:
        self._twin, self._epoch = manager.twin, ""

    def __call__(self, made: Commit, commit_id: str, taken: Mapping[str, int]) -> None:
        if self._epoch not in {"", made.epoch}:
            raise StateError(f"twin {self._twin!r} was deleted, or made anew, while this worker was at work")
        self._epoch = made.epoch
        _say(version=made.version, epoch=made.epoch, id=commit_id, consumed=dict(taken))


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _stop_at_end_of_input(stop: threading.Event) -> None:
    # The descriptor itself: a thread inside of sys.stdin would be in the way of the interpreter's end.
    os.read(0, 1)
    stop.set()
    time.sleep(GIVE_UP)
    os._exit(1)
