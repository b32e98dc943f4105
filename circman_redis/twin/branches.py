"""What-if branches: a twin of its own that begins with a state of another, and may be merged back into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circman_redis import deleting, patch, protocol, refusals
from circman_redis.aio import AsyncStateManager
from circman_redis.errors import BranchConflict, NoState, StateConflict, UsageError
from circman_redis.flows import Flow, Options, Twin
from circman_redis.keys import DOMAIN, TwinKeys
from circman_redis.manager import StateManager
from circman_redis.patch import MISSING, Change, merge_patch, pointers, resolve, same
from circman_redis.results import Commit, Snapshot, State

_STAMP = "/timestamp"  # every commit changes it


@dataclass(frozen=True, slots=True)
class Origin:
    """What a branch began with.

    Attributes:
        twin: the twin that it is a branch of.
        epoch: that twin's, then.
        version: that twin's, then.
        committed_at: when that version was committed (ISO 8601, UTC).
        state: its state.
    """

    twin: str
    epoch: str
    version: int
    committed_at: str
    state: State


class Branch:
    """A branch of a twin: ``manager`` changes it, and it can be held against the twin and merged back.

    Args:
        manager: that of the branch.
        trunk: that of the twin.

    Raises:
        NoState: there is no such branch.
    """

    def __init__(self, manager: StateManager, trunk: StateManager) -> None:
        self.manager, self.trunk = manager, trunk
        self.origin = manager.drive(_origin(manager.keys))

    def diff_to_origin(self) -> list[Change]:
        """What the branch changed since it was made, in document order; the timestamp is not counted.

        Raises:
            NoState: it was deleted.
        """
        return self.manager.drive(_diff(self.manager.keys))

    def merge_back(self, *, actor: str | None = None, commit_id: str | None = None) -> Commit | None:
        """Commits what the branch changed to the twin, which may have been changed elsewhere meanwhile.

        Args:
            actor: who commits; None for whoever commits to the twin.
            commit_id: repeated, the call returns what the first one committed.

        Returns:
            The commit to the twin; None where the branch changed nothing.

        Raises:
            BranchConflict: the twin was changed in the same places since, otherwise; nothing was changed.
            StateConflict: the twin was deleted or made anew since, or somebody else was faster every time.
            StateValidationError: the rules refuse what would come of it.
            NoState: the branch was deleted.
        """
        options = Options(actor=actor, commit_id=commit_id)
        return self.trunk.drive(_merge_back(self.trunk.flows, self.manager.keys, options))


class AsyncBranch:
    """The same for the tasks of an event loop; that there is no such branch is said by its calls.

    Args:
        manager: that of the branch.
        trunk: that of the twin.
    """

    def __init__(self, manager: AsyncStateManager, trunk: AsyncStateManager) -> None:
        self.manager, self.trunk = manager, trunk

    @property
    async def origin(self) -> Origin:
        """What it began with."""
        return await self.manager.drive(_origin(self.manager.keys))

    async def diff_to_origin(self) -> list[Change]:
        """What the branch changed since it was made, as `Branch.diff_to_origin`."""
        return await self.manager.drive(_diff(self.manager.keys))

    async def merge_back(self, *, actor: str | None = None, commit_id: str | None = None) -> Commit | None:
        """Commits what the branch changed to the twin, as `Branch.merge_back`."""
        options = Options(actor=actor, commit_id=commit_id)
        return await self.trunk.drive(_merge_back(self.trunk.flows, self.manager.keys, options))


def fork(manager: StateManager, name: str, *, version: int | None = None, actor: str | None = None) -> Branch:
    """Makes a branch of a twin, in the same hash slot, with the twin's model and settings (fork.lua).

    Args:
        manager: the twin's.
        name: 1 to 64 of ``A-Z a-z 0-9 _ . -``.
        version: what it begins with; None for the newest.
        actor: who forks; None for whoever commits to the twin.

    Raises:
        StateConflict: there is such a branch.
        NoState: there is no state, or that version left the history.
        UsageError: no such name, or the twin is a branch itself.
    """
    manager.drive(_fork(manager.keys, name, version, actor or manager.actor))
    return Branch(manager.branch(name), manager)


async def async_fork(
    manager: AsyncStateManager, name: str, *, version: int | None = None, actor: str | None = None
) -> AsyncBranch:
    """The same as `fork`, for the tasks of an event loop."""
    await manager.drive(_fork(manager.keys, name, version, actor or manager.actor))
    return AsyncBranch(manager.branch(name), manager)


def branches(manager: StateManager) -> list[str]:
    """The ids of a twin's branches, in order, such as ``plant@what-if-1``; all that have a state."""
    return manager.drive(deleting.branches(manager.keys))


async def async_branches(manager: AsyncStateManager) -> list[str]:
    """The same as `branches`, for the tasks of an event loop."""
    return await manager.drive(deleting.branches(manager.keys))


# --- flows -----------------------------------------------------------------------------------------------------


def _fork(keys: TwinKeys, name: str, version: int | None, actor: str) -> Flow[None]:
    if name == DOMAIN:
        raise UsageError(f"branch {name!r}: the domain events of a twin are there: use another name")
    branch = keys.branch(name)
    _, known = yield protocol.opening(keys)
    schema = yield protocol.published_schema(keys)
    commit_id = protocol.new_commit_id(known)
    yield protocol.fork(keys, branch, version, commit_id=commit_id, actor=actor, schema=schema)


def _origin(branch: TwinKeys) -> Flow[Origin]:
    found: State | None = yield protocol.origin(branch)
    if found is None:
        raise NoState(f"twin {branch.twin!r} is no branch of {branch.trunk.twin!r}: make it with fork()", {})
    return Origin(**found)


def _read(branch: TwinKeys) -> Flow[tuple[Origin, State]]:
    """What it began with, and its state: of the branch that there is now, should it have been made anew."""
    origin = yield from _origin(branch)
    snapshot: Snapshot = yield protocol.snapshot(branch)
    if not snapshot.version:
        raise refusals.no_state(branch)
    return origin, snapshot.state


def _diff(branch: TwinKeys) -> Flow[list[Change]]:
    origin, state = yield from _read(branch)
    return [change for change in patch.diff(origin.state, state) if change.pointer != _STAMP]


def _merge_back(trunk: Twin, branch: TwinKeys, options: Options) -> Flow[Commit | None]:
    origin, state = yield from _read(branch)
    mine = changes_of(origin.state, state)
    if not mine:
        return None
    epochs = yield from _epochs(trunk.keys, origin)

    def onto(now: Snapshot) -> State:
        if now.epoch not in epochs:
            happened = "made again, or set back," if now.version else "deleted"
            message = f"twin {trunk.keys.twin!r} was {happened} since {branch.twin!r} was made of it: fork it again"
            raise StateConflict(message, origin.version, now.version)
        places = clashes(origin.state, mine, now.state)
        if places:
            said = f"twin {trunk.keys.twin!r} was changed in the same places as {branch.twin!r} since version"
            message = f"{said} {origin.version}: {', '.join(places)}"
            raise BranchConflict(message, origin.version, now.version, places)
        merged: State = patch.merge(now.state, mine)
        return merged

    return (yield from trunk.modify_read(onto, options))


def _epochs(keys: TwinKeys, origin: Origin) -> Flow[set[str]]:
    """Those in which the twin is the one that the branch was made of: its own, and that of a copy with that commit."""
    there: State | None = yield protocol.commit_at(keys, origin.version)
    same = there is not None and there["committed_at"] == origin.committed_at
    return {origin.epoch, there["epoch"]} if there and same else {origin.epoch}


# --- pure ------------------------------------------------------------------------------------------------------


def changes_of(before: State, after: State) -> State:
    """The merge patch from one state to another, the timestamp left out.

    Raises:
        UsageError: no merge patch can say it: a null was put in.
    """
    found = merge_patch(before, after)
    if found is None:
        raise UsageError("a branch with a null that its twin has not cannot be merged back: remove the null")
    return {name: value for name, value in found.items() if name != _STAMP[1:]}


def clashes(base: State, mine: State, now: State) -> list[str]:
    """Where a patch of the base and what became of the base touch the same places and do not agree.

    Args:
        base: what both began with.
        mine: a merge patch (RFC 7396) for it.
        now: what others made of it.

    Returns:
        Pointers of the patch, in its order; one place lies in the other, or is the same, where both touch it.
    """
    theirs = merge_patch(base, now)
    touched = [change.pointer for change in patch.diff(base, now)] if theirs is None else pointers(theirs)
    wanted = patch.merge(base, mine)
    return [
        place
        for place in pointers(mine)
        if any(_overlap(place, other) and not _agree(wanted, now, place, other) for other in touched)
    ]


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _agree(wanted: Any, now: Any, *places: str) -> bool:
    pairs = [(resolve(wanted, place, MISSING), resolve(now, place, MISSING)) for place in places]
    return all(one is other or same(one, other) for one, other in pairs)
