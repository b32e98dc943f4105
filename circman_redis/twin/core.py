"""DigitalTwin: a state, the sources that feed it, and what can be done with it (docs/twin.md)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from circman_redis.errors import CircmanError, StateConflict, UsageError
from circman_redis.flows import Document
from circman_redis.manager import StateManager
from circman_redis.results import Commit, State
from circman_redis.shown import shown
from circman_redis.twin.branches import Branch, fork
from circman_redis.twin.config import SynchronizationConfig, TwinConfig
from circman_redis.twin.constants import ConstantsService
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.rounds import Rounds
from circman_redis.twin.sources import SourceFunction, SourceStatus
from circman_redis.twin.stopping import stopped_by_signals
from circman_redis.twin.synchronization import SynchronizationManager
from circman_redis.twin.thresholds import Thresholds

if TYPE_CHECKING:
    from circman_redis.twin.parameters import Parameters
    from circman_redis.twin.simulated import SimulationResult

log = logging.getLogger("circman_redis.twin")


class DigitalTwin:
    """A running twin, or one of several workers that make it up: any number of them, in any number of processes.

    Args:
        config: how it is run; None for what the constants say (`ConstantsService`). Its ``log_level`` is that of the
            logger ``circman_redis.twin`` from then on.
        state_manager: whose state it is, and the caller's to close; None for one of ``config.name``, at the server that
            the environment names, which the twin closes.

    Attributes:
        config: how it is run. Where no name was asked for, it has that of the state manager's twin.
        state_manager: the state's.
        rounds: the rounds of this twin in this process; a `SynchronizationManager` shares them.

    Raises:
        UsageError: a value of the constants is not allowed; the state manager is none, or of a twin of another name.
            The other errors are those of `StateManager`.
    """

    def __init__(self, config: TwinConfig | None = None, *, state_manager: StateManager | None = None) -> None:
        given: object = state_manager
        if given is not None and not isinstance(given, StateManager):
            raise UsageError(f"state_manager={shown(given)}: use a StateManager; an AsyncStateManager has other calls")
        self._constants = ConstantsService()
        self.config = _named(config, self._constants, state_manager)
        with ExitStack() as stack:
            self.state_manager = state_manager or stack.enter_context(
                StateManager(self.config.name, history_length=self.config.history_length)
            )
            self.rounds = Rounds(self.state_manager)
            stack.callback(self.rounds.close)
            self._stack = stack.pop_all()
        self._how = _synchronization(self.config, self._constants)
        log.setLevel(self.config.log_level)

    # --- the state ---------------------------------------------------------------------------------------------------

    def initialize(self, initial_state: Document | None = None) -> Commit | None:
        """Makes the first state, where there is none.

        Args:
            initial_state: a JSON object; None for one with nothing but its timestamp.

        Returns:
            The commit; None where there is a state already, be it that another process was faster.

        Raises:
            StateValidationError: with every violation; nothing was changed. The other errors are those of
                `StateManager.set_state`.
        """
        try:
            return self.state_manager.set_state({} if initial_state is None else initial_state, expected_version=0)
        except StateConflict:
            return None

    def register_source(self, name: str, fn: SourceFunction, *, timeout: float | None = None) -> None:
        """Adds a data source, which each update asks.

        Args:
            name: what it goes by; it is in logs and events.
            fn: returns a JSON object: a merge patch (RFC 7396), in which a null removes a member; ``{}`` says nothing.
                It is called on a thread of its own, and not again before it has come back.
            timeout: seconds that it may take; None for those of the constants (``synchronization.timeout``).

        Raises:
            UsageError: there is a source of that name, or an argument is not allowed.
        """
        self.rounds.register(name, fn, timeout)

    def unregister_source(self, name: str) -> None:
        """Removes a data source.

        Raises:
            UsageError: there is none of that name.
        """
        self.rounds.unregister(name)

    @property
    def sources(self) -> Mapping[str, SourceStatus]:
        """How each source does: when it last delivered, what went wrong since, how often."""
        return self.rounds.sources.status

    def update(self, external_data: Document | None = None) -> Commit | None:
        """Asks the sources, and commits what changed as one merge patch: what others change meanwhile stays theirs.

        A source that fails is reported, and the rest go on: so it is where it raises, is late, returns no JSON object,
        or delivers what the twin's rules refuse.

        Args:
            external_data: the caller's own, which goes over the sources': a merge patch, in which a null removes a
                member.

        Returns:
            The commit; None where nothing changed.

        Raises:
            InvalidJSON: ``external_data`` is no JSON object.
            StateValidationError: it breaks the twin's rules; nothing was changed. The other errors are those of
                `StateManager.update_state`.
        """
        return self.rounds.update(external_data, timeout=self._how.timeout)

    def get_current_state(self) -> State:
        """The state, the caller's own copy; empty before the first commit."""
        return self.state_manager.get_current_state()

    def get_state_history(self, limit: int | None = None) -> list[State]:
        """The past states, oldest first: the most recent ``limit`` of them, or all that are kept."""
        return self.state_manager.get_history(limit)

    def save_state(self, path: str | Path | None = None) -> bool:
        """Writes the state to a file; arguments and errors are those of `StateManager.export_state`."""
        return self.state_manager.export_state(path)

    def load_state(self, path: str | Path) -> bool:
        """Commits the state in a file; arguments and errors are those of `StateManager.import_state`."""
        return self.state_manager.import_state(path)

    # --- around the state --------------------------------------------------------------------------------------------

    @property
    def events(self) -> DomainEvents:
        """The domain events of the twin: ``twin.events.subscribe()`` (docs/events.md).

        Raises:
            UsageError: the twin is a branch. The other errors are those of `StateManager`.
        """
        return self.rounds.events

    @property
    def thresholds(self) -> Thresholds:
        """The rules that the twin is watched by: ``twin.thresholds.set(rule)`` (docs/thresholds.md).

        Raises:
            UsageError: the twin is a branch. The other errors are those of `StateManager`.
        """
        return Thresholds(self.state_manager, self.events)

    def simulate(
        self,
        steps: int | None = None,
        parameters: Parameters | Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
    ) -> SimulationResult:
        """Simulates the twin from its current state on, touching nothing; needs the extra ``twin``.

        The summary of the result is published as a domain event, ``simulation_result``; but not of a branch, which has
        none.

        Args:
            steps: how many; None for the configuration's.
            parameters: of the models, by name; what is not among them is as the constants say (``simulation``).
            seed: the same gives the same; None for the constants', and where they have none, one is drawn.

        Returns:
            The result, with its ``states``.

        Raises:
            UsageError: an argument or a parameter is not allowed, or there is nothing to simulate.
            NoState: the twin has no state yet.
        """
        from circman_redis.twin.parameters import Parameters  # noqa: PLC0415 - numpy is an extra
        from circman_redis.twin.simulation import SimulationEngine  # noqa: PLC0415

        usual = self._constants.get_simulation_config()
        if not isinstance(parameters, Parameters):
            parameters = Parameters.of(parameters)  # says what is wrong with the caller's own
            given = parameters.model_dump(exclude_unset=True)
            parameters = Parameters.of({"step_seconds": usual.step_seconds} | dict(usual.parameters) | given)
        engine = SimulationEngine(self.state_manager, recorder=self._publish_result)
        return engine.run_simulation(
            self.config.simulation_steps if steps is None else steps,
            parameters=parameters,
            seed=usual.seed if seed is None else seed,
            record=True,
        )

    def _publish_result(self, result: SimulationResult) -> None:
        try:
            self.rounds.publish("simulation_result", result.summary())
        except CircmanError as error:  # the result is there all the same
            log.warning("twin %r: a simulation's result could not be published: %s", self.config.name, error)

    def fork(self, name: str, version: int | None = None) -> Branch:
        """Makes a what-if branch of the twin; arguments and errors are those of `branches.fork`."""
        return fork(self.state_manager, name, version=version)

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event | None = None, *, paths: Iterable[str] | None = None) -> None:
        """Updates the twin by itself, as ``config.synchronization_mode`` says, until it is told to stop.

        In the main thread SIGTERM and SIGINT tell it so. A round that is under way is committed first. A server that
        does not answer is reported, and waited for.

        Args:
            stop: set to end it.
            paths: JSON Pointers: in mode ``event``, where a change counts; None for anywhere. A string is one path.

        Raises:
            LeaseLost: the role that this thread commits in is another worker's now.
            UsageError: a path is none, or the mode goes by none; or the twin was closed.
        """
        stop = stop or threading.Event()
        loop = SynchronizationManager(self, self._how, paths=paths)
        with stopped_by_signals(stop):
            loop.run(stop)

    def close(self) -> None:
        """Gives back what the twin opened itself. Whatever runs is to be stopped before."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.name!r} of {self.state_manager!r}>"


def _named(config: TwinConfig | None, constants: ConstantsService, manager: StateManager | None) -> TwinConfig:
    """The configuration, with the name of the twin that it is for."""
    wanted = config or constants.get_digital_twin_config()
    if manager is None or wanted.name == manager.twin:
        return wanted
    if config is not None and "name" in config.model_fields_set:
        raise UsageError(
            f"config.name={config.name!r}, and the state manager is of twin {manager.twin!r}: leave out one of them"
        )
    return wanted.model_copy(update={"name": manager.twin})


def _synchronization(config: TwinConfig, constants: ConstantsService) -> SynchronizationConfig:
    """When the twin's sources are asked: what the constants say, at the twin's own frequency and in its own mode."""
    usual = constants.get_synchronization_config()
    return usual.model_copy(update={"mode": config.synchronization_mode, "interval": 1 / config.update_frequency})
