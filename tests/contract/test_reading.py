"""What the calls that read promise, on each server."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy
import pytest
import redis

from circman_redis import MISSING, Change, CorruptTwin, StateManager, UsageError
from tests.contract.conftest import Managers


def test_before_the_first_commit(twin: StateManager) -> None:
    """An empty state, version 0, nothing in the past."""
    assert twin.get_current_state() == twin.current_state == {}
    snapshot = twin.snapshot()
    assert (snapshot.state, snapshot.version, snapshot.epoch, snapshot.actor) == ({}, 0, "", None)
    assert twin.get_history() == twin.get_commits() == []
    assert twin.get_state_at_version(1) is twin.get_state_at_time(datetime.now(UTC)) is None
    assert twin.clear_history() == twin.delete() == 0
    assert len(twin.state_history) == 0


def test_snapshot_is_the_state_with_its_commit(twin: StateManager) -> None:
    """Frozen, and of one moment."""
    commit = twin.set_state({"a": 1}, actor="me")
    snapshot = twin.snapshot()
    assert snapshot.state == twin.get_current_state()
    assert (snapshot.version, snapshot.epoch, snapshot.timestamp, snapshot.committed_at) == (
        commit.version,
        commit.epoch,
        commit.timestamp,
        commit.committed_at,
    )
    assert (snapshot.actor, snapshot.op) == ("me", "set")
    with pytest.raises(AttributeError):
        snapshot.version = 2  # type: ignore[misc]


def test_history_is_the_past_oldest_first(twin: StateManager) -> None:
    """The most recent `limit` of it; the current state is not in it."""
    for n in range(5):
        twin.set_state({"n": n})
    assert [state["n"] for state in twin.get_history()] == [0, 1, 2, 3]
    assert [state["n"] for state in twin.get_history(limit=2)] == [2, 3]
    assert [state["n"] for state in twin.get_history(limit=99)] == [0, 1, 2, 3]
    assert twin.get_history(limit=0) == []


def test_state_history_is_a_sequence(twin: StateManager) -> None:
    """Sized, indexable from both ends, sliceable, iterable: oldest first."""
    for n in range(5):
        twin.set_state({"n": n})
    history = twin.state_history
    assert len(history) == 4
    assert [history[i]["n"] for i in (0, 3, -1, -4)] == [0, 3, 3, 0]
    assert [state["n"] for state in history[1:3]] == [1, 2]
    assert [state["n"] for state in history] == [0, 1, 2, 3]
    for index in (4, -5):
        with pytest.raises(IndexError):
            history[index]


def test_history_is_capped(open_twin: Managers) -> None:
    """At most history_length entries; a changed one trims at once, for every process."""
    with open_twin(history_length=3) as twin:
        twin.update_many([{"n": n} for n in range(10)])
        assert [state["n"] for state in twin.get_history()] == [6, 7, 8]
        twin.history_length = 2
        assert (twin.history_length, len(twin.state_history)) == (2, 2)
        twin.history_length = 5
        twin.update_state({"n": 10})
        assert [state["n"] for state in twin.get_history()] == [7, 8, 9]
        with pytest.raises(UsageError):
            twin.history_length = 0


def test_commits_come_newest_first_and_by_pages(twin: StateManager) -> None:
    """The head is one of them; `before` turns the page."""
    twin.set_state({"n": 0}, actor="a", commit_id="first")
    for n in range(1, 6):
        twin.update_state({"n": n})
    entries = twin.get_commits()
    assert [entry.version for entry in entries] == [6, 5, 4, 3, 2, 1]
    assert [entry.state["n"] for entry in entries] == [5, 4, 3, 2, 1, 0]
    assert (entries[-1].op, entries[-1].actor, entries[-1].id, entries[-1].patch) == (
        "set",
        "a",
        "first",
        None,
    )
    assert entries[0].op == "merge"
    assert entries[0].patch is not None
    assert entries[0].patch["n"] == 5
    assert [entry.version for entry in twin.get_commits(limit=2)] == [6, 5]
    assert [entry.version for entry in twin.get_commits(limit=2, before=5)] == [4, 3]
    assert [entry.version for entry in twin.get_commits(before=2)] == [1]
    assert twin.get_commits(before=1) == twin.get_commits(limit=0) == []
    assert [entry.version for entry in twin.get_commits(limit=2, before=99)] == [6, 5]


def test_state_at_version(twin: StateManager) -> None:
    """Any that is kept, the current one included."""
    for n in range(5):
        twin.set_state({"n": n})
    found = [twin.get_state_at_version(version) for version in range(1, 6)]
    assert [state["n"] for state in found if state] == [0, 1, 2, 3, 4]
    assert twin.get_state_at_version(0) is twin.get_state_at_version(6) is twin.get_state_at_version(-1) is None
    with pytest.raises(UsageError):
        twin.get_state_at_version("1")  # type: ignore[arg-type]


def test_state_at_time_is_the_newest_not_after_it(twin: StateManager) -> None:
    """By the state's own timestamp; text or datetime; UTC where no offset is named."""
    for hour in (8, 9, 10):
        twin.set_state({"n": hour, "timestamp": f"2025-02-24T{hour:02}:00:00Z"})

    def at(moment: str | datetime) -> Any:
        state = twin.get_state_at_time(moment)
        return state and state["n"]

    assert at("2025-02-24T07:59:59.999999Z") is None
    assert at("2025-02-24T08:00:00Z") == at("2025-02-24 08:30:00") == 8
    assert at(datetime(2025, 2, 24, 9, tzinfo=UTC)) == 9
    assert at(datetime(2025, 2, 24, 11, tzinfo=timezone(timedelta(hours=2)))) == 9
    assert at("2025-02-24T12:00:00+02:00") == 10
    assert at("2030-01-01T00:00:00Z") == 10
    for junk in ("yesterday", "", "2025-13-01T00:00:00Z", 5, None):
        with pytest.raises(UsageError, match="timestamp="):
            twin.get_state_at_time(junk)  # type: ignore[arg-type]


def test_late_readings_do_not_hide_newer_states(twin: StateManager) -> None:
    """Timestamps need not rise: of those not after the time, the newest version holds."""
    for n, hour in enumerate((8, 12, 9, 10)):
        twin.set_state({"n": n, "timestamp": f"2025-02-24T{hour:02}:00:00Z"})
    found = [twin.get_state_at_time(f"2025-02-24T{hour:02}:00:00Z") for hour in (8, 9, 10, 11, 12)]
    assert [state and state["n"] for state in found] == [0, 2, 3, 3, 3]


def test_diff_names_what_changed(twin: StateManager) -> None:
    """Pointer, before, after; against the current state where no second version is named."""
    twin.set_state({"a": 1, "b": {"c": [1, 2]}, "gone": True, "timestamp": "2025-01-01T00:00:00Z"})
    twin.update_state({"a": 2, "b": {"c": [1, 3]}, "gone": None, "new": 0, "timestamp": "2025-01-01T00:00:00Z"})
    changes = [
        Change("/a", 1, 2),
        Change("/b/c/1", 2, 3),
        Change("/gone", True, MISSING),
        Change("/new", MISSING, 0),
    ]
    assert sorted(twin.diff(1, 2), key=lambda one: one.pointer) == changes
    assert sorted(twin.diff(1), key=lambda one: one.pointer) == changes
    assert twin.diff(2, 2) == []
    with pytest.raises(UsageError, match="version 9"):
        twin.diff(9)


def test_clear_history_keeps_the_state_and_its_version(twin: StateManager) -> None:
    """Only the past goes."""
    for n in range(4):
        twin.set_state({"n": n})
    assert twin.clear_history() == 3
    assert twin.get_history() == []
    assert twin.snapshot().version == 4
    now = datetime.now(UTC) + timedelta(seconds=1)
    state = twin.get_state_at_time(now)
    assert state is not None
    assert state["n"] == 3
    assert twin.update_state({"n": 4}).version == 5


def test_delete_removes_every_key_and_a_new_twin_has_a_new_epoch(twin: StateManager, raw: redis.Redis) -> None:
    """(epoch, version) names one state for ever."""
    first = twin.set_state({"n": 1})
    twin.set_state({"n": 2})
    assert twin.delete() == 2
    assert raw.keys() == []
    second = twin.set_state({"n": 3})
    assert (second.version, second.version) == (1, first.version)
    assert second.epoch != first.epoch
    assert twin.config.model == "TwinState"


def test_another_program_reads_the_state_with_get(twin: StateManager, client: Any) -> None:
    """One JSON object, nothing around it; facts and history beside it."""
    twin.set_state({"a": [], "b": 22.0, "timestamp": "2025-01-01T00:00:00Z"})
    twin.set_state({"a": {}, "timestamp": "2025-01-01T00:00:00Z"})
    key = f"circman:{{{twin.twin}}}:"
    assert client.get(key + "state") == '{"a":{},"timestamp":"2025-01-01T00:00:00Z"}'
    assert client.hget(key + "meta", "version") == "2"
    assert '"state":{"a":[],"b":22.0,' in client.lindex(key + "history", 0)


@pytest.mark.parametrize("junk", [b"not json", b"[1]", b"\xff"])
def test_a_state_that_something_else_wrote_is_named(twin: StateManager, raw: redis.Redis, junk: bytes) -> None:
    """Reading and writing say so, instead of guessing."""
    twin.set_state({"a": 1})
    raw.set(twin.keys.state, junk)
    for call in (twin.get_current_state, lambda: twin.update_state({"b": 1})):
        with pytest.raises(CorruptTwin, match=r"state"):
            call()


@pytest.mark.parametrize("wrong", ["1", 1.5, True, []])
def test_numbers_are_whole_numbers(twin: StateManager, wrong: Any) -> None:
    """Anything else is named."""
    twin.set_state({"a": 1})
    for call in (
        twin.get_history,
        twin.get_commits,
        lambda before: twin.get_commits(before=before),
        twin.get_state_at_version,
        twin.diff,
    ):
        with pytest.raises(UsageError, match="use a whole number"):
            call(wrong)


def test_numbers_may_be_numpys_and_beyond_any_list(twin: StateManager) -> None:
    """As anywhere in Python."""
    for n in range(3):
        twin.set_state({"n": n})
    one = numpy.int64(1)
    assert len(twin.get_history(one)) == len(twin.get_commits(one)) == 1
    assert twin.get_state_at_version(one) == twin.state_history[numpy.int64(0)]
    assert len(twin.get_history(10**30)) == 2
    assert len(twin.get_commits(10**30, before=10**30)) == 3
    for index in (10**30, -(10**30)):
        with pytest.raises(IndexError):
            twin.state_history[index]


@pytest.mark.parametrize("wrong", [None, 5, date(2025, 1, 1), b"2025-01-01T00:00:00Z"])
def test_a_time_is_a_datetime_or_text(twin: StateManager, wrong: Any) -> None:
    """And the message says so."""
    with pytest.raises(UsageError, match="a datetime or ISO 8601 text"):
        twin.get_state_at_time(wrong)
