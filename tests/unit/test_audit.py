"""audit by itself: histories with one fault each, and what it makes of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from circman_redis.audit import audit
from circman_redis.journal import Log
from circman_redis.results import AuditReport
from tests.unit.test_verify import KEYS, Redis

AT = "2026-01-01T00:00:00.000000Z"


def entry(version: int, commit_id: str | None, **faults: Any) -> bytes:
    """A commit that sets n to its version; ``faults`` are members of the entry that something else changed."""
    facts = {"version": version, "timestamp": None, "committed_at": AT, "op": "merge", "actor": None, "id": commit_id}
    whole = {**facts, "patch": {"n": version}, "state": {"n": version}, **faults}
    return json.dumps(whole, separators=(",", ":")).encode()


def history(*ids: str | None, first: int = 1) -> list[bytes]:
    """Newest first, as it stands in Redis."""
    return [entry(version, commit_id) for version, commit_id in enumerate(ids, first)][::-1]


def got(commit_id: str, version: int, n: int = 1, epoch: str = "e", committed_at: str = AT) -> dict[str, Any]:
    return {"got": commit_id, "version": version, "n": n, "epoch": epoch, "committed_at": committed_at}


def sent(commit_id: str, n: int = 1) -> dict[str, Any]:
    return {"sent": commit_id, "n": n}


def audited(entries: list[bytes], *events: dict[str, Any]) -> AuditReport:
    redis, log = Redis(entries), Log()
    log.add(json.dumps(event).encode() + b"\n" for event in events)
    return redis.drive(audit(KEYS, log))


def counts(report: AuditReport) -> dict[str, Any]:
    """Those that are not 0, without those of what was read."""
    read = ("epoch", "first", "last", "commits", "ids", "findings")
    return {name: count for name, count in asdict(report).items() if count and name not in read}


def test_a_history_alone() -> None:
    """Without a log: what was read, and that it fits."""
    report = audited(history("a", None, "b", "c"))
    assert report == AuditReport(epoch="e", first=1, last=4, commits=4, ids=3, unlogged=4)
    assert report.ok


def test_what_was_told_is_there() -> None:
    report = audited(
        history("a", "b#1", "b#2", "c", "x"),
        *(sent("a"), got("a", 1), sent("b", 2), got("b", 2, 2), got("b", 2, 2), sent("c"), sent("d"), sent("r")),
        {"refused": "r", "error": "StateConflict"},
    )
    assert report.ok
    assert counts(report) == {"acknowledged": 3, "found": 3, "made": 1, "not_made": 1, "refused": 1, "unlogged": 1}


FAULTS: dict[str, tuple[list[bytes], list[dict[str, Any]], dict[str, int], list[str]]] = {
    "a doubled id": (
        history("a", "b", "a"),
        [got("a", 1)],
        {"acknowledged": 1, "doubled": 1, "unlogged": 1},
        ["has 'a' 2 times: as version 1 and version 3"],
    ),
    "an unacknowledged id doubled": (
        history("a", "b", "a"),
        [sent("a")],
        {"made": 1, "unlogged": 1},
        ["has 'a' 2 times: as version 1 and version 3"],
    ),
    "a missing version": (
        history("a", "b", "c")[:1] + history("a"),
        [got("a", 1), got("b", 2), got("c", 3)],
        {"acknowledged": 3, "found": 2, "lost": 1},
        ["lacks version 2: something else removed it", "lacks 'b', which was acknowledged as version 2"],
    ),
    "a commit that was lost, and its version given to another": (
        history("a", "x", "c"),
        [got("b", 2)],
        {"acknowledged": 1, "lost": 1, "unlogged": 3},
        ["lacks 'b', which was acknowledged as version 2: another commit has that version"],
    ),
    "a commit that was rolled back": (
        history("a", "b"),
        [got("c", 3)],
        {"acknowledged": 1, "lost": 1, "unlogged": 2},
        ["lacks 'c', which was acknowledged as version 3: the newest is 2"],
    ),
    "a commit of an older history, made again": (
        history("a", "b", first=5),
        [got("b", 2)],
        {"acknowledged": 1, "differing": 1, "unlogged": 1},
        ["has 'b' as version 6, while it was acknowledged as version 2: another version"],
    ),
    "another epoch": (
        history("a", "b"),
        [got("c", 1, epoch="d"), got("b", 2, epoch="d")],
        {"acknowledged": 2, "lost": 1, "differing": 1, "unlogged": 1},
        [
            "lacks 'c', which was acknowledged as version 1 of epoch 'd': the twin was made again, as epoch 'e'",
            "has 'b' as version 2, while it was acknowledged as version 2: in epoch 'd', and the twin's is 'e'",
        ],
    ),
    "another time": (
        history("a", "b"),
        [got("b", 2, committed_at="2026-01-01T00:00:00.5Z")],
        {"acknowledged": 1, "differing": 1, "unlogged": 1},
        [
            "has 'b' as version 2, while it was acknowledged as version 2: committed at "
            "2026-01-01T00:00:00.500000Z, not 2026-01-01T00:00:00.000000Z"
        ],
    ),
    "told twice, differently": (
        history("a", "b"),
        [got("b", 2), got("b", 1)],
        {"acknowledged": 1, "differing": 1, "unlogged": 1},
        ["has 'b' as version 2, while it was acknowledged as version 1: another version"],
    ),
    "one version for two, beyond the history": (
        history("a", "b", first=5),
        [got("x", 2), got("y", 2)],
        {"acknowledged": 2, "beyond": 2, "unlogged": 2},
        ["cannot hold both 'x' and 'y', acknowledged as the same version 2"],
    ),
    "a refused one that is there": (
        history("a", "b"),
        [sent("b"), {"refused": "b", "error": "StateConflict"}],
        {"refused": 1, "unlogged": 1},
        ["has 'b' as version 2, which was refused (StateConflict)"],
    ),
    "a part of a call": (
        history("a", "b#1", "b#2"),
        [sent("b", 3)],
        {"made": 2, "not_made": 1, "unlogged": 1},
        ["has 2 of the 3 commits of one call, 'b#1' to 'b#3': not all"],
    ),
    "a part of a call, within a short history": (
        history("a", "b#2", "b#3", first=5),
        [sent("b", 3)],
        {"made": 2, "untold": 1, "unlogged": 1},
        ["has 2 of the 3 commits of one call, 'b#1' to 'b#3': not all"],
    ),
    "the commits of a call torn apart": (
        history("b#1", "x", "b#2"),
        [got("b", 1, 2)],
        {"acknowledged": 2, "found": 1, "differing": 1, "unlogged": 1},
        ["has 'b#2' as version 3, while it was acknowledged as version 2: another version"],
    ),
    "a state that does not follow": (
        [entry(3, "c"), entry(2, "b", state={"n": 2, "x": 1}), entry(1, "a")],
        [got("b", 2)],
        {"acknowledged": 1, "found": 1, "unlogged": 2},
        ["at version 2 has another state than was committed: neither its own patch nor the next one fits it"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said(fault: str) -> None:
    """Each in words, and counted."""
    entries, events, wanted, says = FAULTS[fault]
    report = audited(entries, *events)
    assert not report.ok
    assert [one.says for one in report.findings] == says
    assert counts(report) == wanted


def test_what_left_the_history_is_counted_and_not_called_lost() -> None:
    events = [got("a", 1), got("b", 2, 4), sent("c"), sent("d", 3), got("x", 6)]
    report = audited(history("b#4", "x", "d#2", first=5)[1:], *events[:3], events[4])
    assert report.ok
    assert counts(report) == {"acknowledged": 6, "found": 2, "beyond": 4, "untold": 1}
    # Of a call, the first commits may have left; its last are there.
    report = audited(history("d#2", "d#3", "x", first=5), events[3])
    assert report.ok
    assert counts(report) == {"made": 2, "untold": 1, "unlogged": 1}


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([sent("b"), {"refused": "b"}, sent("b"), got("b", 2)], {"acknowledged": 1, "found": 1}),
        ([sent("b"), {"unknown": "b"}, sent("b"), {"refused": "b"}], {"made": 1}),
        ([sent("b"), sent("b"), {"refused": "b"}], {"made": 1}),
        ([{"unknown": "b"}], {"made": 1}),
        ([sent("b"), {**got("b", 7), "unconfirmed": "b"}], {"acknowledged": 1, "differing": 1}),
        ([sent("b"), {"unconfirmed": "b", "version": 7, "epoch": "d", "committed_at": AT}], {"made": 1}),
        ([sent("b"), {"unconfirmed": "b"}, sent("b"), got("b", 2)], {"acknowledged": 1, "found": 1}),
    ],
)
def test_of_several_attempts_what_is_sure_counts(events: list[dict[str, Any]], wanted: dict[str, int]) -> None:
    """One acknowledged, or one that nobody knows of; in any order, for logs are many."""
    for order in (events, events[::-1]):
        assert counts(audited(history("a", "b"), *order)) == {**wanted, "unlogged": 1}


def test_no_more_findings_than_anyone_reads() -> None:
    """The counts are of all."""
    report = audited(history("a"), *(got(f"x{n}", n + 2) for n in range(500)))
    assert (report.lost, len(report.findings)) == (500, 100)
