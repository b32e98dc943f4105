"""What a simulation gives: quantities as arrays, states as they are asked for. All of it is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any

from circman_redis.errors import UsageError
from circman_redis.frozen import FrozenDict, thaw
from circman_redis.patch import split_pointer
from circman_redis.results import State
from circman_redis.timestamps import format_timestamp
from circman_redis.twin._numpy import np
from circman_redis.twin.parameters import Parameters
from circman_redis.twin.physics import Values

LOW, HIGH = 5, 95
"""The percentiles of the bands."""


@dataclass(frozen=True, eq=False)
class _Simulated:
    """What runs and ensembles have in common.

    Attributes:
        initial: the state that it started from, as it was.
        started: the moment of that state, UTC.
        version: of that state, 0 where it is none of a twin's.
        epoch: of that state, empty where it is none of a twin's.
        seed: with it, and the rest of this, the simulation can be repeated.
        parameters: of the simulation.
        steps: how many were made.
    """

    initial: FrozenDict
    started: datetime
    version: int
    epoch: str
    seed: int
    parameters: Parameters
    steps: int

    def _summary(self, runs: int, quantities: Mapping[str, dict[str, float]]) -> dict[str, Any]:
        times = self.times
        return {
            "version": self.version,
            "epoch": self.epoch,
            "steps": self.steps,
            "runs": runs,
            "seed": self.seed,
            "started": format_timestamp(times[0]),
            "ended": format_timestamp(times[-1]),
            "parameters": self.parameters.model_dump(),
            "quantities": quantities,
        }

    @property
    def times(self) -> list[datetime]:
        """When each state is so, the initial one first: steps + 1 moments, rising."""
        step = self.parameters.step_seconds
        return [self.started + timedelta(seconds=step * number) for number in range(self.steps + 1)]


@dataclass(frozen=True, eq=False)
class SimulationResult(_Simulated):
    """One run.

    Attributes:
        quantities: JSON Pointer -> array of steps + 1 values, the initial one first; read-only.
    """

    quantities: Mapping[str, Values]

    def summary(self) -> dict[str, Any]:
        """The run as a small JSON object: what it started from, what repeats it, what became of each quantity."""
        return self._summary(1, {place: _ends(values, values[-1]) for place, values in self.quantities.items()})

    @property
    def states(self) -> list[State]:
        """The states as dicts, the caller's own, made as they are asked for: the initial one first, steps + 1."""
        return [self._state(number) for number in range(self.steps + 1)]

    def state(self, number: int) -> State:
        """One of the states: 0 is the initial one, -1 the last.

        Raises:
            UsageError: there are not so many.
        """
        count = self.steps + 1
        if not -count <= number < count:
            raise UsageError(f"state {number}: the simulation made {self.steps} steps, so use {-count} to {self.steps}")
        return self._state(number % count)

    def _state(self, number: int) -> State:
        state: State = thaw(self.initial)
        if number == 0:
            # Where it had none, it counts as of when the simulation was made.
            return (
                state if state.get("timestamp") is not None else state | {"timestamp": format_timestamp(self.started)}
            )
        moment = self.started + timedelta(seconds=self.parameters.step_seconds * number)
        state["timestamp"] = format_timestamp(moment)
        for path, values in self._columns:
            put(state, path, float(values[number]))
        return state

    @cached_property
    def _columns(self) -> list[tuple[tuple[str, ...], Values]]:
        return [(split_pointer(pointer), values) for pointer, values in self.quantities.items()]


@dataclass(frozen=True, eq=False)
class EnsembleResult(_Simulated):
    """Several runs from one state, which differ by their noise.

    Attributes:
        runs: how many.
        quantities: JSON Pointer -> array of shape (steps + 1, runs), the initial values first; read-only.
    """

    runs: int
    quantities: Mapping[str, Values]

    @cached_property
    def mean(self) -> Mapping[str, Values]:
        """JSON Pointer -> the mean of all runs, steps + 1 values."""
        return self._over_runs(_mean)

    @cached_property
    def low(self) -> Mapping[str, Values]:
        """JSON Pointer -> the 5th percentile of the runs."""
        return self._over_runs(lambda values: np.percentile(values, LOW, axis=1))

    @cached_property
    def high(self) -> Mapping[str, Values]:
        """JSON Pointer -> the 95th percentile of the runs."""
        return self._over_runs(lambda values: np.percentile(values, HIGH, axis=1))

    def summary(self) -> dict[str, Any]:
        """The same as of a run; ``last`` is the mean, with its band beside it, ``min`` and ``max`` are of all runs."""
        return self._summary(
            self.runs,
            {
                place: _ends(values, self.mean[place][-1])
                | {"last_low": float(self.low[place][-1]), "last_high": float(self.high[place][-1])}
                for place, values in self.quantities.items()
            },
        )

    def run(self, number: int) -> SimulationResult:
        """One of the runs, from 0 on; run 0 is the one that `run_simulation` gives with the same seed.

        Raises:
            UsageError: there is no such run.
        """
        if not 0 <= number < self.runs:
            raise UsageError(f"run {number}: there are {self.runs}, from 0 on")
        quantities = MappingProxyType({place: values[:, number] for place, values in self.quantities.items()})
        return SimulationResult(
            self.initial, self.started, self.version, self.epoch, self.seed, self.parameters, self.steps, quantities
        )

    def _over_runs(self, figure: Any) -> Mapping[str, Values]:
        found = {place: figure(values) for place, values in self.quantities.items()}
        for values in found.values():
            values.flags.writeable = False
        return MappingProxyType(found)


def _ends(values: Values, last: float) -> dict[str, float]:
    return {
        "first": float(values[0].flat[0]),
        "last": float(last),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _mean(values: Values) -> Values:
    # Rounding may take the mean of equal values past them.
    mean: Values = np.clip(values.mean(axis=1), values.min(axis=1), values.max(axis=1))
    return mean


def put(state: State, path: tuple[str, ...], value: float) -> None:
    """Puts a number in the place of the one that stands there.

    Args:
        state: is changed.
        path: the tokens of a JSON Pointer to a member of an object.
        value: the number.
    """
    *parents, name = path
    for parent in parents:
        state = state[parent]
    state[name] = value
