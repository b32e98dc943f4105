"""What a worker of a twin may do: the roles, each as one turn of its work (docs/workers.md)."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from circman_redis.errors import StateValidationError, StoreUnavailable
from circman_redis.frozen import EMPTY
from circman_redis.journal import Journal
from circman_redis.manager import StateManager
from circman_redis.patch import merge, resolve
from circman_redis.results import Commit, Snapshot, State
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.weather import measured_hours

if TYPE_CHECKING:
    from circman_redis.twin.simulated import SimulationResult

PARAMETERS = "/parameters"
"""Where a twin's state has those of the models that are other than their defaults: what an operator may set."""

RESTOCK = 1000
"""Units of a material that are put in, once the rules say that there are not as many as the line takes."""

AGAIN = 1.0
"""Seconds until a commit is sent again whose outcome is not known."""

SMALL_ENSEMBLE = 20
"""Runs of a simulation."""

STOCK = ("silicon_wafer", "solar_glass", "eva_film", "junction_box")


@dataclass(slots=True)
class Desk:
    """Where a role is worked at.

    Attributes:
        manager: the twin's.
        events: its domain events.
        worker: who works; the actor of what is committed.
        role: as what; the end of the ids of what is committed.
        rng: for its random choices.
        stop: set to stop.
        told: is told of each commit that was acknowledged, with the units that it took out of stock.
        refused: is told of each commit that the rules refused for lack of stock, with the materials.
        journal: where each commit is logged, if anywhere.
        steps: of a simulation.
    """

    manager: StateManager
    events: DomainEvents
    worker: str
    role: str
    rng: random.Random
    stop: threading.Event
    told: Callable[[Commit, str, Mapping[str, int]], None]
    refused: Callable[[Sequence[str]], None]
    journal: Journal | None = None
    steps: int = 60
    simulated: str = ""  # the position of the state that was, last
    done: int = 0  # what was committed, and said

    def commit(self, send: Callable[..., Commit], change: object, taken: Mapping[str, int] = EMPTY) -> Commit:
        """Commits once: where the outcome is not known, the same commit is sent until it is.

        Args:
            send: ``update_state``, ``adjust`` or ``modify`` of the manager.
            change: what it takes.
            taken: the units that it takes out of stock, by material.

        Raises:
            StoreUnavailable: it is not known, and there is no more time.
            RetryExpired: it is not known, and nobody can tell any more.
        """
        # One that says when it was made: said again after it was forgotten, it is refused and not made twice.
        commit_id = f"{self.manager.new_commit_id()}/{self.role}"
        while True:
            try:
                made = self._logged(send, change, commit_id)
            except StoreUnavailable:
                if self.stop.wait(AGAIN):
                    raise
            else:
                self.done += 1
                self.told(made, commit_id, taken)
                return made

    def _logged(self, send: Callable[..., Commit], change: object, commit_id: str) -> Commit:
        if self.journal is None:
            return send(change, actor=self.worker, commit_id=commit_id)
        with self.journal.commit(commit_id) as note:
            made = send(change, actor=self.worker, commit_id=commit_id)
            note(made)
        return made


@dataclass(frozen=True, slots=True)
class Role:
    """A part of the work on a twin.

    Attributes:
        name: such as ``production``.
        turn: one turn of it; None for the one that follows the commits, ``monitor``.
        single: whether one worker at a time has it: others stand by.
        missing: the merge patch that gives a state what the role needs, and the state has not; empty for none.
    """

    name: str
    turn: Callable[[Desk, Snapshot], None] | None
    single: bool = True
    missing: Callable[[State], State] = lambda state: {}  # noqa: ARG005 - most roles need nothing


# --- turns -----------------------------------------------------------------------------------------------------------


def take_turn(desk: Desk, role: Role) -> None:
    """One turn of a role that has turns; what it needs, and the state has not, is put there before."""
    snapshot = desk.manager.snapshot()
    if role.missing(snapshot.state):
        # On the very state that it is missing in: another worker may be faster.
        desk.commit(desk.manager.modify, lambda state: merge(state, role.missing(state)))
        snapshot = desk.manager.snapshot()
    if role.turn:
        role.turn(desk, snapshot)


def environment(desk: Desk, now: Snapshot) -> None:
    """The next hour of the measured weather, from wherever the last one got to."""
    measured_at = resolve(now.state, "/environment/measured_at", None)
    desk.commit(desk.manager.update_state, {"environment": next_hour(_hours(), measured_at)})


def production(desk: Desk, now: Snapshot) -> None:
    """One step of the line: its temperature, the energy that it took, and what it makes."""
    step = _step(desk, now.state)
    stepped = step.state(1)["production_line"]
    line = {name: _rounded(stepped[name]) for name in ("temperature", "energy_consumption", "production_rate")}
    limit = step.parameters.rate_limit
    line["efficiency"] = _rounded(min(1.0, line["production_rate"] / limit)) if limit else 0.0
    desk.commit(desk.manager.update_state, {"production_line": line})


def quality(desk: Desk, now: Snapshot) -> None:
    """One step of the quality of what is made, and of what is in stock."""
    stepped = _step(desk, now.state).state(1)
    change: State = {"production_line": {"defect_rate": _rounded(stepped["production_line"]["defect_rate"])}}
    stock = {
        name: {"quality": _rounded(one["quality"])}
        for name, one in stepped.get("materials", {}).items()
        if "quality" in one
    }
    desk.commit(desk.manager.update_state, change | ({"materials": stock} if stock else {}))


def materials(desk: Desk, now: Snapshot) -> None:
    """Takes what the line uses in a step out of stock; puts in what the rules, inside the commit, say is not there."""
    state = now.state
    if resolve(state, "/production_line/status", "running") != "running":
        return
    used = resolve(state, "/production_line/production_rate", 0.0) * _parameters(state).consumption
    taken = {name: int(used + desk.rng.random()) for name in state.get("materials", {})}
    taken = {name: units for name, units in taken.items() if units}
    if not taken:
        return
    try:
        _take(desk, taken)
    except StateValidationError as refusal:
        short = short_of(refusal, taken)
        desk.refused(short)
        _take(desk, dict.fromkeys(short, -RESTOCK))


def simulation(desk: Desk, now: Snapshot) -> None:
    """Simulates the twin from its state on, and says what would become of it; once for each state that has a line."""
    has_line = now.state.get("production_line") or now.state.get("materials")
    if now.position == desk.simulated or not has_line:
        return
    from circman_redis.twin.simulation import SimulationEngine  # noqa: PLC0415 - numpy is an extra

    found = SimulationEngine().run_ensemble(SMALL_ENSEMBLE, desk.steps, now, _parameters(now.state))
    desk.events.publish("simulation_result", found.summary(), actor=desk.worker)
    desk.simulated = now.position
    desk.done += 1


def _of_line(**readings: Any) -> Callable[[State], State]:
    def missing(state: State) -> State:
        there = resolve(state, "/production_line", {})
        absent = {name: value for name, value in readings.items() if name not in there}
        return {"production_line": absent} if absent else {}

    return missing


def _of_stock(state: State) -> State:
    return {} if state.get("materials") else {"materials": {name: {"inventory": RESTOCK} for name in STOCK}}


_A_LINE = {"status": "running", "temperature": 22.5, "energy_consumption": 0.0, "production_rate": 100.0}

ROLES: Mapping[str, Role] = {
    role.name: role
    for role in (
        Role("environment", environment),
        Role("production", production, missing=_of_line(**_A_LINE)),
        Role("materials", materials, single=False, missing=_of_stock),
        Role("quality", quality, missing=_of_line(defect_rate=0.02)),
        Role("simulation", simulation),
        Role("monitor", None, single=False),
    )
}
"""The roles by name."""


# --- pure ------------------------------------------------------------------------------------------------------------


def next_hour(hours: Sequence[State], measured_at: object) -> State:
    """The hour after the one that was measured then; the first, where there is none such."""
    here = next((place for place, hour in enumerate(hours) if hour["measured_at"] == measured_at), -1)
    return hours[(here + 1) % len(hours)]


def short_of(refusal: StateValidationError, taken: Mapping[str, int]) -> list[str]:
    """The materials whose stock would have gone below zero.

    Raises:
        StateValidationError: it is about anything else.
    """
    places = {f"/materials/{name}/inventory": name for name in taken}
    short = [one for one in refusal.violations if one.pointer in places and one.rule == {"minimum": 0}]
    if len(short) != len(refusal.violations):
        raise refusal
    return [places[one.pointer] for one in short]


@cache
def _hours() -> list[State]:
    return measured_hours()


def _rounded(value: float) -> float:
    return round(value, 4)


def _parameters(state: Mapping[str, Any]) -> Any:
    from circman_redis.twin.parameters import Parameters  # noqa: PLC0415 - pydantic makes its model

    return Parameters.of(resolve(state, PARAMETERS, None))


# --- steps -----------------------------------------------------------------------------------------------------------


def _step(desk: Desk, state: State) -> SimulationResult:
    """One step of the models from a state on."""
    from circman_redis.twin.simulation import SimulationEngine  # noqa: PLC0415 - numpy is an extra

    return SimulationEngine().run_simulation(1, state, _parameters(state), seed=desk.rng.getrandbits(32))


def _take(desk: Desk, taken: Mapping[str, int]) -> None:
    """Takes units out of stock, all or none; puts in those below zero."""
    deltas = {f"/materials/{name}/inventory": -units for name, units in taken.items()}
    desk.commit(desk.manager.adjust, deltas, taken)
