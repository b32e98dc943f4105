"""One worker of the demo: a process of its own, with a StateManager of its own.

``crew.py`` starts it and speaks with it in lines of JSON: on stdin first the job, then ``go``; the end of
stdin means stop. On stdout it says ``ready``, each commit as it was acknowledged, each refusal, and how it ended.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from circman_redis.demo import factory
from circman_redis.errors import CircmanError, StateError, StateValidationError
from circman_redis.manager import StateManager
from circman_redis.results import Commit
from circman_redis.twin import weather

GIVE_UP = 10.0
"""Seconds after the stop until a worker that is stuck in a call ends itself."""

MOST_UNITS = 12
"""What a consumer takes of a material at once, at most."""


def main(
    *,
    name: str,
    kind: str,
    per_second: float,
    twin: str,
    url: str | None,
    prefix: str | None,
    run: str,
    seconds: float,
    seed: int,
) -> int:
    """Works as told; the exit code of the process.

    Args:
        name: the worker's name, the actor of its commits.
        kind: environment, line or consumer.
        per_second: commits per second to aim at.
        twin: the twin's id.
        url: the server; None for what the environment says, else the embedded one.
        prefix: what the twin's keys begin with; None for what the environment says.
        run: what tells this run from others.
        seconds: how long to work.
        seed: of its random choices.
    """
    _say(ready=True)
    if not sys.stdin.readline():
        return 1
    stop = threading.Event()
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    try:
        with open_manager(twin, url, prefix, name) as manager:
            work(manager, kind, f"{run}/{name}", per_second=per_second, seconds=seconds, stop=stop, seed=seed, say=_say)
    except CircmanError as error:
        _say(failed=f"{type(error).__name__}: {error}")
        return 1
    _say(done=True)
    return 0


def work(
    manager: StateManager,
    kind: str,
    ids: str,
    *,
    per_second: float,
    seconds: float,
    stop: threading.Event,
    seed: int,
    say: Callable[..., None],
) -> None:
    """Works on the twin until the time is over, or it is told to stop.

    Args:
        manager: the twin's.
        kind: environment, line or consumer.
        ids: what the commit ids begin with.
        per_second: commits per second to aim at.
        seconds: how long to work.
        stop: set to stop.
        seed: of the random choices.
        say: is told of each commit as it was acknowledged, and of each refusal, by keywords.
    """
    # Random choices for a show and for load: nothing depends on them being secret.
    rng = random.Random(seed)  # noqa: S311
    _KINDS[kind](_Desk(manager, ids, rng, say), _turns(per_second, seconds, stop, rng))


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


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _stop_at_end_of_input(stop: threading.Event) -> None:
    # The descriptor itself: a thread inside of sys.stdin would be in the way of the interpreter's end.
    os.read(0, 1)
    stop.set()
    time.sleep(GIVE_UP)
    os._exit(1)


def _turns(per_second: float, seconds: float, stop: threading.Event, rng: random.Random) -> Iterator[None]:
    """The moments at which to work: unevenly spaced, and those that were missed are not made up for."""
    interval = 1 / per_second
    due = time.monotonic()
    end = due + seconds
    while due < end and not stop.wait(max(0.0, due - time.monotonic())):
        yield
        due = max(due + interval * rng.uniform(0.5, 1.5), time.monotonic() - interval)


@dataclass(slots=True)
class _Desk:
    """A worker's manager, and the numbers of its commits."""

    manager: StateManager
    prefix: str
    rng: random.Random
    say: Callable[..., None]
    epoch: str = ""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def commit(
        self, send: Callable[..., Commit], change: Mapping[str, Any], consumed: Mapping[str, int] | None = None
    ) -> None:
        """Commits, and says what was acknowledged."""
        commit_id = f"{self.prefix}/{next(self.numbers)}"
        made = send(change, commit_id=commit_id)
        if self.epoch not in {"", made.epoch}:
            raise StateError(f"twin {self.manager.twin!r} was deleted, or made anew, while this worker was at work")
        self.epoch = made.epoch
        self.say(version=made.version, epoch=made.epoch, id=commit_id, consumed=dict(consumed or {}))

    def take(self, consumed: Mapping[str, int]) -> None:
        """Takes units out of the inventory, all or none; puts them in where they are below zero."""
        deltas = {f"/materials/{material}/inventory": -units for material, units in consumed.items()}
        self.commit(self.manager.adjust, deltas, consumed)


def _environment(desk: _Desk, turns: Iterator[None]) -> None:
    """Replays the weather, an hour per commit, over and over."""
    for hour, _ in zip(itertools.cycle(weather.measured_hours()), turns, strict=False):
        desk.commit(desk.manager.update_state, {"environment": hour})


def _line(desk: _Desk, turns: Iterator[None]) -> None:
    """Moves the readings of the production line around what they are when all is well."""
    temperature, efficiency, defect_rate, energy = 65.0, 0.9, 0.02, 0.0
    for _ in turns:
        temperature += desk.rng.gauss((65.0 - temperature) * 0.02, 0.15)
        efficiency += desk.rng.gauss((0.9 - efficiency) * 0.02, 0.002)
        defect_rate += desk.rng.gauss((0.02 - defect_rate) * 0.02, 0.0003)
        energy += desk.rng.uniform(0.002, 0.004)
        readings = {
            "temperature": round(temperature, 2),
            "energy_consumption": round(energy, 3),
            "production_rate": round(130 * efficiency, 1),
            "efficiency": round(_fraction(efficiency), 4),
            "defect_rate": round(_fraction(defect_rate), 4),
        }
        desk.commit(desk.manager.update_state, {"production_line": readings})


def _fraction(value: float) -> float:
    return min(1.0, max(0.0, value))


def _consumer(desk: _Desk, turns: Iterator[None]) -> None:
    """Takes some of one or two materials; restocks what the rules, inside the commit, say is not there."""
    for _ in turns:
        materials = desk.rng.sample(list(factory.MATERIALS), desk.rng.choice((1, 2)))
        try:
            desk.take({material: desk.rng.randint(1, MOST_UNITS) for material in materials})
        except StateValidationError as refusal:
            short = _short_of(refusal)
            desk.say(refused=short)
            desk.take({material: -factory.MATERIALS[material] for material in short})


def _short_of(refusal: StateValidationError) -> list[str]:
    """The materials whose inventory would have gone below zero; any other refusal is a failure."""
    pointers = {f"/materials/{material}/inventory": material for material in factory.MATERIALS}
    short = [one for one in refusal.violations if one.pointer in pointers and one.rule == {"minimum": 0}]
    if len(short) != len(refusal.violations):
        raise refusal
    return [pointers[one.pointer] for one in short]


_KINDS: dict[str, Callable[[_Desk, Iterator[None]], None]] = {
    "environment": _environment,
    "line": _line,
    "consumer": _consumer,
}
