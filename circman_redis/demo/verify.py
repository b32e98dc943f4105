"""Pure: what stands in Redis against what the workers were told: nothing lost, nothing twice, all adds up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any

from circman_redis import patch
from circman_redis.demo.factory import inventory
from circman_redis.results import HistoryEntry


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One commit as its worker was told of it.

    Attributes:
        version: the version that it made.
        epoch: the twin's epoch.
        id: its commit id.
        actor: the worker.
        consumed: units taken out of the inventory by material; below zero where it was restocked.
    """

    version: int
    epoch: str
    id: str
    actor: str
    consumed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Balance:
    """One material: what was there, what was acknowledged, and what is there.

    Attributes:
        material: its name.
        start: units at version 1.
        consumed: units acknowledged as taken out.
        restocked: units acknowledged as put in.
        found: what stands in Redis.
    """

    material: str
    start: int
    consumed: int
    restocked: int
    found: Any

    @property
    def holds(self) -> bool:
        """Whether it adds up, exactly."""
        return type(self.found) is int and self.found == self._expected

    @property
    def _expected(self) -> int:
        return self.start - self.consumed + self.restocked

    def __str__(self) -> str:
        sums = f"{self.start} - {self.consumed} + {self.restocked} = {self._expected}"
        return f"{self.material:<14} {sums}, in Redis: {self.found}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verification found.

    Attributes:
        commits: how many stand in Redis.
        lost: how many were acknowledged, and do not stand there.
        duplicated: how many stand there, or were acknowledged, more than once.
        balances: one per material.
        problems: everything that does not hold, a sentence each.
    """

    commits: int = 0
    lost: int = 0
    duplicated: int = 0
    balances: tuple[Balance, ...] = ()
    problems: tuple[str, ...] = ()


def verify(
    entries: Iterable[HistoryEntry],
    acknowledged: Iterable[Acknowledged],
    start: Mapping[str, int],
    epoch: str,
    killed: Iterable[str] = (),
) -> Verdict:
    """Compares what stands in Redis with what was acknowledged.

    Args:
        entries: every commit that Redis has, newest first.
        acknowledged: every commit that a worker, or the parent, was told of; in any order.
        start: units at version 1 by material.
        epoch: the twin's epoch in Redis.
        killed: workers that were killed: the last commit of each may be there, and be acknowledged to nobody.
    """
    audit = _Audit(start, set(killed))
    for one in acknowledged:
        audit.acknowledge(one)
    audit.check_epoch(epoch)
    for entry, older in pairwise(chain(entries, (None,))):
        if entry is not None:
            audit.compare(entry, older)
    return audit.verdict()


@dataclass(slots=True)
class _Audit:
    start: Mapping[str, int]
    killed: set[str] = field(default_factory=set)
    told: dict[str, Acknowledged] = field(default_factory=dict)
    told_versions: dict[tuple[str, int], str] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    head: HistoryEntry | None = None
    commits: int = 0
    duplicated: int = 0
    problems: list[str] = field(default_factory=list)

    def acknowledge(self, one: Acknowledged) -> None:
        """Notes what a worker was told."""
        version = (one.epoch, one.version)
        if one.id in self.told or version in self.told_versions:
            self.duplicated += 1
            other = self.told_versions.get(version, one.id)
            self.problems.append(f"version {one.version} was acknowledged twice: as {other} and as {one.id}")
        self.told[one.id] = one
        self.told_versions[version] = one.id

    def check_epoch(self, epoch: str) -> None:
        """Notes what was acknowledged in another life of the twin."""
        others = sum(one.epoch != epoch for one in self.told.values())
        if others:
            self.problems.append(
                f"{others} commits were acknowledged in another epoch than {epoch!r}, in which the twin is now: "
                "somebody deleted it, and it was made again"
            )

    def compare(self, entry: HistoryEntry, older: HistoryEntry | None) -> None:
        """Holds one commit in Redis against what was told of it, and against the one before."""
        self.head = self.head or entry
        self.commits += 1
        commit_id = entry.id or ""
        if commit_id in self.found:
            self.duplicated += 1
            self.problems.append(
                f"{commit_id} stands in Redis twice: as version {entry.version} and as {self.found[commit_id]}"
            )
        self.found[commit_id] = entry.version
        told = self.told.get(commit_id)
        if told is None and entry.actor in self.killed:
            self.killed.discard(entry.actor)  # one each
            told = Acknowledged(entry.version, "", commit_id, entry.actor)
        self.problems.extend(_against_what_was_told(entry, told))
        self.problems.extend(_against_the_one_before(entry, older, told, self.start))

    def verdict(self) -> Verdict:
        """The sum of it."""
        lost = [one for commit_id, one in self.told.items() if commit_id not in self.found]
        for one in lost:
            self.problems.append(
                f"version {one.version} ({one.id}) was acknowledged to {one.actor}, and is not in Redis"
            )
        if self.head is None:
            self.problems.append("there is no commit in Redis")
        balances = tuple(self._balances())
        self.problems += [f"material balance: {one}" for one in balances if not one.holds]
        return Verdict(self.commits, len(lost), self.duplicated, balances, tuple(self.problems))

    def _balances(self) -> Iterator[Balance]:
        state = self.head.state if self.head else {}
        for material, start in self.start.items():
            moved = [one.consumed.get(material, 0) for one in self.told.values()]
            consumed = sum(units for units in moved if units > 0)
            restocked = -sum(units for units in moved if units < 0)
            yield Balance(material, start, consumed, restocked, inventory(state, material))


def _against_what_was_told(entry: HistoryEntry, told: Acknowledged | None) -> Iterator[str]:
    which = f"version {entry.version} ({entry.id}, by {entry.actor})"
    if told is None:
        yield f"{which} is in Redis, and was acknowledged to nobody"
    elif (told.version, told.actor) != (entry.version, entry.actor):
        yield f"{which} was acknowledged to {told.actor} as version {told.version}"


def _against_the_one_before(
    entry: HistoryEntry, older: HistoryEntry | None, told: Acknowledged | None, start: Mapping[str, int]
) -> Iterator[str]:
    before = older.version if older else 0
    if before != entry.version - 1:
        yield _break(before, entry.version)
    elif older is None:
        yield from (
            f"version 1 has {inventory(entry.state, material)} of {material}, and not the {units} of the start"
            for material, units in start.items()
            if inventory(entry.state, material) != units
        )
    else:
        yield from _step(entry, older, told, start)


def _break(before: int, version: int) -> str:
    if before >= version:
        return f"version {version} comes after version {before} in the history"
    missing = f"version {before + 1} is" if before + 2 == version else f"versions {before + 1} to {version - 1} are"
    return f"{missing} missing"


def _step(
    entry: HistoryEntry, older: HistoryEntry, told: Acknowledged | None, start: Mapping[str, int]
) -> Iterator[str]:
    if entry.patch is None or not patch.same(patch.merge(older.state, entry.patch), entry.state):
        yield f"version {entry.version} is not version {older.version} merged with its patch"
    for material in start if told else ():
        units = told.consumed.get(material, 0) if told else 0
        before, after = inventory(older.state, material), inventory(entry.state, material)
        if type(before) is not int or before - units != after:
            yield (
                f"version {entry.version} (by {entry.actor}) took {material} from {before} to {after}, "
                f"and {units} were acknowledged as consumed"
            )
