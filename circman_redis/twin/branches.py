"""What-if branches: a twin of its own that begins with a state of another, and may be merged back into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circman_redis import patch, protocol
from circman_redis.errors import BranchConflict, NoState, StateConflict, UsageError
from circman_redis.keys import DOMAIN
from circman_redis.manager import StateManager
from circman_redis.patch import MISSING, Change, merge_patch, pointers, resolve, same
from circman_redis.results import Commit, State

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
        found = manager.run(protocol.origin(manager.keys))
        if found is None:
            raise NoState(f"twin {manager.twin!r} is no branch of {trunk.twin!r}: make it with fork()", {})
        self.manager, self.trunk, self.origin = manager, trunk, Origin(**found)

    def diff_to_origin(self) -> list[Change]:
        """What the branch changed since it was made, in document order; the timestamp is not counted."""
        changes = patch.diff(self.origin.state, self.manager.get_current_state())
        return [change for change in changes if change.pointer != _STAMP]

    def merge_back(self, *, actor: str | None = None, commit_id: str | None = None) -> Commit | None:
        """Commits what the branch changed to the twin, which may have been changed elsewhere meanwhile.

        Args:
            actor: who commits; None for whoever commits to the twin.
            commit_id: repeated, the call returns what the first one committed.

        Returns:
            The commit to the twin; None where the branch changed nothing.

        Raises:
            BranchConflict: the twin was changed in the same places since, otherwise; nothing was changed.
            StateConflict: the twin was made anew since, or somebody else was faster every time.
            StateValidationError: the rules refuse what would come of it.
        """
        mine = changes_of(self.origin.state, self.manager.get_current_state())
        if not mine:
            return None
        return self.trunk.modify(lambda now: self._onto(now, mine), actor=actor, commit_id=commit_id)

    def _onto(self, now: State, mine: State) -> State:
        twin, version = self.trunk.twin, self.origin.version
        there = self.trunk.run(protocol.commit_at(self.trunk.keys, version))
        if there is not None and there["epoch"] != self.origin.epoch:
            message = f"twin {twin!r} was made again since {self.manager.twin!r} was made of it: fork it again"
            raise StateConflict(message, version, self.trunk.snapshot().version)
        places = clashes(self.origin.state, mine, now)
        if places:
            said = f"twin {twin!r} was changed in the same places as {self.manager.twin!r} since version {version}"
            raise BranchConflict(f"{said}: {', '.join(places)}", version, self.trunk.snapshot().version, places)
        merged: State = patch.merge(now, mine)
        return merged


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
    if name == DOMAIN:
        raise UsageError(f"branch {name!r}: the domain events of a twin are there: use another name")
    keys = manager.keys.branch(name)
    who, commit_id = actor or manager.actor, manager.new_commit_id()
    call = protocol.fork(manager.keys, keys, version, commit_id=commit_id, actor=who, schema=manager.schema)
    manager.run(call)
    return Branch(manager.branch(name), manager)


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
