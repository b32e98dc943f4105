"""What a program may ask of a twin and of the parts around it, one model per section of the constants.

All of them are frozen, refuse names that they do not have, and change no value's type: ``"10"`` is no number, 10.0 no
count. `constants.toml` has the defaults, and says what each is good for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from circman_redis.durability import Durability
from circman_redis.frozen import freeze
from circman_redis.keys import DEFAULT_TWIN, TwinKeys
from circman_redis.settings import LARGEST_STATE, LONGEST_HISTORY, Validation
from circman_redis.twin.threshold_rule import ThresholdRule

SynchronizationMode = Literal["real_time", "batch", "manual", "event"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def _twin_id(name: str) -> str:
    return TwinKeys(name).twin


def _durability(text: str) -> str:
    Durability.of(text)
    return text


def _maybe(value: Any) -> Any:
    """TOML has no null: ``"none"`` stands for it."""
    return None if value == "none" else value


def _rules(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("it has to be a list of tables: [[thresholds]]")  # noqa: TRY004 - what pydantic takes
    return tuple(value)


def _differ(rules: tuple[ThresholdRule, ...]) -> tuple[ThresholdRule, ...]:
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several rules have the same name: {', '.join(twice)}")
    return rules


Hertz = Annotated[float, Field(ge=1e-6, le=1e6)]
"""Times per second, above 0: from once in eleven days to a million."""
Seconds = Annotated[float, Field(gt=0, le=1e6)]
"""Above 0, to eleven days."""
Count = Annotated[int, Field(ge=1, le=LONGEST_HISTORY)]
"""1 or more, as far as every JSON reader counts exactly."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TwinConfig(_Section):
    """How a twin is run; the section ``digital_twin``. The defaults are those of the packaged constants.

    Attributes:
        name: the twin's id: 1 to 128 of ``A-Z a-z 0-9 _ . : -``.
        update_frequency: how often its sources are asked, in Hz (times per second): 1e-6 to 1e6.
        history_length: how many superseded commits are kept: 1 to 10**15 - 1.
        simulation_steps: how many steps a simulation has, unless it is told: 1 or more.
        synchronization_mode: when sources are asked: ``real_time`` (at `update_frequency`), ``batch`` (so often, but
            committed together), ``manual`` (when told to), ``event`` (when something changes).
        log_level: the least that is logged: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``, as `logging`
            calls them.

    Raises:
        pydantic.ValidationError: (a ValueError) for anything else, naming each value that is not allowed.
    """

    name: Annotated[str, AfterValidator(_twin_id)] = DEFAULT_TWIN
    update_frequency: Hertz = 1.0
    history_length: Count = 1000
    simulation_steps: Count = 10
    synchronization_mode: SynchronizationMode = "real_time"
    log_level: LogLevel = "INFO"


class SimulationConfig(_Section):
    """How a simulation runs, where its caller does not say; the section ``simulation``.

    Attributes:
        steps: how many steps: 1 or more.
        step_seconds: how much of the twin's time one step is, in seconds: above 0, to 1e9.
        seed: of the random numbers, 0 to 2**63 - 1; None for another run each time (in TOML ``"none"``).
        parameters: those of the models that are other than their own defaults, by name; their units are the
            models'. Finite numbers.
    """

    steps: Count
    step_seconds: float = Field(gt=0, le=1e9)
    seed: Annotated[Annotated[int, Field(ge=0, lt=2**63)] | None, BeforeValidator(_maybe)]
    parameters: Annotated[Mapping[Annotated[str, Field(min_length=1)], float], AfterValidator(freeze)]


class SynchronizationConfig(_Section):
    """How data sources are asked; the section ``synchronization``.

    Attributes:
        mode: when: ``real_time``, ``batch``, ``manual`` or ``event``, as in `TwinConfig`.
        interval: seconds from one round to the next: above 0, to 1e6.
        timeout: seconds that a source may take before it is reported: above 0, to 1e6.
        batch_size: how many rounds are committed together in mode ``batch``: 1 or more.
    """

    mode: SynchronizationMode
    interval: Seconds
    timeout: Seconds
    batch_size: Count


class StateManagementConfig(_Section):
    """What a state manager is opened with; the section ``state_management``. Its names are `StateManager`'s arguments.

    Attributes:
        history_length: how many superseded commits are kept: 1 to 10**15 - 1.
        validation: the level that the rules are checked at: ``none``, ``standard`` or ``strict``.
        max_bytes: how large a state may be, in bytes: 2 to 512 MiB.
        durability: what a commit waits for: ``none``, ``replicas:N`` or ``fsync``.
    """

    history_length: Count
    validation: Validation
    max_bytes: int = Field(ge=2, le=LARGEST_STATE)
    durability: Annotated[str, AfterValidator(_durability)]


class ThresholdsConfig(_Section):
    """The rules that the state is watched by; the section ``thresholds``.

    Attributes:
        rules: each with a name of its own.
    """

    rules: Annotated[tuple[ThresholdRule, ...], BeforeValidator(_rules), AfterValidator(_differ)]
