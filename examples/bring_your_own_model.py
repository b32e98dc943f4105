"""A twin of something else: a battery, with a model, rules, physics and a threshold of its own."""

import subprocess
import sys
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from circman_redis import StateManager
from circman_redis.twin import DigitalTwin, SimulationEngine, Step, ThresholdObserver, ThresholdRule

TWIN = "battery"
CAPACITY, POWER = 200.0, -80.0  # kWh, kW


class Storage(BaseModel):
    charge: Annotated[float, Field(ge=0, le=1)]  # the part of the capacity that is there
    power: Annotated[float, Field(ge=-100, le=100)] = 0.0  # kW; what is taken out is below 0
    mode: Literal["charging", "discharging", "idle"] = "idle"


class Module(BaseModel):
    temperature: Annotated[float, Field(gt=-40, lt=90)]  # °C


class Battery(BaseModel):
    storage: Storage
    modules: dict[str, Module]


def charge(step: Step) -> np.ndarray:
    """What the power makes of the charge in one step; a battery that is empty, or full, stays so."""
    hours = step.parameters.step_seconds / 3600
    return np.clip(step["/storage/charge"] + step["/storage/power"] * hours / CAPACITY, 0.0, 1.0)


def temperature(step: Step) -> np.ndarray:
    """Each module is warmed by the square of the power, and cooled towards 25 °C."""
    now = step["/modules/*/temperature"]
    warmed = 2e-5 * np.square(step["/storage/power"])
    return now + warmed + 0.01 * (25.0 - now) + 0.02 * step.normal("/modules/*/temperature")


with StateManager(TWIN, model=Battery) as manager, DigitalTwin(state_manager=manager) as twin:
    manager.delete()  # what a run that was cut short may have left
    twin.initialize(
        {
            "storage": {"charge": 0.9, "power": POWER, "mode": "discharging"},
            "modules": {"a": {"temperature": 31.5}, "b": {"temperature": 30.0}},
        }
    )

    # The rules stand in Redis beside the state, and bind every writer: this one has never heard of a Battery.
    command = [sys.executable, "-m", "circman_redis.cli", "update", "--twin", TWIN, '{"storage": {"charge": 1.2}}']
    stranger = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    assert stranger.returncode
    assert "/storage/charge" in stranger.stderr
    print("a writer without the model:", stranger.stderr.strip())
    assert twin.get_current_state()["storage"]["charge"] == 0.9  # nothing was changed

    # The engine brings models of a production line, which find nothing to move here. A battery brings its own.
    engine = SimulationEngine(manager)
    engine.register_model("charge", "/storage/charge", charge)
    engine.register_model("temperature", "/modules/*/temperature", temperature)
    future = engine.run_simulation(steps=180, seed=7)
    left, warmth = future.quantities["/storage/charge"], future.quantities["/modules/a/temperature"]
    empty = int(np.argmax(left == 0.0))
    assert empty in {135, 136}  # 180 kWh at 80 kW last for 135 minutes, give or take a rounding
    print(f"at {POWER} kW it is empty in {empty} minutes; module a has {warmth[empty]:.1f} °C then")

    # A threshold: raised once and cleared once, however many observers there are. Between 40 and 45 it stays as it was.
    pointer = "/modules/a/temperature"
    hot = ThresholdRule(name="module-a-hot", pointer=pointer, comparison="greater_than", value=45, hysteresis=5)
    twin.thresholds.set(hot)
    turning = twin.events.subscribe(kinds=["threshold_breached", "threshold_cleared"], timeout=30)
    with ThresholdObserver(manager, twin.events), turning:
        for reading in (44.0, 46.5, 43.0, 47.0, 39.5):
            twin.update({"modules": {"a": {"temperature": reading}}})
        turns = [next(turning), next(turning)]
    told = [(turn.kind, turn.data["value"]) for turn in turns]
    assert told == [("threshold_breached", 46.5), ("threshold_cleared", 39.5)]
    for turn in turns:
        print(f"{turn.kind} by {turn.data['pointer']} = {turn.data['value']}")

    assert manager.verify() == []
    manager.delete()
