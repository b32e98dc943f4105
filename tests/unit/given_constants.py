"""Constants as tests give them: files, and an environment of these variables only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circman_redis import UsageError
from circman_redis.twin.constants import ConstantsService

Write = Callable[[str | bytes], Path]

OTHERS: dict[tuple[str, str], tuple[str, Any]] = {
    ("digital_twin", "name"): ("plant-7", "plant-7"),
    ("digital_twin", "update_frequency"): ("0.5", 0.5),
    ("digital_twin", "history_length"): ("1_000_000", 1_000_000),
    ("digital_twin", "simulation_steps"): ("1", 1),
    ("digital_twin", "synchronization_mode"): ("event", "event"),
    ("digital_twin", "log_level"): ('"ERROR"', "ERROR"),
    ("simulation", "steps"): ("0x10", 16),
    ("simulation", "step_seconds"): ("1", 1.0),
    ("simulation", "seed"): ("0", 0),
    ("simulation", "parameters"): ("{a = 0.2, T_target = 61}", {"a": 0.2, "T_target": 61.0}),
    ("synchronization", "mode"): ("'manual'", "manual"),
    ("synchronization", "interval"): ("1e3", 1000.0),
    ("synchronization", "timeout"): ("0.1", 0.1),
    ("synchronization", "batch_size"): ("1 # at once", 1),
    ("state_management", "history_length"): ("2", 2),
    ("state_management", "validation"): ("none", "none"),
    ("state_management", "max_bytes"): ("2", 2),
    ("state_management", "durability"): ("replicas:2", "replicas:2"),
    ("thresholds", "rules"): ("[]", ()),
}
"""For each value a text that gives another one, and what it is."""


def constants(file: Any = None, **environment: str) -> ConstantsService:
    """With these variables, less what they all begin with, and no others."""
    return ConstantsService(file, environment={f"CIRCMAN_CONSTANTS_{name}": text for name, text in environment.items()})


def refused(file: Any = None, **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        constants(file, **environment)
    return str(caught.value)
