"""What stands around the state; all, some or none of it. Each name is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circman_redis.twin.async_domain import AsyncDomainEvents
    from circman_redis.twin.branches import AsyncBranch, Branch, async_fork, fork
    from circman_redis.twin.config import SimulationConfig, StateManagementConfig, SynchronizationConfig, TwinConfig
    from circman_redis.twin.constants import ConstantsService
    from circman_redis.twin.core import DigitalTwin
    from circman_redis.twin.domain import DomainEvent, DomainEvents
    from circman_redis.twin.interface import AsyncHumanInterface, HumanInterface
    from circman_redis.twin.kpis import Kpis
    from circman_redis.twin.leases import AsyncLease, Lease, async_holders, holders
    from circman_redis.twin.models import Step
    from circman_redis.twin.parameters import Parameters
    from circman_redis.twin.presence import Presence, workers
    from circman_redis.twin.simulated import EnsembleResult, SimulationResult
    from circman_redis.twin.simulation import SimulationEngine
    from circman_redis.twin.synchronization import SynchronizationManager
    from circman_redis.twin.threshold_rule import ThresholdRule
    from circman_redis.twin.thresholds import ThresholdObserver, Thresholds
    from circman_redis.twin.worker import TwinWorker, WorkerConfig

# Where each name lives: whoever wants thresholds does not pay for numpy.
_HOMES = {
    "async_domain": ("AsyncDomainEvents",),
    "branches": (
        "AsyncBranch",
        "Branch",
        "async_fork",
        "fork",
    ),
    "config": (
        "SimulationConfig",
        "StateManagementConfig",
        "SynchronizationConfig",
        "TwinConfig",
    ),
    "constants": ("ConstantsService",),
    "core": ("DigitalTwin",),
    "domain": (
        "DomainEvent",
        "DomainEvents",
    ),
    "interface": (
        "AsyncHumanInterface",
        "HumanInterface",
    ),
    "kpis": ("Kpis",),
    "leases": (
        "AsyncLease",
        "Lease",
        "async_holders",
        "holders",
    ),
    "models": ("Step",),
    "parameters": ("Parameters",),
    "presence": (
        "Presence",
        "workers",
    ),
    "simulated": (
        "EnsembleResult",
        "SimulationResult",
    ),
    "simulation": ("SimulationEngine",),
    "synchronization": ("SynchronizationManager",),
    "threshold_rule": ("ThresholdRule",),
    "thresholds": (
        "ThresholdObserver",
        "Thresholds",
    ),
    "worker": (
        "TwinWorker",
        "WorkerConfig",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # which then knows the names above, and no others

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


__all__ = [
    "AsyncBranch",
    "AsyncDomainEvents",
    "AsyncHumanInterface",
    "AsyncLease",
    "Branch",
    "ConstantsService",
    "DigitalTwin",
    "DomainEvent",
    "DomainEvents",
    "EnsembleResult",
    "HumanInterface",
    "Kpis",
    "Lease",
    "Parameters",
    "Presence",
    "SimulationConfig",
    "SimulationEngine",
    "SimulationResult",
    "StateManagementConfig",
    "Step",
    "SynchronizationConfig",
    "SynchronizationManager",
    "ThresholdObserver",
    "ThresholdRule",
    "Thresholds",
    "TwinConfig",
    "TwinWorker",
    "WorkerConfig",
    "async_fork",
    "async_holders",
    "fork",
    "holders",
    "workers",
]
