"""What happened in and around a twin, beside its commits: thresholds, simulations, errors, workers (docs/events.md).

Domain events are the commits of a twin of their own, ``plant@domain``, in the slot of ``plant``. So they have the same
envelope, order, log and way to resume; and what was decided stands beside what was said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from circman_redis.errors import UsageError
from circman_redis.events import ForeignWrite, FrozenState, Heartbeat, HistoryGap, StateEvent, StateRolledBack
from circman_redis.frozen import EMPTY, freeze
from circman_redis.keys import DOMAIN
from circman_redis.manager import StateManager
from circman_redis.mirror import Mirror
from circman_redis.patch import merge, same
from circman_redis.results import Commit, HistoryEntry, State, position
from circman_redis.shown import shown
from circman_redis.subscription import Subscription
from circman_redis.twin.threshold_rule import Comparison, Severity

Kind = Literal["threshold_breached", "threshold_cleared", "simulation_result", "error", "worker_joined", "worker_left"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class SaidEvent(_Part):
    """One event as it stands in a commit.

    Attributes:
        kind: what happened.
    """

    kind: Kind


class StoredRule(_Part):
    """A threshold's rule; `ThresholdRule` says what each is."""

    pointer: str
    comparison: Comparison
    value: Any
    severity: Severity
    hysteresis: Annotated[float, Field(ge=0)]
    minimum_duration: Annotated[float, Field(ge=0)]


class StoredStanding(_Part):
    """How a threshold stands; `Standing` says what each is."""

    breached: bool
    epoch: str
    version: Annotated[int, Field(ge=0)]
    committed_at: str


class StoredWorker(_Part):
    """A worker that joined and has not left; `Worker` says what each is."""

    roles: list[str]
    host: str
    pid: int
    started: str


class DomainState(_Part):
    """The state of ``plant@domain``.

    Attributes:
        events: what the newest commit said; the ones before it stand in its history.
        rules: threshold -> its rule.
        thresholds: threshold -> how it stands.
        workers: worker -> who that is.
    """

    events: list[SaidEvent] = Field(default_factory=list)
    rules: dict[str, StoredRule] = Field(default_factory=dict)
    thresholds: dict[str, StoredStanding] = Field(default_factory=dict)
    workers: dict[str, StoredWorker] = Field(default_factory=dict)


@dataclass(frozen=True)
class DomainEvent:
    """Something that happened.

    Attributes:
        kind: what: one of `KINDS`.
        twin: the twin that it happened to.
        data: the facts; docs/events.md has those of each kind. Nobody can change them.
        actor: who said so.
        committed_at: the server's clock when it was stored (ISO 8601, UTC).
        epoch: of the log of these events.
        version: its number there. Events of one commit share it.
        position: where to go on after it: ``subscribe(since=event.position)``. Of several events of one commit, all but
            the last have the place before it, so that none is passed over.
    """

    kind: str
    twin: str
    data: FrozenState
    actor: str | None
    committed_at: str
    epoch: str
    version: int
    position: str

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object."""
        names = ("twin", "epoch", "version", "position", "actor", "committed_at", "data")
        return {"event": self.kind} | {name: getattr(self, name) for name in names}


Happening: TypeAlias = DomainEvent | HistoryGap | StateRolledBack | ForeignWrite | Heartbeat


class DomainEvents:
    """The domain events of a twin: said, followed, and looked up; `DigitalTwin.events` is one.

    Args:
        manager: the twin's.

    Raises:
        UsageError: the twin is a branch: branches have none.
    """

    def __init__(self, manager: StateManager) -> None:
        check_trunk(manager.twin)
        self.twin = manager.twin
        self.manager = manager.branch(DOMAIN, first_model=DomainState)

    def publish(
        self, kind: Kind, data: Mapping[str, Any], *, actor: str | None = None, commit_id: str | None = None
    ) -> Commit:
        """Says that something happened.

        Args:
            kind: what.
            data: the facts, a JSON object.
            actor: who says so; None for whoever commits to the twin.
            commit_id: repeated, the call returns what the first one committed: it is said once.

        Raises:
            StateValidationError: no such kind. The other errors are those of `StateManager.update_state`.
        """
        return self.manager.update_state({"events": [said(kind, data)]}, actor=actor, commit_id=commit_id)

    def decide(self, change: Callable[[State], State | None], *, actor: str | None = None) -> Commit | None:
        """Changes what stands beside the events, and says so, in one commit on the very state that was read.

        Args:
            change: gets the state of ``plant@domain`` and returns a merge patch, or None where there is nothing to do
                (any more). May be called repeatedly.
            actor: who decides.

        Returns:
            The commit; None where there was nothing to do.
        """
        decision = Decision(change)
        try:
            while not decision.is_made:
                made = self.manager.modify(decision, actor=actor)
        except NothingToDo:
            return None
        return made

    def state(self) -> State:
        """What stands beside the events now: rules, thresholds and workers; empty before the first."""
        return self.manager.get_current_state()

    def mirror(self) -> Mirror:
        """The same as a local copy that is kept current."""
        return self.manager.mirror()

    def get_events(self, limit: int | None = None, *, kinds: Iterable[Kind] | None = None) -> list[DomainEvent]:
        """Those of the most recent ``limit`` commits, or of all that are kept; oldest first."""
        chosen = wanted(kinds)
        entries = self.manager.get_commits(limit)
        return of_entries(self.twin, self.manager.snapshot().epoch, entries, chosen)

    def subscribe(
        self,
        since: int | str | None = None,
        *,
        kinds: Iterable[Kind] | None = None,
        timeout: float | None = None,
        heartbeat: float | None = None,
    ) -> DomainSubscription:
        """The events from now on, or after a position: each once, in order, as `StateManager.subscribe` has commits.

        Args:
            since: the ``position`` of an event, after which to begin; None begins now.
            kinds: only these.
            timeout: seconds without a commit after which the iteration ends; None never.
            heartbeat: seconds without a commit after which a `Heartbeat` is handed out.

        Raises:
            UsageError: an argument is not allowed. The other errors are those of `StateManager.subscribe`.
        """
        chosen = wanted(kinds)
        subscription = self.manager.subscribe(since, timeout=timeout, heartbeat=heartbeat)
        return DomainSubscription(subscription, self.twin, chosen)

    def close(self) -> None:
        """Gives back its connections, where nobody else of this process uses them."""
        self.manager.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DomainSubscription(Iterator[Happening]):
    """Domain events as they come; made by `DomainEvents.subscribe`.

    Args:
        subscription: the one of ``plant@domain``.
        twin: the twin.
        kinds: those that are wanted.
    """

    def __init__(self, subscription: Subscription, twin: str, kinds: frozenset[str]) -> None:
        self._subscription, self._twin, self._kinds = subscription, twin, kinds
        self._waiting: list[DomainEvent] = []

    def __next__(self) -> Happening:
        while not self._waiting:
            event = next(self._subscription)
            if not isinstance(event, StateEvent):
                return event
            self._waiting = of_commit(self._twin, event, self._kinds)
        return self._waiting.pop(0)

    @property
    def connected(self) -> bool:
        """Whether there is a connection that listens."""
        return self._subscription.connected

    def close(self) -> None:
        """Ends it."""
        self._subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NothingToDo(Exception):
    """Leaves `modify` without a commit."""


# --- pure ------------------------------------------------------------------------------------------------------------


def check_trunk(twin: str) -> None:
    """Refuses a branch.

    Raises:
        UsageError: it is one.
    """
    if "@" in twin:
        raise UsageError(f"twin {twin!r} is a branch, and branches have no domain events: use its twin's")


class Decision:
    """What ``modify`` takes, of a function that returns a merge patch or None: again and again, until it is made.

    What is committed is what differs. So what was said before, word for word, is forgotten first, by another commit.

    Args:
        change: the function.

    Attributes:
        is_made: whether the last call made it.
    """

    def __init__(self, change: Callable[[State], State | None]) -> None:
        self._change = change
        self.is_made = False

    def __call__(self, state: State) -> State:
        """The state with the patch merged into it.

        Raises:
            NothingToDo: the function returned None.
        """
        patch = self._change(state)
        if patch is None:
            raise NothingToDo
        news = patch.get("events")
        self.is_made = not (news and same(news, state.get("events")))
        made: State = merge(state, patch if self.is_made else {"events": []})
        return made


def said(kind: Kind, data: Mapping[str, Any]) -> State:
    """An event as it stands in a commit."""
    return {"kind": kind, "data": dict(data)}


def of_commit(twin: str, event: StateEvent, kinds: frozenset[str]) -> list[DomainEvent]:
    """What a commit of ``plant@domain`` said, of these kinds; nothing, where it only tidied up."""
    what = event.state if event.patch is None else event.patch
    facts = (event.actor, event.committed_at, event.epoch, event.version)
    return [one for one in _events(twin, what, facts) if one.kind in kinds]


def of_entries(twin: str, epoch: str, entries: Sequence[HistoryEntry], kinds: frozenset[str]) -> list[DomainEvent]:
    """What past commits of ``plant@domain`` said, oldest first; the commits come newest first."""
    return [event for entry in reversed(entries) for event in _of_entry(twin, epoch, entry) if event.kind in kinds]


def _of_entry(twin: str, epoch: str, entry: HistoryEntry) -> list[DomainEvent]:
    what = entry.state if entry.patch is None else entry.patch
    return _events(twin, freeze(what), (entry.actor, entry.committed_at, epoch, entry.version))


def _events(twin: str, what: FrozenState, facts: tuple[str | None, str, str, int]) -> list[DomainEvent]:
    actor, committed_at, epoch, version = facts
    before, here = position(epoch, version - 1), position(epoch, version, committed_at)
    events = what.get("events") or ()
    return [
        DomainEvent(
            one["kind"],
            twin,
            one.get("data", EMPTY),
            actor,
            committed_at,
            epoch,
            version,
            here if number == len(events) else before,
        )
        for number, one in enumerate(events, 1)
    ]


def wanted(kinds: Iterable[Kind] | None) -> frozenset[str]:
    """The kinds that were asked for.

    Raises:
        UsageError: there is none such.
    """
    chosen = frozenset(KINDS if kinds is None else [kinds] if isinstance(kinds, str) else kinds)
    unknown = sorted(chosen.difference(KINDS))
    if unknown:
        raise UsageError(f"kinds={shown(unknown)}: use some of {', '.join(KINDS)}")
    return chosen
