"""States and parameters to simulate with, and the formulas once more, for one run and in plain floats."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from circman_redis.twin.parameters import Parameters

STATE: dict[str, Any] = {
    "timestamp": "2026-11-22T14:00:00+01:00",
    "system_status": "running",
    "production_line": {
        "status": "running",
        "temperature": 30.0,
        "energy_consumption": 100.0,
        "production_rate": 100,
        "efficiency": 0.9,
        "defect_rate": 0.02,
    },
    "materials": {"steel": {"inventory": 1000, "quality": 0.95}, "glass/4~mm": {"inventory": 30.5}},
    "environment": {"temperature": 21.0, "humidity": 40},
    "orders": [{"item": "panel", "left": None}],
}

T, E, P, D = (f"/production_line/{n}" for n in ("temperature", "energy_consumption", "production_rate", "defect_rate"))
M, Q, GLASS = "/materials/steel/inventory", "/materials/steel/quality", "/materials/glass~14~0mm/inventory"
QUIET = {"noise": False}


def idle() -> dict[str, Any]:
    """The same, but the line does not run."""
    return STATE | {"production_line": STATE["production_line"] | {"status": "idle"}}


def by_hand(steps: int, p: Parameters, *, running: bool) -> dict[str, list[float]]:
    """The issue's formulas without noise, written down a second time."""
    t, e, rate, m, q, d = 30.0, 100.0, 100.0, 1000.0, 0.95, 0.02
    found: dict[str, list[float]] = {place: [] for place in (T, E, P, M, Q, D)}
    for _ in range(steps + 1):
        for place, value in zip(found, (t, e, rate, m, q, d), strict=True):
            found[place].append(value)
        away = abs(t - p.temperature_optimum)
        g = 1 - away / p.temperature_range
        grown = rate * (1 + (p.rate_increment * g - p.rate_loss))
        q = q + p.quality_gain * (p.quality_limit - q) - p.quality_temperature * away - p.quality_rate * rate
        base = p.defect_base + p.defect_temperature * away + p.defect_rate * rate
        d = p.defect_memory * d + (1 - p.defect_memory) * base
        m = max(0.0, m - rate * p.consumption)
        rate = grown if running else p.rate_decay * rate
        e = e + p.energy_increment if running else p.energy_decay * e
        t = t + p.temperature_gain * (p.temperature_target - t)
        q, d = min(1.0, max(0.0, q)), min(1.0, max(0.0, d))
    return found


def _bounds(name: str) -> tuple[float, float, bool, bool]:
    rules = Parameters.model_json_schema()["properties"][name]
    low, high = rules.get("minimum", rules.get("exclusiveMinimum")), rules.get("maximum", rules.get("exclusiveMaximum"))
    return low, high, "exclusiveMinimum" in rules, "exclusiveMaximum" in rules


def _any_value(name: str) -> st.SearchStrategy[Any]:
    if name == "noise":
        return st.booleans()
    if name == "step_seconds":  # a year a step would soon leave the calendar
        return st.floats(1e-6, 86_400)
    low, high, above, below = _bounds(name)
    return st.floats(low, high, exclude_min=above, exclude_max=below)


parameters = st.fixed_dictionaries({}, optional={name: _any_value(name) for name in Parameters.model_fields})
"""Any that are allowed, up to their bounds; the rest are the defaults."""

_fractions, _amounts = st.floats(0, 1), st.floats(0, 1e15) | st.integers(0, 10**15)
_line = st.fixed_dictionaries(
    {"temperature": st.floats(-273.15, 1e15, exclude_min=True)},
    optional={
        "status": st.sampled_from(["running", "idle", "stopped"]),
        "energy_consumption": _amounts,
        "production_rate": _amounts,
        "efficiency": _fractions,
        "defect_rate": _fractions,
    },
)
_material = st.fixed_dictionaries({"inventory": _amounts}, optional={"quality": _fractions})
_names = st.text("ab/~*µ", min_size=1, max_size=3)
states = st.fixed_dictionaries(
    {"timestamp": st.datetimes().map(lambda one: one.replace(year=2000 + one.year % 1000).isoformat() + "Z")},
    optional={
        "production_line": _line,
        "materials": st.dictionaries(_names, _material, max_size=3),
        "environment": st.just({"temperature": 3}),
        "note": st.none() | st.lists(st.integers(0, 9)),
    },
).filter(lambda one: "production_line" in one or bool(one.get("materials")))
"""Any that fit TwinState, and have something to simulate."""
