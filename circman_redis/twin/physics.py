"""The formulas of the simulation, each a pure function of numbers or of arrays of runs (docs/simulation.md).

A function gets the values before a step and gives the value after it. In each, t is the temperature in degrees
Celsius, rate the production rate in units per hour, n the noise factor of the step (1 without noise), w a normal draw
with the parameter's deviation (0 without noise), and p the `Parameters`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias, Union

from circman_redis.twin._numpy import np
from circman_redis.twin.parameters import ABSOLUTE_ZERO, Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

Values: TypeAlias = "NDArray[np.float64]"
Real: TypeAlias = Union[float, "Values"]

COLDEST = math.nextafter(ABSOLUTE_ZERO, math.inf)


def temperature(t: Real, w: Real, p: Parameters) -> Values:
    """T' = T + a (T_target - T) + w, in degrees Celsius, above absolute zero."""
    return _at_least(t + p.temperature_gain * (p.temperature_target - t) + w, COLDEST)


def energy(e: Real, n: Real, p: Parameters, *, running: bool) -> Values:
    """E' = E + dE n while running, E' = b_E E while idle, in kWh."""
    return np.asarray(e + p.energy_increment * n if running else p.energy_decay * e)


def production_rate(rate: Real, t: Real, n: Real, p: Parameters, *, running: bool) -> Values:
    """P' = P (1 + (dP g_T - k) n) while running, P' = b_P P while idle, in units per hour.

    g_T = 1 - |T - T_opt| / T_range. It is never below 0, and does not grow beyond the line's limit.
    """
    if not running:
        return np.asarray(p.rate_decay * rate)
    gain = 1 - np.abs(t - p.temperature_optimum) / p.temperature_range
    grown = rate * (1 + (p.rate_increment * gain - p.rate_loss) * n)
    return _held(grown, 0.0, np.maximum(rate, p.rate_limit))


def material(inventory: Real, rate: Real, p: Parameters) -> Values:
    """M' = M - P c, in units, never below 0."""
    return _at_least(inventory - rate * p.consumption, 0.0)


def quality(q: Real, t: Real, rate: Real, w: Real, p: Parameters) -> Values:
    """Q' = Q + a_Q (Q_max - Q) - b_Q |T - T_opt| - g_Q P + w, held to 0..1."""
    away = np.abs(t - p.temperature_optimum)
    gained = p.quality_gain * (p.quality_limit - q)
    return _held(q + gained - p.quality_temperature * away - p.quality_rate * rate + w, 0.0, 1.0)


def defect_rate(d: Real, t: Real, rate: Real, w: Real, p: Parameters) -> Values:
    """D' = b_D D + (1 - b_D) (D_base + a_D |T - T_opt| + g_D P) + w, held to 0..1."""
    away = np.abs(t - p.temperature_optimum)
    drawn_to = p.defect_base + p.defect_temperature * away + p.defect_rate * rate
    return _held(p.defect_memory * d + (1 - p.defect_memory) * drawn_to + w, 0.0, 1.0)


def _at_least(value: Real, lowest: float) -> Values:
    held: Values = np.maximum(value, lowest)
    return held


def _held(value: Real, lowest: float, highest: Real) -> Values:
    held: Values = np.minimum(np.maximum(value, lowest), highest)
    return held
