"""What a simulation goes by: each parameter with its unit, its default and its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from circman_redis.errors import UsageError
from circman_redis.shown import shown

ABSOLUTE_ZERO = -273.15
"""degrees Celsius: no temperature is as low."""

_HOTTEST = 10_000.0
_LARGEST = 1e6
_YEAR = 31_557_600.0


def _p(default: Any, unit: str, description: str, **bounds: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"unit": unit}, **bounds)


class Parameters(BaseModel):
    """The parameters of the models; docs/simulation.md has the formulas. Rates are per step, however long a step is.

    Attributes:
        step_seconds: between the timestamps of two states.
        noise: whether there is any; without it n is 1 and w is 0.
        noise_spread: s of the factor n = 1 + U(-s, s) of a step.
        temperature_target: T_target.
        temperature_gain: a, the part of the way to the target that a step goes.
        temperature_deviation: of w, the noise of the temperature.
        temperature_optimum: T_opt, where production and quality are at their best.
        temperature_range: T_range, the distance from T_opt at which production gains nothing.
        energy_increment: dE, while running.
        energy_decay: b_E, what a step leaves while idle.
        rate_increment: dP, what production gains at T_opt, while running.
        rate_loss: k, what it loses, while running.
        rate_decay: b_P, what a step leaves while idle.
        rate_limit: what the line can make: production does not grow beyond. A state that is beyond is not cut.
        consumption: c, units of each material that a step takes, per unit per hour.
        quality_gain: a_Q, the part of the way to Q_max that a step goes.
        quality_limit: Q_max.
        quality_temperature: b_Q, lost per degree away from T_opt.
        quality_rate: g_Q, lost per unit per hour.
        quality_deviation: of w, the noise of the quality.
        defect_memory: b_D, what a step keeps of the defect rate before.
        defect_base: D_base, the defect rate of a line at T_opt that makes nothing.
        defect_temperature: a_D, gained per degree away from T_opt.
        defect_rate: g_D, gained per unit per hour.
        defect_deviation: of w, the noise of the defect rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step_seconds: float = _p(60.0, "s", "between the timestamps of two states", ge=1e-6, le=_YEAR)
    noise: bool = _p(True, "", "whether there is any; without it n is 1 and w is 0")
    noise_spread: float = _p(0.1, "", "s of n = 1 + U(-s, s)", ge=0, lt=1)

    temperature_target: float = _p(22.5, "°C", "T_target", gt=ABSOLUTE_ZERO, le=_HOTTEST)
    temperature_gain: float = _p(0.1, "", "a", ge=0, le=1)
    temperature_deviation: float = _p(0.1, "°C", "deviation of w", ge=0, le=1000)
    temperature_optimum: float = _p(22.5, "°C", "T_opt", gt=ABSOLUTE_ZERO, le=_HOTTEST)
    temperature_range: float = _p(5.0, "°C", "T_range", ge=1e-3, le=_HOTTEST)

    energy_increment: float = _p(2.0, "kWh", "dE", ge=0, le=_LARGEST)
    energy_decay: float = _p(0.95, "", "b_E", ge=0, le=1)

    rate_increment: float = _p(0.002, "", "dP", ge=0, le=1)
    rate_loss: float = _p(0.001, "", "k", ge=0, le=1)
    rate_decay: float = _p(0.8, "", "b_P", ge=0, le=1)
    rate_limit: float = _p(200.0, "units/h", "production does not grow beyond", ge=0, le=1e9)

    consumption: float = _p(0.01, "h", "c", ge=0, le=_LARGEST)

    quality_gain: float = _p(0.05, "", "a_Q", ge=0, le=1)
    quality_limit: float = _p(1.0, "", "Q_max", ge=0, le=1)
    quality_temperature: float = _p(0.001, "1/°C", "b_Q", ge=0, le=1)
    quality_rate: float = _p(0.00001, "h/unit", "g_Q", ge=0, le=1)
    quality_deviation: float = _p(0.002, "", "deviation of w", ge=0, le=1)

    defect_memory: float = _p(0.9, "", "b_D", ge=0, le=1)
    defect_base: float = _p(0.02, "", "D_base", ge=0, le=1)
    defect_temperature: float = _p(0.002, "1/°C", "a_D", ge=0, le=1)
    defect_rate: float = _p(0.00001, "h/unit", "g_D", ge=0, le=1)
    defect_deviation: float = _p(0.001, "", "deviation of w", ge=0, le=1)

    @classmethod
    def of(cls, given: Parameters | Mapping[str, Any] | None) -> Parameters:
        """The parameters that are meant: those given, and the defaults for the rest.

        Raises:
            UsageError: one is unknown or out of range; each is named.
        """
        if isinstance(given, Parameters):
            return given
        try:
            return cls(**(given or {}))
        except ValidationError as error:
            raise UsageError("; ".join(map(_said, error.errors()))) from error
        except TypeError as error:
            raise UsageError(f"parameters={shown(given)}: give names with values") from error


def _said(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"parameter {name!r}: unknown; there are {', '.join(Parameters.model_fields)}"
    return f"parameter {name}={shown(error['input'])}: {error['msg']}"
