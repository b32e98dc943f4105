"""What the run does itself while the workers work: it kills one of them, and merges a what-if branch back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from circman_redis.demo import factory
from circman_redis.demo.crew import Crew
from circman_redis.demo.verify import Acknowledged
from circman_redis.errors import CircmanError, StateConflict, StateError, StoreUnavailable
from circman_redis.manager import StateManager
from circman_redis.twin.branches import Branch, fork
from circman_redis.twin.interface import HumanInterface
from circman_redis.twin.leases import holders

OPERATOR = "operator"
BRANCH = "what-if-1"
TARGET = "/parameters/temperature_target"
RATE = "/production_line/production_rate"
STEPS = 120

KILL_AT, FORK_AT = 0.25, 0.5
"""When, as parts of the run."""


@dataclass(slots=True)
class Story:
    """What happens, each thing once.

    Args:
        manager: the twin's.
        crew: the workers.
        seconds: how long the run is.
        commit_id: that of the merge.

    Attributes:
        merged: the merge, as it was acknowledged.
        told: what there is to say of the branch at the end.
        failures: what could not be done.
    """

    manager: StateManager
    crew: Crew
    seconds: float
    commit_id: str
    merged: Acknowledged | None = None
    told: str = ""
    failures: list[str] = field(default_factory=list)
    _next: int = 0

    def go_on(self, elapsed: float) -> Iterator[str]:
        """Does what is due; what there is to say of it. What a server that is away does not let it do, is done later.

        Args:
            elapsed: seconds since the run began.
        """
        acts = ((KILL_AT, self._kill), (FORK_AT, self._what_if))
        while self._next < len(acts) and elapsed >= acts[self._next][0] * self.seconds:
            try:
                yield from acts[self._next][1]()
            except StoreUnavailable as error:
                self.told = f"{BRANCH}: {error}"
                return
            except CircmanError as error:
                self.failures.append(f"{BRANCH}: {error}")
                yield self.failures[-1]
            self._next += 1

    def _kill(self) -> Iterator[str]:
        movers = [worker for worker in self.crew.workers if worker.role.kind == "production"]
        held = {one.holder for one in holders(self.manager) if one.role == "production"}
        holder = next((worker for worker in movers if worker.role.name in held), None)
        if holder is None or len(movers) < 2:  # noqa: PLR2004 - somebody has to stand by
            return
        holder.kill()
        standing_by = next(worker.role.name for worker in movers if worker is not holder)
        yield f"{holder.role.name}, who moves the line, is killed (-9); {standing_by} stands by"

    def _what_if(self) -> Iterator[str]:
        branch = self._branch()
        with branch.manager:
            before = _rate_of(branch)
            answer = HumanInterface(branch.manager).set_target(TARGET, factory.BEST, operator=OPERATOR)
            if not answer.done:
                raise (StateError if answer.violations else StoreUnavailable)(answer.error or "")
            after = _rate_of(branch)
            yield f"{BRANCH}, forked from version {branch.origin.version}: in {STEPS} steps {after:.0f} units/h at " + (
                f"{factory.BEST} °C, and {before:.0f} at {factory.TOO_HOT} °C"
            )
            made = branch.merge_back(actor=OPERATOR, commit_id=self.commit_id)
        if made is None:
            self.failures.append(f"{BRANCH} had nothing to merge back")
            return
        self.merged = Acknowledged(made.version, made.epoch, self.commit_id, OPERATOR)
        self.told = f"{BRANCH}: forked from version {branch.origin.version}, merged back as version {made.version}"
        yield f"{BRANCH} is merged back as version {made.version}"

    def _branch(self) -> Branch:
        """The branch; it may be there, where the answer to an attempt before was lost."""
        try:
            return fork(self.manager, BRANCH, actor=OPERATOR)
        except StateConflict:
            return Branch(self.manager.branch(BRANCH), self.manager)


def _rate_of(branch: Branch) -> float:
    """What the line of a branch would make after some steps, in units per hour, on average of some runs."""
    from circman_redis.twin.simulation import SimulationEngine  # noqa: PLC0415 - numpy is an extra

    snapshot = branch.manager.snapshot()
    parameters = snapshot.state["parameters"]
    found = SimulationEngine().run_ensemble(20, STEPS, snapshot, parameters, seed=1)
    return float(found.mean[RATE][-1])
