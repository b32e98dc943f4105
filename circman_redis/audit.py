"""Pure: a twin's history held against what its clients were told, as a flow that only reads.

What `verify` proves, and the ids: each is there at most once, each that was acknowledged exactly once and as its client
was told, and none that was refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from circman_redis.commit_chain import Record, iso
from circman_redis.flows import Flow
from circman_redis.journal import Journal, Log, Told, read_logs
from circman_redis.keys import TwinKeys
from circman_redis.results import AuditReport, Disagreement
from circman_redis.verify import look_at

__all__ = ["AuditReport", "Journal", "Log", "audit", "read_logs"]

_MOST = 100  # findings about ids that are told; the counts are of all


def audit(keys: TwinKeys, log: Log) -> Flow[AuditReport]:
    """Whether the twin is what commits made, and what its clients were told.

    Args:
        keys: the twin's.
        log: what they were told; read before this starts, so that whatever it says was made by then.
    """
    look = yield from look_at(keys)
    return _Audit(keys, log, look.epoch.decode(errors="replace"), look.read).report(look.found)


class _Audit:
    """What was read, held against a log."""

    def __init__(self, keys: TwinKeys, log: Log, epoch: str, read: Sequence[Record]) -> None:
        self._keys = keys
        self._log = log
        self._epoch = epoch
        self._read = read
        self._versions = {one.version for one in read}
        self._first, self._last = min(self._versions, default=0), max(self._versions, default=0)
        self._places: dict[str, list[Record]] = defaultdict(list)
        for one in read:
            if one.id is not None:
                self._places[one.id].append(one)
        self._counts: Counter[str] = Counter()
        self._findings: list[Disagreement] = []

    def report(self, found: Sequence[Disagreement]) -> AuditReport:
        """The sum of it."""
        told, unacknowledged, refused = self._log.told, self._log.unacknowledged, self._log.refused
        self._check_doubled()
        self._check_versions(told)
        for commit_id, all_told in told.items():
            self._counts[self._acknowledged(commit_id, all_told)] += 1
        for ids in unacknowledged:
            self._check_unacknowledged(ids)
        for commit_id, error in refused.items():
            self._check_refused(commit_id, error)
        logged = {*told, *refused, *(commit_id for ids in unacknowledged for commit_id in ids)}
        return AuditReport(
            epoch=self._epoch,
            first=self._first,
            last=self._last,
            commits=len(self._read),
            ids=len(self._places),
            acknowledged=len(told),
            refused=len(refused),
            unlogged=sum(one.id not in logged for one in self._read),
            torn=self._log.torn,
            findings=(*found, *self._findings),
            **self._counts,
        )

    def _report(self, version: int | None, says: str) -> None:
        if len(self._findings) < _MOST:
            self._findings.append(Disagreement(self._keys.history, version, says))

    def _check_doubled(self) -> None:
        for commit_id, places in self._places.items():
            if len(places) > 1:
                versions = " and ".join(f"version {one.version}" for one in reversed(places))
                self._report(places[0].version, f"has {commit_id!r} {len(places)} times: as {versions}")

    def _check_versions(self, told: dict[str, list[Told]]) -> None:
        """One version cannot have been acknowledged as two commits, wherever it is now."""
        owners: dict[tuple[str, int], str] = {}
        for commit_id, all_told in told.items():
            for one in all_told:
                owner = owners.setdefault((one.epoch, one.version), commit_id)
                if owner != commit_id:
                    says = f"cannot hold both {owner!r} and {commit_id!r}, acknowledged as the same version"
                    self._report(one.version, f"{says} {one.version}")

    # --- acknowledged --------------------------------------------------------------------------------------------

    def _acknowledged(self, commit_id: str, all_told: Sequence[Told]) -> str:
        """What became of it: the name of a count."""
        places = self._places.get(commit_id, [])
        if len(places) > 1:
            return "doubled"
        fates = [self._fate(commit_id, told, places) for told in all_told]
        return next((fate for fate in fates if fate != "found"), "found")

    def _fate(self, commit_id: str, told: Told, places: Sequence[Record]) -> str:
        was = f"was acknowledged as version {told.version}"
        if places:
            differences = list(self._differences(told, places[0]))
            if not differences:
                return "found"
            says = f"has {commit_id!r} as version {places[0].version}, while it {was}"
            self._report(places[0].version, f"{says}: {'; '.join(differences)}")
            return "differing"
        if told.epoch == self._epoch and told.version < self._first:
            return "beyond"
        self._report(told.version, f"lacks {commit_id!r}, which {was}{self._why_lost(told)}")
        return "lost"

    def _differences(self, told: Told, place: Record) -> Iterator[str]:
        if told.version != place.version:
            yield "another version"
        if told.epoch != self._epoch:
            yield f"in epoch {told.epoch!r}, and the twin's is {self._epoch!r}"
        if told.committed != place.committed:
            yield f"committed at {iso(told.committed)}, not {iso(place.committed)}"

    def _why_lost(self, told: Told) -> str:
        if not self._epoch:
            return ": there is no twin"
        if told.epoch != self._epoch:
            return f" of epoch {told.epoch!r}: the twin was made again, as epoch {self._epoch!r}"
        if told.version > self._last:
            return f": the newest is {self._last}"
        return ": another commit has that version" if told.version in self._versions else ""

    # --- the others ----------------------------------------------------------------------------------------------

    def _check_unacknowledged(self, ids: Sequence[str]) -> None:
        there = [i for i, commit_id in enumerate(ids) if commit_id in self._places]
        missing = len(ids) - len(there)
        self._counts["made"] += len(there)
        if missing and there:
            self._check_part(ids, there)
        self._counts["not_made" if self._first <= 1 else "untold"] += missing

    def _check_part(self, ids: Sequence[str], there: Sequence[int]) -> None:
        """Of the commits of one call there are all or none; the first of them may have left the history."""
        begin = self._places[ids[there[0]]][0].version - there[0]
        if there[0] == len(ids) - len(there) and begin + there[0] == self._first:
            return
        names = f"{ids[0]!r} to {ids[-1]!r}"
        self._report(begin + there[0], f"has {len(there)} of the {len(ids)} commits of one call, {names}: not all")

    def _check_refused(self, commit_id: str, error: str) -> None:
        for one in self._places.get(commit_id, []):
            self._report(one.version, f"has {commit_id!r} as version {one.version}, which was refused ({error})")
