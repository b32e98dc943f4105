"""What a call costs, in commands that the server runs: it does not grow with the history. Nothing is timed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lua.support import RawTwin


def time_of(n: int) -> str:
    return f"2026-01-01T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"


def grown(raw: RawTwin, entries: int) -> RawTwin:
    """A twin with this many entries in its history, a second apart."""
    twin = RawTwin(raw.client)
    twin.meta(history_length=5000)
    bodies = [f'{{"n":{n},"timestamp":"{time_of(n)}"}}' for n in range(1, entries + 2)]
    for start in range(0, len(bodies), 1000):
        twin.commit(*bodies[start : start + 1000], op="set")
    assert twin.client.llen(twin.keys.history) == entries
    return twin


def commands(twin: RawTwin, call: Callable[..., object], *args: object, **how: object) -> dict[str, int]:
    """How often the server ran which command for a call; the script itself counts as one."""
    twin.client.config_resetstat()
    call(*args, **how)
    stats = twin.client.info("commandstats")
    found = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
    return {name: count for name, count in found.items() if name != "config|resetstat"}


LOOKUPS: dict[str, tuple[str, Callable[[int], object]]] = {
    "the head": ("head", lambda entries: ""),
    "the newest of the history": ("version", lambda entries: entries),
    "the middle": ("version", lambda entries: entries // 2),
    "the oldest": ("version", lambda entries: 1),
    "none": ("version", lambda entries: entries + 2),
    "the time of the head": ("time", lambda entries: "2027-01-01T00:00:00Z"),
    "a time in the middle": ("time", lambda entries: time_of(entries // 2)),
    "the first time": ("time", lambda entries: time_of(1)),
    "a time before all": ("time", lambda entries: "2020-01-01T00:00:00Z"),
}


@pytest.fixture
def short_and_long(raw: RawTwin) -> tuple[RawTwin, RawTwin]:
    """Twins with 30 and with 3,000 entries."""
    return grown(raw, 30), grown(raw, 3000)


def test_a_look_up_runs_the_same_commands_in_any_history(short_and_long: tuple[RawTwin, RawTwin]) -> None:
    """By version and by time, at either end and in the middle: one entry at most is brought back."""
    short, long = short_and_long
    for case, (how, wanted) in LOOKUPS.items():
        few, many = commands(short, short.lookup, how, wanted(30)), commands(long, long.lookup, how, wanted(3000))
        assert few == many, case
        assert few.get("lindex", 0) + few.get("get", 0) <= 1, case
        assert sum(few.values()) <= 5, case
        assert "lrange" not in few, case


def test_each_look_up_finds_its_entry(short_and_long: tuple[RawTwin, RawTwin]) -> None:
    """What was counted above is what was asked for."""
    for twin, entries in zip(short_and_long, (30, 3000), strict=True):
        versions = {}
        for case, (how, wanted) in LOOKUPS.items():
            found = twin.lookup(how, wanted(entries))
            versions[case] = found and found["version"]
        assert list(versions.values()) == [
            *(entries + 1, entries, entries // 2, 1, None),
            *(entries + 1, entries // 2, 1, None),
        ]


def test_a_commit_runs_the_same_commands_in_any_history(short_and_long: tuple[RawTwin, RawTwin]) -> None:
    """A merge costs what it costs, however long the past is."""
    body = '{"n":0,"timestamp":"2026-06-01T00:00:00Z"}'
    for commit_id in ("", "x"):
        few, many = (commands(twin, twin.merge, body, commit_id=commit_id) for twin in short_and_long)
        assert few == many
        assert sum(few.values()) <= 16


def test_a_page_of_commits_reads_its_entries_only(short_and_long: tuple[RawTwin, RawTwin]) -> None:
    """One command for the page, wherever it is."""
    for twin, entries in zip(short_and_long, (30, 3000), strict=True):
        found = commands(twin, twin.commits, before=entries - 5, limit=3)
        assert found == {"eval": 1, "hmget": 1, "lrange": 1}
