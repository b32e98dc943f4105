"""Domain events for the tasks of an event loop; what they are is in ``domain.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from typing import Any, Self

from circman_redis.aio import AsyncStateManager
from circman_redis.events import StateEvent
from circman_redis.keys import DOMAIN
from circman_redis.results import Commit, State
from circman_redis.subscription import AsyncSubscription
from circman_redis.twin import domain
from circman_redis.twin.domain import Decision, DomainEvent, DomainState, Happening, Kind, NothingToDo


class AsyncDomainEvents:
    """`DomainEvents`, for the tasks of an event loop: every call is awaited, and to make one sends nothing.

    Args:
        manager: the twin's.

    Raises:
        UsageError: the twin is a branch: branches have none.
    """

    def __init__(self, manager: AsyncStateManager) -> None:
        domain.check_trunk(manager.twin)
        self.twin = manager.twin
        self.manager = manager.branch(DOMAIN, first_model=DomainState)

    async def publish(
        self, kind: Kind, data: Mapping[str, Any], *, actor: str | None = None, commit_id: str | None = None
    ) -> Commit:
        """Says that something happened, as `DomainEvents.publish`."""
        return await self.manager.update_state({"events": [domain.said(kind, data)]}, actor=actor, commit_id=commit_id)

    async def decide(self, change: Callable[[State], State | None], *, actor: str | None = None) -> Commit | None:
        """Changes what stands beside the events, and says so, as `DomainEvents.decide`."""
        decision = Decision(change)
        try:
            while not decision.is_made:
                made = await self.manager.modify(decision, actor=actor)
        except NothingToDo:
            return None
        return made

    async def state(self) -> State:
        """What stands beside the events now: rules, thresholds and workers; empty before the first."""
        return await self.manager.get_current_state()

    async def get_events(self, limit: int | None = None, *, kinds: Iterable[Kind] | None = None) -> list[DomainEvent]:
        """Those of the most recent ``limit`` commits, or of all that are kept; oldest first."""
        wanted = domain.wanted(kinds)
        entries = await self.manager.get_commits(limit)
        snapshot = await self.manager.snapshot()
        return domain.of_entries(self.twin, snapshot.epoch, entries, wanted)

    def subscribe(
        self,
        since: int | str | None = None,
        *,
        kinds: Iterable[Kind] | None = None,
        timeout: float | None = None,
        heartbeat: float | None = None,
    ) -> AsyncDomainSubscription:
        """The events from now on, or after a position, as `DomainEvents.subscribe`."""
        subscription = self.manager.subscribe(since, timeout=timeout, heartbeat=heartbeat)
        return AsyncDomainSubscription(subscription, self.twin, domain.wanted(kinds))

    async def close(self) -> None:
        """Gives back its connections, where nobody else of this event loop uses them."""
        await self.manager.__aexit__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncDomainSubscription(AsyncIterator[Happening]):
    """Domain events as they come; made by `AsyncDomainEvents.subscribe`.

    Args:
        subscription: the one of ``plant@domain``.
        twin: the twin.
        kinds: those that are wanted.
    """

    def __init__(self, subscription: AsyncSubscription, twin: str, kinds: frozenset[str]) -> None:
        self._subscription, self._twin, self._kinds = subscription, twin, kinds
        self._waiting: list[DomainEvent] = []

    async def __anext__(self) -> Happening:
        while not self._waiting:
            event = await anext(self._subscription)
            if not isinstance(event, StateEvent):
                return event
            self._waiting = domain.of_commit(self._twin, event, self._kinds)
        return self._waiting.pop(0)

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens."""
        return self._subscription.connected

    async def close(self) -> None:
        """Ends it."""
        await self._subscription.close()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    async def _begin(self) -> Self:
        await self._subscription
        return self

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(self, *_: object) -> None:
        await self.close()
