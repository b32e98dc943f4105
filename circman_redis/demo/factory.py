"""The factory of the demo: what it starts with, who works in it and how fast, and how its twin is told from others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circman_redis.errors import UsageError
from circman_redis.twin.threshold_rule import ThresholdRule

MADE_BY = "circman-redis demo"

MATERIALS = {"silicon_wafer": 10_000, "solar_glass": 4_000, "eva_film": 2_000, "junction_box": 500}
"""Units in stock at the start. The last ones run out within a second or two."""

HISTORY_LENGTH = 200_000
"""Every commit has to be there at the end, to be read back."""

TTL = 2.0
"""Seconds without a word after which a worker counts as gone, and its roles are free."""

VALIDATION = "standard"
"""The level of the twin's rules: what is known is checked, what is not (the irradiance) is let in."""

MOST_COMMITS = 60_000
"""What a run aims at, at most: a long one is slower, so that its history fits the server's memory."""

MOST_PER_SECOND = 800.0
"""What all workers together aim at, at most: more workers then work more slowly each."""

PER_SECOND = {"environment": 15.0, "production": 40.0, "quality": 25.0, "materials": 130.0, "monitor": 0.0}
"""Commits per second that one worker of a kind aims at; a monitor judges those of the others."""

KINDS = ("materials", "environment", "monitor", "production", "quality", "production")
"""Who comes first, where there are few workers. The sixth stands by, for the one who moves the line."""

TOO_HOT, BEST = 26.0, 22.5
"""Degrees Celsius that the line is set to at first, and those that a what-if branch finds to be better."""

BEFORE_NOON = "1981-07-07T09:00:00-05:00"
"""Where the weather begins: some hours before it is hot."""

RULES = (
    ThresholdRule(
        name="line-hot",
        pointer="/production_line/temperature",
        comparison="greater_than",
        value=25.0,
        severity="critical",
        hysteresis=1.0,
    ),
    ThresholdRule(
        name="hot-outside",
        pointer="/environment/temperature",
        comparison="greater_than",
        value=32.0,
        hysteresis=4.0,
    ),
)
"""What the monitors judge by: the one is breached by the line as it is set, the other by the weather."""


@dataclass(frozen=True, slots=True)
class Role:
    """One worker's part.

    Attributes:
        name: the actor of its commits, such as ``materials-2``.
        kind: environment, production, quality, materials or monitor.
        per_second: commits per second to aim at.
    """

    name: str
    kind: str
    per_second: float


def roles(workers: int, seconds: float) -> list[Role]:
    """Who works: the first of `KINDS`, and as many more for the materials as there are to be.

    Args:
        workers: how many, at least 1.
        seconds: how long they will work.
    """
    wanted = Counter([*KINDS[:workers], *["materials"] * (workers - len(KINDS))])
    kinds = [kind for kind in PER_SECOND for _ in range(wanted[kind])]
    # Of several who move the line, one does and the others stand by.
    total = sum(PER_SECOND[kind] * (number if kind == "materials" else 1) for kind, number in wanted.items())
    slower = min(1.0, MOST_PER_SECOND / max(total, 1.0), MOST_COMMITS / max(total * seconds, 1.0))
    return [
        Role(f"{kind}-{kinds[:place].count(kind) + 1}", kind, PER_SECOND[kind] * slower)
        for place, kind in enumerate(kinds)
    ]


def initial_state(run: str) -> dict[str, Any]:
    """Version 1 of the twin, with the mark that says whose it is.

    Args:
        run: what tells this run from others.
    """
    return {
        "system_status": "running",
        "environment": {"measured_at": BEFORE_NOON},
        "production_line": {
            "status": "running",
            "temperature": BEST,
            "energy_consumption": 0.0,
            "production_rate": 130.0,
            "efficiency": 0.65,
            "defect_rate": 0.02,
        },
        "materials": {name: {"inventory": units, "quality": 0.95} for name, units in MATERIALS.items()},
        "parameters": {"temperature_target": TOO_HOT, "consumption": 0.05},
        "demo": {"made_by": MADE_BY, "run": run},
    }


def is_demo(state: dict[str, Any]) -> bool:
    """Whether a state is that of a twin that the demo made, and may make anew."""
    mark = state.get("demo")
    return isinstance(mark, dict) and mark.get("made_by") == MADE_BY


def inventory(state: Mapping[str, Any], material: str) -> Any:
    """The units of a material in a state; None where there is no such thing."""
    materials = state.get("materials")
    stock = materials.get(material) if isinstance(materials, dict) else None
    return stock.get("inventory") if isinstance(stock, dict) else None


def check_arguments(workers: int, seconds: float) -> None:
    """Checks the arguments of a run.

    Raises:
        UsageError: for a number that is not allowed.
    """
    if workers < 1:
        raise UsageError(f"workers={workers}: use at least 1")
    if not 0 < seconds < math.inf:
        raise UsageError(f"seconds={seconds:g}: use a number above 0")
