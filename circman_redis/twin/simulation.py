"""SimulationEngine: from a state on, step by step, without touching it (docs/simulation.md)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from circman_redis import protocol, rules_check
from circman_redis.codec import JSONText, check_text, decode, encode
from circman_redis.errors import NoState, StateValidationError, UsageError, Violation
from circman_redis.frozen import FrozenDict, freeze, thaw
from circman_redis.manager import StateManager
from circman_redis.models import TwinState
from circman_redis.patch import join_pointer, resolve, split_pointer
from circman_redis.results import Snapshot, State
from circman_redis.rules import compile_model
from circman_redis.rules_check import Rules
from circman_redis.shown import shown
from circman_redis.timestamps import format_timestamp, parse_timestamp
from circman_redis.twin._numpy import np
from circman_redis.twin.models import MODELS, Block, Model, ModelFunction, Step, places_of
from circman_redis.twin.noise import Noise
from circman_redis.twin.parameters import Parameters
from circman_redis.twin.physics import Values
from circman_redis.twin.simulated import EnsembleResult, SimulationResult, put

MOST_VALUES = 50_000_000
"""Values that one simulation may make, in all steps and runs: 400 MB, and as much again for their noise."""

LARGEST = 1e15
"""A reading beyond it is none: the formulas would leave what a double can hold."""

Initial = Mapping[str, Any] | BaseModel | JSONText | Snapshot
Check = Callable[[State, str], None]
"""Raises StateValidationError for a state that is none; the text says which one it is."""


class HasSnapshot(Protocol):
    """What the engine needs of a `StateManager`."""

    def snapshot(self) -> Snapshot:
        """The state, with its version."""


class SimulationEngine:
    """Simulates a twin from its state on; it neither writes to the twin nor changes what it is given.

    Args:
        state_manager: whose state is simulated, unless a call is given one; None where each call is.
        recorder: is called with the result of each run that is made with ``record=True``.
    """

    def __init__(
        self,
        state_manager: HasSnapshot | None = None,
        recorder: Callable[[SimulationResult], object] | None = None,
    ) -> None:
        self._manager = state_manager
        self._recorder = recorder
        self._models = {model.name: model for model in MODELS}

    @property
    def models(self) -> Mapping[str, str]:
        """The models by name, each with the JSON Pointer of what it moves."""
        return {name: model.pointer for name, model in self._models.items()}

    def register_model(self, name: str, pointer: str, move: ModelFunction) -> None:
        """Adds a model of the caller's own; one of the same name is replaced.

        Args:
            name: such as ``humidity``.
            pointer: JSON Pointer of the number in the state that it moves; ``*`` stands for every member of an object.
            move: gets the `Step`, and returns the values after it: a number, or an array that broadcasts to a row for
                each place and a column for each run.

        Raises:
            UsageError: the name is empty, the pointer is none, or there is nothing to call. That two models move the
                same, or that the state has no such number, is said when a simulation is made.
        """
        if not name or not callable(move):
            raise UsageError(f"model {shown(name)}: give a name, and a callable that takes the step")
        if not split_pointer(pointer):
            raise UsageError(f"model {name!r}: the whole state is no number; give the JSON Pointer of one")
        self._models[name] = Model(name, pointer, move, required=True)

    def run_simulation(
        self,
        steps: int = 10,
        initial_state: Initial | None = None,
        parameters: Parameters | Mapping[str, Any] | None = None,
        seed: int | None = None,
        record: bool = False,
    ) -> SimulationResult:
        """Simulates one run.

        Args:
            steps: how many, from 1 on.
            initial_state: where it starts: a JSON object, a model of one, or a `Snapshot`; None for the twin's state.
                Without a timestamp it counts as of now.
            parameters: those that are not the defaults, by name; or all of them.
            seed: the same gives the same run; None draws one, which the result names.
            record: hand the result to the engine's recorder.

        Raises:
            UsageError: an argument or a parameter is not allowed, which is named; or there is nothing to simulate.
            StateValidationError: the initial state does not fit `TwinState`, or a registered model left it. The state
                of a twin with a model of its own, or a `Snapshot` of it, has to fit that twin's rules instead.
            NoState: the twin has no state yet. The other errors are those of `StateManager.snapshot`.
        """
        if record and self._recorder is None:
            raise UsageError(
                "record=True: the engine has no recorder; make it with SimulationEngine(..., recorder=...)"
            )
        result = self.run_ensemble(1, steps, initial_state, parameters, seed).run(0)
        if record and self._recorder:
            self._recorder(result)
        return result

    def run_ensemble(
        self,
        runs: int = 100,
        steps: int = 10,
        initial_state: Initial | None = None,
        parameters: Parameters | Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> EnsembleResult:
        """Simulates several runs at once, which differ by their noise.

        Args:
            runs: how many, from 1 on.
            steps: how many each, from 1 on.
            initial_state: as in `run_simulation`.
            parameters: as in `run_simulation`.
            seed: as in `run_simulation`; run 0 is the one that it gives.

        Raises:
            UsageError, StateValidationError, NoState: as in `run_simulation`.
        """
        wanted = Parameters.of(parameters)
        _check_whole("runs", runs, 1)
        _check_whole("steps", steps, 1)
        if seed is not None:
            _check_whole("seed", seed, 0)
        runs, steps, seed = int(runs), int(steps), secrets.randbits(32) if seed is None else int(seed)
        state, version, epoch = self._start(initial_state)
        started = _moment(state)
        _check_end(started, wanted.step_seconds, steps)
        of_twin = initial_state is None or isinstance(initial_state, Snapshot)
        check = _check_of(self._manager) if of_twin else _check_state
        check({**state, "timestamp": format_timestamp(started)}, "the state that a simulation starts from")
        blocks = self._blocks(state, steps, runs)
        moved = {model.pointer: block for model, block in blocks}
        _walk(blocks, Step(state, moved, Noise(seed, steps, runs, on=wanted.noise), wanted))
        quantities = {place: block.seen[:, row] for _, block in blocks for row, place in enumerate(block.places)}
        _check_values(state, quantities, started, check)
        found = MappingProxyType(quantities)
        return EnsembleResult(state, started, version, epoch, seed, wanted, steps, runs, found)

    def _start(self, given: Initial | None) -> tuple[FrozenDict, int, str]:
        """The state to start from, which nobody can change any more, with its version and epoch."""
        if given is None:
            if self._manager is None:
                raise UsageError("initial_state=None: the engine has no state manager to ask; give a state")
            given = self._manager.snapshot()
            if not given.version:
                raise NoState("the twin has no state yet: commit one with set_state or update_state, or give one")
        if isinstance(given, Snapshot):
            return freeze(decode(encode(given.state))), given.version, given.epoch
        text = bytes(check_text(given)) if isinstance(given, JSONText) else encode(given)
        return freeze(decode(text)), 0, ""

    def _blocks(self, state: State, steps: int, runs: int) -> list[tuple[Model, Block]]:
        """The models that have something to move, with room for it."""
        moved = [(model, places_of(state, model.pointer)) for model in self._models.values()]
        _check_places(moved)
        count = sum(len(places) for _, places in moved) * (steps + 1) * runs
        if count > MOST_VALUES:
            raise UsageError(
                f"steps={steps}, runs={runs}: {count:,} values, over the {MOST_VALUES:,} of one simulation"
            )
        return [
            (model, Block(places, [_reading(state, place) for place in places], steps, runs))
            for model, places in moved
            if places
        ]


def _walk(blocks: Sequence[tuple[Model, Block]], step: Step) -> None:
    """Makes all the steps: each model sees what was before the step, whatever the others make of it."""
    moves = [(model, model.move, block.values) for model, block in blocks]
    for number in range(len(moves[0][2]) - 1):
        step.number = number
        for model, move, values in moves:
            after = move(step)
            try:
                values[number + 1] = after
            except (ValueError, TypeError) as error:
                rows, runs = values.shape[1:]
                wanted = f"{rows} rows of {runs} runs are wanted"
                raise UsageError(f"model {model.name!r} returned {shown(after)}, and {wanted}: {error}") from error


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name}={shown(value)}: use a whole number from {least} on")


def _moment(state: State) -> datetime:
    given = state.get("timestamp")
    if given is None:
        return datetime.now(UTC)
    try:
        return parse_timestamp(given)
    except (ValueError, TypeError) as error:
        raise StateValidationError([Violation("/timestamp", {"python": str(error)}, given)]) from error


def _check_end(started: datetime, step_seconds: float, steps: int) -> None:
    try:
        _ = started + timedelta(seconds=step_seconds * steps)
    except OverflowError as error:
        raise UsageError(f"steps={steps} of {step_seconds} s go beyond the year 9999: use fewer") from error


def _check_places(moved: Sequence[tuple[Model, list[str]]]) -> None:
    if not any(places for _, places in moved):
        wanted = ", ".join(model.pointer for model, _ in moved)
        raise UsageError(f"nothing to simulate: the state has no number at any of {wanted}")
    mover: dict[str, str] = {}
    for model, places in moved:
        if model.required and not places:
            raise UsageError(f"model {model.name!r}: the state has no number at {model.pointer}")
        for place in places:
            if place in mover:
                raise UsageError(f"models {mover[place]!r} and {model.name!r} both move {place}: use one name for them")
            mover[place] = model.name


def _reading(state: State, place: str) -> float:
    value = resolve(state, place)
    if abs(value) > LARGEST:
        raise UsageError(f"{place}: {shown(value)} is beyond what can be simulated, {LARGEST:g}")
    return float(value)


def _check_state(state: State, what: str) -> None:
    try:
        TwinState.model_validate(state)
    except ValidationError as error:
        # Of the branches of a union, the first is the one that was meant; the others only say that it may be absent.
        first = {_place(state, one["loc"]): one for one in reversed(error.errors())}
        violations = [Violation(place, {"python": one["msg"]}, one["input"]) for place, one in first.items()][::-1]
        raise StateValidationError(violations, f"{what}: {'; '.join(map(str, violations))}") from error


def _place(state: State, path: Sequence[str | int]) -> str:
    """Where a violation is: pydantic names the branch of a union too, which is no place in the state."""
    while path and resolve(state, join_pointer(path[:-1]), default=None) is None:
        path = path[:-1]
    parent = resolve(state, join_pointer(path[:-1]), default=None)
    return join_pointer(path if isinstance(parent, Mapping | list) else path[:-1])


def _check_of(manager: HasSnapshot | None) -> Check:
    """What a twin's states have to fit: the rules of its own model, where that is another than `TwinState`."""
    if not isinstance(manager, StateManager):
        return _check_state
    config = manager.config
    if config.model_hash in {None, compile_model(TwinState).hash}:
        return _check_state
    return partial(_check_rules, manager.run(protocol.published_rules(manager.keys)), config.validation)


def _check_rules(rules: Rules, level: str, state: State, what: str) -> None:
    # The timestamp is the simulation's, where the model has none.
    own = {name: value for name, value in state.items() if name != "timestamp" or "/timestamp" in rules}
    violations = rules_check.check(own, rules, level)
    if violations:
        raise StateValidationError(violations, f"{what}: {'; '.join(map(str, violations))}")


def _check_values(state: State, quantities: Mapping[str, Values], started: datetime, check: Check) -> None:
    """Every state fits: the bounds of a model are of single numbers, so a few numbers tell of all.

    The least and the largest, and for a place that has whole numbers only the one that is least so.
    """
    for place, values in quantities.items():
        if not np.isfinite(values).all():
            number = int(np.argwhere(~np.isfinite(values))[0][0])
            raise StateValidationError([Violation(place, {"python": f"step {number} left it without a number"})])
    stamped = {**state, "timestamp": format_timestamp(started)}
    for extreme in (np.min, np.max) if check is _check_state else (np.min, np.max, _least_whole):
        ends = _filled(stamped, {place: float(extreme(values)) for place, values in quantities.items()})
        check(ends, "the models led to a state that is none")


def _least_whole(values: Values) -> Any:
    return values.flat[np.abs(values - np.rint(values)).argmax()]


def _filled(state: State, numbers: Mapping[str, float]) -> State:
    filled: State = thaw(state)
    for place, value in numbers.items():
        put(filled, split_pointer(place), value)
    return filled
