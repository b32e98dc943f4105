"""A worker of a twin: a process with some roles, present as long as it works (docs/workers.md)."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from circman_redis.errors import CircmanError, LeaseLost, UsageError
from circman_redis.journal import Journal
from circman_redis.manager import StateManager
from circman_redis.results import Commit
from circman_redis.shown import shown
from circman_redis.twin import roles
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.leases import Lease
from circman_redis.twin.presence import Presence, check_name
from circman_redis.twin.reports import Told
from circman_redis.twin.roles import ROLES, Desk, Role
from circman_redis.twin.synchronization import ticks
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.thresholds import ThresholdObserver, Thresholds

log = logging.getLogger("circman_redis.twin")

GLANCE = 0.1
"""Seconds between two looks at whether to stop."""

AGAIN = 1.0
"""Seconds until a monitor that failed begins anew."""

LONGEST = 2000
"""Characters of an error that are published."""


def _nobody(*_: object) -> None:
    """Told of something that nobody wants to know."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker works.

    Attributes:
        name: its name: 1 to 128 of ``A-Z a-z 0-9 _ . : -``. It is the actor of its commits.
        roles: what it does: some of `ROLES`.
        rate: turns per second, above 0.
        ttl: seconds without a word after which it counts as gone, and its roles are free.
        seed: of its random choices; None for others each time.
        steps: of each simulation.
        rules: the thresholds that a monitor puts there, where there are none of their names.
    """

    name: str
    roles: tuple[str, ...]
    rate: float = 1.0
    ttl: float = 10.0
    seed: int | None = None
    steps: int = 60
    rules: tuple[ThresholdRule, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        unknown = [one for one in self.roles if one not in ROLES]
        if unknown or not self.roles:
            raise UsageError(f"roles={shown(list(self.roles))}: use some of {', '.join(ROLES)}")
        if not 0 < self.rate <= 1e6:  # noqa: PLR2004 - as often as a clock can tell
            raise UsageError(f"rate={shown(self.rate)}: use a number of turns per second above 0")


class TwinWorker:
    """Works on a twin, each role on a thread of its own. One that another worker has is waited for.

    Args:
        manager: the twin's.
        config: how.
        told: is told of each commit that was acknowledged: the commit, its id, and the units taken out of stock.
        refused: is told of each commit that the rules refused for lack of stock, with the materials.
        journal: where each commit is logged, if anywhere (docs/audit.md).
    """

    def __init__(
        self,
        manager: StateManager,
        config: WorkerConfig,
        *,
        told: Callable[[Commit, str, Mapping[str, int]], None] = _nobody,
        refused: Callable[[Sequence[str]], None] = _nobody,
        journal: Journal | None = None,
    ) -> None:
        self._manager, self.config, self._journal = manager, config, journal
        self._told_of, self._refused = told, refused
        self._troubles = Told()
        self._failures: list[BaseException] = []

    def run(self, stop: threading.Event) -> None:
        """Works until it is told to stop.

        Args:
            stop: set to stop.

        Raises:
            UsageError: another worker has taken its name over.
            CircmanError: the twin cannot be had.
        """
        name = self.config.name
        with (
            DomainEvents(self._manager) as events,
            Presence(self._manager, events, name, self.config.roles, ttl=self.config.ttl) as presence,
        ):
            over = threading.Event()
            threads = [
                threading.Thread(target=self._watched, args=(ROLES[role], events, over), name=f"{name} {role}")
                for role in dict.fromkeys(self.config.roles)
            ]
            try:
                for one in threads:
                    one.start()
                while not stop.wait(GLANCE) and not self._failures and not presence.replaced.is_set():
                    pass
            finally:
                over.set()
                for one in threads:
                    one.join()
            if self._failures:
                raise self._failures[0]
            if presence.replaced.is_set():
                raise UsageError(f"another worker took over the name {name!r}: give each its own")

    def _watched(self, role: Role, events: DomainEvents, over: threading.Event) -> None:
        try:
            self._work(role, events, over)
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._failures.append(error)

    def _work(self, role: Role, events: DomainEvents, over: threading.Event) -> None:
        if role.turn is None:
            self._observe(events, over)
            return
        desk = self._desk(role, events, over)
        while not over.is_set():
            try:
                if role.single:
                    self._while_held(role, desk)
                else:
                    self._turns(role, desk)
            except LeaseLost as error:  # somebody else has it, so this one stands by
                log.warning("worker %r stands by: %s", self.config.name, error)
                over.wait(GLANCE)
            except CircmanError as error:
                self._report(role, events, error)
                over.wait(min(1.0, self.config.ttl / 3))

    def _observe(self, events: DomainEvents, over: threading.Event) -> None:
        observer = ThresholdObserver(self._manager, events, actor=self.config.name)
        for _ in ticks(AGAIN, over):
            try:
                Thresholds(self._manager, events).add(*self.config.rules, actor=self.config.name)
                observer.run(over)
            except CircmanError as error:
                self._report(ROLES["monitor"], events, error)

    def _desk(self, role: Role, events: DomainEvents, over: threading.Event) -> Desk:
        # Random choices for a show and for load: nothing depends on them being secret.
        rng = random.Random(None if self.config.seed is None else f"{self.config.seed} {role.name}")  # noqa: S311
        return Desk(
            self._manager,
            events,
            self.config.name,
            role.name,
            rng,
            over,
            self._told_of,
            self._refused,
            journal=self._journal,
            steps=self.config.steps,
        )

    def _while_held(self, role: Role, desk: Desk) -> None:
        lease = Lease(self._manager, role.name, self.config.name, ttl=self.config.ttl)
        while not lease.take():
            if desk.stop.wait(min(1.0, self.config.ttl / 3)):
                return
        with lease.kept():
            self._turns(role, desk, lease)

    def _turns(self, role: Role, desk: Desk, lease: Lease | None = None) -> None:
        for _ in ticks(1 / self.config.rate, desk.stop):
            if lease and not lease.held:  # a turn may have nothing to commit, and so nobody to tell it
                return
            before = desk.done
            try:
                roles.take_turn(desk, role)
            except (LeaseLost, ModuleNotFoundError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever somebody wrote into the state: until it is mended
                if desk.stop.is_set():
                    return
                self._report(role, desk.events, error)
            else:
                if desk.done > before and self._troubles.ends(role.name):
                    log.info("worker %r: the role %r goes on", self.config.name, role.name)

    def _report(self, role: Role, events: DomainEvents, error: Exception) -> None:
        why = str(error) if isinstance(error, CircmanError) else f"{type(error).__name__}: {error}"
        if not self._troubles.begins(role.name, why):
            return
        log.warning("worker %r: the role %r fails, trying again: %s", self.config.name, role.name, why)
        with suppress(CircmanError):  # it is in the log
            events.publish("error", {"source": role.name, "error": why[:LONGEST]}, actor=self.config.name)
