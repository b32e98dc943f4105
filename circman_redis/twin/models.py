"""The models of a simulation by name: which quantity each moves, and how, by one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from circman_redis.errors import UsageError
from circman_redis.patch import join_pointer, resolve, split_pointer
from circman_redis.twin import physics
from circman_redis.twin._numpy import np
from circman_redis.twin.noise import Noise
from circman_redis.twin.parameters import Parameters
from circman_redis.twin.physics import Real, Values

STATUS = "/production_line/status"
RUNNING = "running"

TEMPERATURE = "/production_line/temperature"
ENERGY = "/production_line/energy_consumption"
RATE = "/production_line/production_rate"
DEFECTS = "/production_line/defect_rate"
INVENTORY = "/materials/*/inventory"
QUALITY = "/materials/*/quality"

ModelFunction: TypeAlias = "Callable[[Step], Real]"


@dataclass(frozen=True, slots=True)
class Model:
    """What moves a quantity.

    Attributes:
        name: such as ``temperature``.
        pointer: JSON Pointer of the quantity; a ``*`` stands for every member of an object there.
        move: gets the `Step`, and returns the values after it.
        required: whether it is an error when the state has no such quantity.
    """

    name: str
    pointer: str
    move: ModelFunction
    required: bool = False


class Block:
    """The values of a model's quantities, of shape (steps + 1, places, runs); the first are those of the state.

    Args:
        places: JSON Pointers of the quantities.
        initial: their values in the state.
        steps: how many there will be.
        runs: in the ensemble.
    """

    __slots__ = ("places", "seen", "values")

    def __init__(self, places: Sequence[str], initial: Sequence[float], steps: int, runs: int) -> None:
        self.places = tuple(places)
        self.values: Values = np.empty((steps + 1, len(places), runs))
        self.values[0] = np.array(initial, dtype=np.float64)[:, np.newaxis]
        # What is shown to models: one that adds in place would change the past.
        self.seen: Values = self.values.view()
        self.seen.flags.writeable = False


class Step:
    """What a model is given: the quantities before the step, its noise, the parameters.

    ``step[pointer]`` is an array with a row for each place that the pointer names (one, where it has no ``*``) and a
    column for each run of the ensemble; or the number that stands in the state, where no model moves it.

    Attributes:
        number: 0 for the step that leads away from the initial state.
        parameters: of the simulation.
        running: whether the production line runs.
    """

    __slots__ = ("_blocks", "_factors", "_initial", "_noise", "_normal", "_rows", "number", "parameters", "running")

    def __init__(
        self, initial: Mapping[str, Any], blocks: Mapping[str, Block], noise: Noise, parameters: Parameters
    ) -> None:
        self.number = 0
        self.parameters = parameters
        self.running = resolve(initial, STATUS, default=None) == RUNNING
        self._initial = initial
        self._blocks = blocks
        self._rows = {place: (block, row) for block in blocks.values() for row, place in enumerate(block.places)}
        self._noise = noise
        self._factors = noise.factors(parameters.noise_spread)
        self._normal: dict[str, Values] = {}

    @property
    def factor(self) -> Values:
        """n, the noise factor of this step, one for each run."""
        factors: Values = self._factors[self.number]
        return factors

    def normal(self, pointer: str) -> Values:
        """Standard normal draws of this step for a quantity that a model moves; 0 without noise."""
        drawn = self._normal.get(pointer)
        if drawn is None:
            if pointer not in self._blocks:
                raise UsageError(
                    f"{pointer}: no model moves it, and it has no noise; ask for {', '.join(self._blocks)}"
                )
            drawn = self._normal[pointer] = self._noise.normal(self._blocks[pointer].places)
        values: Values = drawn[self.number]
        return values

    def __getitem__(self, pointer: str) -> Real:
        block = self._blocks.get(pointer)
        if block is not None:
            values: Values = block.seen[self.number]
            return values
        return self._elsewhere(pointer)

    def get(self, pointer: str, default: float) -> Real:
        """The same, or the default where a quantity is not simulated."""
        return self[pointer] if pointer in self._blocks else default

    def _elsewhere(self, pointer: str) -> Real:
        if pointer in self._rows:
            block, row = self._rows[pointer]
            values: Values = block.seen[self.number, row : row + 1]
            return values
        value = resolve(self._initial, pointer)
        if not is_number(value):
            raise UsageError(f"{pointer}: no number stands there, but {type(value).__name__}")
        return float(value)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def places_of(state: Mapping[str, Any], pattern: str) -> list[str]:
    """The JSON Pointers of the numbers in a state that a pattern names.

    Args:
        state: a JSON object.
        pattern: a JSON Pointer, in which ``*`` stands for every member of an object.
    """
    found: list[tuple[tuple[str, ...], Any]] = [((), state)]
    for step in split_pointer(pattern):
        found = [
            ((*path, name), value[name])
            for path, value in found
            if isinstance(value, Mapping)
            for name in (value if step == "*" else [step])
            if name in value
        ]
    return [join_pointer(path) for path, value in found if is_number(value)]


# --- those that there are ------------------------------------------------------------------------------------------


def _temperature(step: Step) -> Real:
    p = step.parameters
    return physics.temperature(step[TEMPERATURE], p.temperature_deviation * step.normal(TEMPERATURE), p)


def _energy(step: Step) -> Real:
    return physics.energy(step[ENERGY], step.factor, step.parameters, running=step.running)


def _production_rate(step: Step) -> Real:
    return physics.production_rate(step[RATE], _t(step), step.factor, step.parameters, running=step.running)


def _material(step: Step) -> Real:
    return physics.material(step[INVENTORY], step.get(RATE, 0.0), step.parameters)


def _quality(step: Step) -> Real:
    p = step.parameters
    w = p.quality_deviation * step.normal(QUALITY)
    return physics.quality(step[QUALITY], _t(step), step.get(RATE, 0.0), w, p)


def _defect_rate(step: Step) -> Real:
    p = step.parameters
    w = p.defect_deviation * step.normal(DEFECTS)
    return physics.defect_rate(step[DEFECTS], _t(step), step.get(RATE, 0.0), w, p)


def _t(step: Step) -> Real:
    """The temperature; where the state has none, the one at which it does nothing."""
    return step.get(TEMPERATURE, step.parameters.temperature_optimum)


MODELS = (
    Model("temperature", TEMPERATURE, _temperature),
    Model("energy", ENERGY, _energy),
    Model("production_rate", RATE, _production_rate),
    Model("material", INVENTORY, _material),
    Model("quality", QUALITY, _quality),
    Model("defect_rate", DEFECTS, _defect_rate),
)
"""The models that every engine has. A quantity that the state does not have is not made up."""
