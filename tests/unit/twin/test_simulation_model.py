"""A twin with a model of its own is simulated by its own rules; any other state by TwinState's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from circman_redis import StateManager, StateValidationError
from circman_redis.twin.models import Step
from circman_redis.twin.simulation import SimulationEngine
from tests.servers import Server


class Oven(BaseModel):
    """Its temperature is a text, which TwinState does not allow; no timestamp, and no name that it does not know."""

    model_config = ConfigDict(extra="forbid")

    production_line: dict[str, str]
    heat: Annotated[float, Field(ge=0, le=50)]
    panels: Annotated[int, Field(ge=0)] = 0


STATE: dict[str, Any] = {"production_line": {"temperature": "warm"}, "heat": 20.0, "panels": 4}


@pytest.fixture
def oven(server: Server, twin_id: str) -> Iterator[StateManager]:
    """The twin, whose rules are all in force."""
    how: dict[str, Any] = {"model": Oven, "validation": "strict", "auto_timestamp": False}
    with StateManager(twin_id, url=server.url, **how) as manager:
        manager.set_state(STATE)
        yield manager


def engine_of(manager: StateManager | None, pointer: str, gain: float) -> SimulationEngine:
    """Adds so much to a place in each step."""

    def more(step: Step) -> Any:
        return step[pointer] + gain

    engine = SimulationEngine(manager)
    engine.register_model("more", pointer, more)
    return engine


def test_it_is_simulated_by_its_own_rules(oven: StateManager) -> None:
    """Its state, and a snapshot of it; a state from elsewhere has to fit TwinState."""
    engine = engine_of(oven, "/heat", 2.0)
    result = engine.run_simulation(15)
    assert result.quantities["/heat"][-1] == 50.0
    assert result.states[0].items() >= STATE.items()
    assert engine.run_simulation(15, oven.snapshot()).version == 1
    for other, given in ((engine, STATE), (engine_of(None, "/heat", 2.0), oven.snapshot())):
        with pytest.raises(StateValidationError, match="/production_line/temperature"):
            other.run_simulation(15, given)


def test_a_model_that_leaves_them_is_refused(oven: StateManager) -> None:
    """Above, below, or between whole numbers in the middle of a run."""
    with pytest.raises(StateValidationError, match=r"led to a state that is none: /heat: 52.0 breaks maximum 50"):
        engine_of(oven, "/heat", 2.0).run_simulation(16)
    with pytest.raises(StateValidationError, match=r"/heat: -20.0 breaks minimum 0"):
        engine_of(oven, "/heat", -20.0).run_simulation(2)
    assert engine_of(oven, "/panels", 2).run_simulation(3).quantities["/panels"][-1] == 10
    with pytest.raises(StateValidationError, match=r"/panels: \d.5 breaks type 'integer'"):
        engine_of(oven, "/panels", 0.5).run_simulation(4)


def test_a_state_that_broke_them_before_is_refused(oven: StateManager) -> None:
    class Colder(Oven):
        heat: Annotated[float, Field(le=10)]

    oven.publish_model(Colder, force=True)
    with pytest.raises(StateValidationError, match=r"starts from: /heat: 20.0 breaks maximum 10"):
        engine_of(oven, "/heat", 0.0).run_simulation(1)
    oven.publish_model(Colder, validation="none", force=True)
    assert engine_of(oven, "/heat", 0.0).run_simulation(1).version == 1
