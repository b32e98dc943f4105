"""The factory of the demo: what it starts with, who works in it and how fast, and how its twin is told from others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circman_redis.errors import UsageError

MADE_BY = "circman-redis demo"

MATERIALS = {"silicon_wafer": 10_000, "solar_glass": 4_000, "eva_film": 2_000, "junction_box": 500}
"""Units in stock at the start, and what one restocking brings. The last ones run out within a second or two."""

HISTORY_LENGTH = 200_000
"""Every commit has to be there at the end, to be read back."""

VALIDATION = "standard"
"""The level of the twin's rules: what is known is checked, what is not (the irradiance) is let in."""

MOST_COMMITS = 60_000
"""What a run aims at, at most: a long one is slower, so that its history fits the server's memory."""

MOST_PER_SECOND = 800.0
"""What all workers together aim at, at most: more workers then work more slowly each."""

PER_SECOND = {"environment": 25.0, "line": 100.0, "consumer": 130.0}
"""Commits per second that one worker of a kind aims at."""


@dataclass(frozen=True, slots=True)
class Role:
    """One worker's part.

    Attributes:
        name: the actor of its commits, such as ``consumer-2``.
        kind: environment, line or consumer.
        per_second: commits per second to aim at.
    """

    name: str
    kind: str
    per_second: float


def roles(workers: int, seconds: float) -> list[Role]:
    """Who works: the environment, the line, and consumers. The first consumer comes before the other two.

    Args:
        workers: how many, at least 1.
        seconds: how long they will work.
    """
    kinds = ["environment", "line", "consumer"] if workers > 2 else ["environment", "consumer"][-workers:]  # noqa: PLR2004
    kinds += ["consumer"] * (workers - len(kinds))
    wanted = sum(PER_SECOND[kind] for kind in kinds)
    slower = min(1.0, MOST_PER_SECOND / wanted, MOST_COMMITS / (wanted * seconds))
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
        "environment": {},
        "production_line": {"status": "running"},
        "materials": {name: {"inventory": units} for name, units in MATERIALS.items()},
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
