"""What subscriptions, callbacks and mirrors promise, for threads and for tasks, on each server."""

from __future__ import annotations

import copy
import json
import logging
import threading
from itertools import islice, pairwise
from typing import Any

import pytest
import redis

from circman_redis import (
    MISSING,
    Change,
    ForeignWrite,
    Heartbeat,
    HistoryGap,
    StaleMirror,
    StateEvent,
    StateManager,
    StateRolledBack,
    StoreError,
    UsageError,
    WaitTimeout,
)
from tests.contract.conftest import Managers
from tests.servers import Server, wait_until

SOURCES = pytest.mark.parametrize("source", ["channel", "keyspace"])


# --- subscribe ---------------------------------------------------------------------------------------------


@SOURCES
def test_every_commit_comes_as_an_event(twin: StateManager, writer: StateManager, source: Any) -> None:
    """With all its facts, the state that it made and the one before it."""
    subscription = twin.subscribe(source=source)
    commits = [
        writer.set_state({"a": 1, "b": {"c": [1, 2]}}, actor="me", commit_id="my-id"),
        writer.update_state({"a": 2, "b": {"d": None, "e": {}}}),
        writer.adjust({"/a": 0.5}),
        *writer.update_many([{"x": 1}, {"x": None}]),
    ]
    events = list(islice(subscription, 5))
    subscription.close()
    assert all(isinstance(event, StateEvent) for event in events)
    for event, commit in zip(events, commits, strict=True):
        assert (event.twin, event.epoch, event.version) == (twin.twin, commit.epoch, commit.version)
        assert (event.timestamp, event.committed_at) == (commit.timestamp, commit.committed_at)
        assert event.state == twin.get_state_at_version(commit.version)
    assert [event.op for event in events] == ["set", "merge", "adjust", "merge", "merge"]
    assert (events[0].actor, events[0].id, events[0].patch, events[0].previous) == ("me", "my-id", None, {})
    for before, after in pairwise(events):
        assert after.previous is before.state
    assert set(events[1].changed) == {"/a", "/timestamp", "/b/e"}
    assert Change("/a", 1, 2) in events[1].changes
    assert Change("/x", MISSING, 1) in events[3].changes
    assert Change("/x", 1, MISSING) in events[4].changes
    json.dumps([event.to_json() for event in events])


@SOURCES
def test_since_replays_and_goes_live(twin: StateManager, writer: StateManager, source: Any) -> None:
    """From a version, or from the position of an event, also in another epoch."""
    writer.update_many([{"n": n} for n in range(5)])
    with twin.subscribe(3, source=source) as subscription:
        writer.update_state({"n": 5})
        events = list(islice(subscription, 3))
    assert [event.version for event in events] == [4, 5, 6]
    assert events[0].previous == twin.get_state_at_version(3)
    with twin.subscribe(since=events[0].position, source=source, timeout=0.05) as subscription:
        assert [event.version for event in subscription] == [5, 6]
    with twin.subscribe(since=0, timeout=0.05) as subscription:
        assert [event.version for event in subscription] == [1, 2, 3, 4, 5, 6]
    writer.delete()
    writer.set_state({"n": 0})
    with twin.subscribe(since=events[-1].position, timeout=0.05) as subscription:
        rollback, event = subscription
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_epoch, rollback.previous_version, rollback.version) == (events[-1].epoch, 6, 0)
    assert (event.version, event.state["n"]) == (1, 0)


def test_a_position_names_one_commit_for_ever(twin: StateManager, writer: StateManager, raw: redis.Redis) -> None:
    """Also where an older copy of the twin was put back, and went on with other commits."""
    writer.update_many([{"n": n} for n in range(1, 4)])
    older = {key: raw.dump(key) for key in raw.scan_iter()}
    writer.update_state({"n": 4})
    with twin.subscribe(since=3, timeout=0.05) as subscription:
        (event,) = subscription
    raw.flushdb()
    for key, value in older.items():
        raw.restore(key, 0, value)
    writer.update_many([{"other": 4}, {"other": 5}])
    with twin.subscribe(since=event.position, timeout=0.05) as subscription:
        (rollback,) = subscription
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.version, rollback.snapshot.state["other"]) == (5, 5)


def test_since_a_version_that_is_still_to_come(twin: StateManager, writer: StateManager) -> None:
    """The twin is not what the caller thinks it is: a rollback to what it is."""
    writer.update_many([{"n": 1}, {"n": 2}])
    with twin.subscribe(since=9, timeout=0.05) as subscription:
        (rollback,) = subscription
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_version, rollback.version, rollback.snapshot.state["n"]) == (9, 2, 2)


def test_what_left_the_history_is_a_gap(twin: StateManager, writer: StateManager) -> None:
    """It names the versions; the oldest state that is there follows, and its own event, with nothing before it."""
    writer.update_many([{"n": n} for n in range(1, 11)])
    writer.history_length = 3
    with twin.subscribe(since=2, timeout=0.05) as subscription:
        gap, *events = subscription
    assert isinstance(gap, HistoryGap)
    assert (gap.lost, gap.version, gap.snapshot.version) == (range(3, 7), 7, 7)
    assert gap.snapshot.state["n"] == 7
    assert [event.version for event in events] == [7, 8, 9, 10]
    assert events[0].previous is None
    assert events[0].changed == ("/n", "/timestamp")
    with twin.subscribe(since=gap.position, timeout=0.05) as subscription:
        assert [event.version for event in subscription] == [7, 8, 9, 10]


@SOURCES
def test_large_commits_are_read(twin: StateManager, writer: StateManager, source: Any) -> None:
    """A message over 32 KiB leaves its body out; the subscriber gets it all the same."""
    with twin.subscribe(source=source) as subscription:
        writer.set_state({"pad": "x" * 40_000})
        writer.update_state({"more": "y" * 40_000})
        writer.update_state({"n": 1})
        events = list(islice(subscription, 3))
    assert [len(event.state["pad"]) for event in events] == [40_000] * 3
    assert events[1].patch["more"] == "y" * 40_000
    assert events[2].state == twin.get_current_state()


@SOURCES
def test_paths(twin: StateManager, writer: StateManager, source: Any) -> None:
    """Only commits that changed something at, below or above a path; gaps and rollbacks all the same."""
    with twin.subscribe(paths=["/stock", "/line/temperature"], source=source) as subscription:
        writer.set_state({"line": {"temperature": 1}, "other": 1})
        writer.update_state({"other": 2})
        writer.update_state({"stock": {"glass": 5}})
        writer.update_state({"stock": {"glass": 5}})
        writer.update_state({"line": {"humidity": 1}})
        writer.update_state({"line": None})
        writer.adjust({"/stock/glass": -1})
        events = list(islice(subscription, 4))
        writer.delete()
        events.append(next(iter(subscription)))
    assert [(event.kind, event.version) for event in events] == [
        ("commit", 1),
        ("commit", 3),
        ("commit", 6),
        ("commit", 7),
        ("rollback", 0),
    ]


def test_timeout_and_heartbeat(twin: StateManager, writer: StateManager) -> None:
    """A heartbeat per time without an event; the time-out counts across them, and the iteration may go on after it."""
    with twin.subscribe(heartbeat=0.02, timeout=0.1) as subscription:
        beats = list(subscription)
        assert beats
        assert all(beat == Heartbeat(twin.twin, "", 0, connected=True) for beat in beats)
        writer.set_state({"n": 1})
        assert isinstance(next(iter(subscription)), StateEvent)
        assert [event.version for event in subscription if isinstance(event, StateEvent)] == []


def test_a_dead_connection_behind_a_quiet_twin_is_noticed(own_server: Server, manager: Managers, twin_id: str) -> None:
    """Asked for a sign of life, it gives none; and when the server is back, so are the events."""
    with manager(twin_id, url=own_server.url, timeout=0.5, retries=0) as twin:
        twin.set_state({"n": 1})
        with twin.subscribe(heartbeat=0.1) as subscription:
            events = iter(subscription)
            with own_server.stopped():
                assert any(not event.connected for event in islice(events, 600) if isinstance(event, Heartbeat))
            twin.update_state({"n": 2})
            event = next(event for event in events if not isinstance(event, Heartbeat))
    assert (event.kind, event.version) == ("commit", 2)


def test_what_cannot_be_asked_for(twin: StateManager) -> None:
    """Is refused at once, and by its name."""
    for arguments in (
        {"since": "x"},
        {"since": "9" * 5000},
        {"since": -1},
        {"since": True},
        {"since": 1.5},
        {"paths": ["materials"]},
        {"paths": [1]},
        {"source": "carrier pigeon"},
        {"source": ["channel"]},
        {"timeout": -1},
        {"heartbeat": "often"},
    ):
        name = next(iter(arguments))
        with pytest.raises(UsageError, match="JSON Pointer" if name == "paths" else name):
            twin.subscribe(**arguments)
    for max_age in (0, -1, "x", True):
        with pytest.raises(UsageError, match="max_age"):
            twin.mirror(max_age=max_age)


def test_states_of_events_cannot_be_changed(twin: StateManager, writer: StateManager) -> None:
    """They are shared; a deep copy is the caller's own."""
    with twin.subscribe() as subscription:
        writer.set_state({"a": {"b": [1]}})
        event = next(iter(subscription))
    with pytest.raises(TypeError, match="cannot be changed"):
        event.state["a"]["b"].append(2)
    own = copy.deepcopy(event.state)
    own["a"]["b"].append(2)
    assert event.state["a"]["b"] == [1]


@SOURCES
def test_rights_that_are_missing_are_said(server: Server, manager: Managers, twin: StateManager, source: Any) -> None:
    """A user who may not listen gets an error, not a silence."""
    twin.set_state({"n": 1})
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "deaf", "on", ">secret", "allkeys", "+@all", "resetchannels")
    with manager(twin.twin, client=server.client(username="deaf", password="secret")) as deaf:
        assert deaf.get_current_state()["n"] == 1
        with pytest.raises(StoreError, match="channel"):
            deaf.subscribe(source=source)


def test_keyspace_notifications_that_are_off_are_said(twin: StateManager, raw: redis.Redis) -> None:
    """With the setting, and what to do."""
    raw.config_set("notify-keyspace-events", "")
    try:
        with pytest.raises(StoreError, match="notify-keyspace-events"):
            twin.subscribe(source="keyspace")
    finally:
        raw.config_set("notify-keyspace-events", "K$lhg")  # as tests/conftest.py starts it


def test_a_foreign_write_is_an_event(twin: StateManager, writer: StateManager, raw: redis.Redis) -> None:
    """Of the same length or of another, whole or deleted; and the stream goes on when all is well again."""
    writer.set_state({"n": 1})
    good = raw.get(twin.keys.state)
    assert isinstance(good, bytes)
    with twin.subscribe(source="keyspace") as subscription:
        events = iter(subscription)
        raw.set(twin.keys.state, good.replace(b'"n":1', b'"n":7'))
        same_length = next(events)
        raw.set(twin.keys.state, b"junk")
        junk = next(events)
        raw.delete(twin.keys.state)
        missing = next(events)
        raw.set(twin.keys.state, good)
        put_back = next(events)
        writer.update_state({"n": 2})
        commit = next(events)
    for event in (same_length, junk, missing, put_back):
        assert isinstance(event, ForeignWrite)
        assert (event.key, event.version) == (twin.keys.state, 1)
    assert same_length.state is not None
    assert same_length.state["n"] == 7
    assert junk.state is missing.state is None
    assert isinstance(commit, StateEvent)
    assert (commit.version, commit.state["n"]) == (2, 2)


def test_junk_on_the_channel_changes_nothing(twin: StateManager, writer: StateManager, raw: redis.Redis) -> None:
    """Nor does a message that says less than a commit's, or speaks of another epoch."""
    with twin.subscribe() as subscription:
        first = writer.set_state({"n": 1})
        event = {"twin": twin.twin, "epoch": first.epoch, "version": 7, "op": "merge", "committed_at": "2999"}
        for junk in (
            b"junk",
            b"[]",
            b"\xff",
            b"{}",
            json.dumps(event | {"patch": {"n": 9}}),
            json.dumps(event | {"epoch": "other", "patch": {}}),
            json.dumps(event | {"version": 1, "patch": []}),
            json.dumps(event | {"version": 2.5}),
            json.dumps(event | {"op": "delete", "epoch": "other"}),
        ):
            raw.publish(twin.keys.events, junk)
        writer.update_state({"n": 2})
        events = list(islice(subscription, 2))
    assert [(event.version, event.state["n"]) for event in events] == [(1, 1), (2, 2)]


def test_closing_ends_the_iteration(twin: StateManager, server: Server) -> None:
    """Whoever closes it; and its connection is gone."""
    with twin.subscribe() as subscription, server.client() as client:
        assert len(client.client_list(_type="pubsub")) == 1
    assert list(subscription) == []
    with server.client() as client:
        wait_until(lambda: not client.client_list(_type="pubsub"))


def test_closing_the_manager_closes_what_follows_it(manager: Managers, server: Server, twin_id: str) -> None:
    """Subscriptions, callbacks and mirrors."""
    with manager(twin_id, url=server.url) as one:
        subscription, handle, mirror = one.subscribe(), one.on_change(print), one.mirror()
    assert list(subscription) == []
    assert not handle.connected
    assert not mirror.connected
    with server.client() as client:
        wait_until(lambda: not client.client_list(_type="pubsub"))


# --- on_change ---------------------------------------------------------------------------------------------


def test_callbacks_come_in_order(twin: StateManager, writer: StateManager) -> None:
    """Each commit once, until it is closed; those that changed nothing at the paths are left out."""
    seen: list[int] = []
    handle = twin.on_change(lambda event: seen.append(event.version), paths=["/n"])
    writer.update_many([{"n": n} for n in range(50)])
    writer.update_state({"other": 1})
    writer.update_state({"n": 50})
    wait_until(lambda: seen[-1:] == [52])
    handle.close()
    writer.update_state({"n": 51})
    assert seen == [*range(1, 51), 52]
    assert not handle.connected


def test_a_callback_that_raises_is_logged(
    twin: StateManager, writer: StateManager, caplog: pytest.LogCaptureFixture
) -> None:
    """And the stream goes on."""
    seen: list[int] = []

    def callback(event: Any) -> None:
        seen.append(event.version)
        raise ValueError(f"not version {event.version}")

    with caplog.at_level(logging.ERROR, "circman_redis"), twin.on_change(callback, since=0):
        writer.update_many([{"n": 1}, {"n": 2}])
        wait_until(lambda: seen == [1, 2])
    assert "not version 1" in caplog.text
    assert "not version 2" in caplog.text


def test_closing_twice(twin: StateManager) -> None:
    """Does nothing the second time."""
    handle = twin.on_change(print)
    handle.close()
    handle.close()
    assert not handle.connected


# --- mirror ------------------------------------------------------------------------------------------------


def test_a_mirror_reads_ones_own_writes(twin: StateManager, writer: StateManager) -> None:
    """After waiting for the version of the commit."""
    with twin.mirror() as m:
        assert (m.state, m.version, m.epoch) == ({}, 0, "")
        with pytest.raises(TypeError, match="cannot be changed"):
            m.state["n"] = 1
        for n in range(20):
            commit = writer.update_state({"line": {"n": n, "list": [{"a": n}]}})
            state = m.wait_for(version=commit.version, timeout=60)
            assert state["line"]["n"] == m.get("/line/n") == m.get("/line/list/0/a") == n
        assert (m.version, m.epoch) == (commit.version, commit.epoch)
        assert m.state == twin.get_current_state()
        assert m.connected
        assert 0 <= m.age < 60
        assert m.get("/nowhere", "default") == "default"
    assert not m.connected
    assert m.state["line"]["n"] == 19
    with pytest.raises(StaleMirror, match="closed"):
        m.wait_for(version=1)


def test_a_mirror_cannot_be_changed(twin: StateManager, writer: StateManager) -> None:
    """At any depth; and it is not copied to be read."""
    writer.set_state({"line": {"list": [{"a": 1}]}})
    with twin.mirror() as m:
        assert m.state is m.state
        for change in (
            lambda: m.state.update(a=1),
            lambda: m.state["line"].pop("list"),
            lambda: m.state["line"]["list"].append(1),
            lambda: m.state["line"]["list"][0].__setitem__("a", 2),
        ):
            with pytest.raises(TypeError, match="cannot be changed"):
                change()
        with pytest.raises(AttributeError):
            m.state = {}


def test_a_mirror_waits_for_a_state_that_fits(twin: StateManager, writer: StateManager) -> None:
    """Or says that it did not come in time."""
    writer.set_state({"n": 0})
    with twin.mirror() as m:
        thread = threading.Thread(target=lambda: [writer.adjust({"/n": 1}) for _ in range(30)])
        thread.start()
        assert m.wait_for(lambda state: state["n"] >= 30, timeout=60)["n"] == 30
        thread.join()
        with pytest.raises(WaitTimeout, match="version 99"):
            m.wait_for(version=99, timeout=0.05)
        with pytest.raises(TimeoutError):
            m.wait_for(lambda state: state["n"] > 30, timeout=0.05)
        with pytest.raises(ZeroDivisionError):
            m.wait_for(lambda state: 1 / 0, timeout=0.05)


def test_a_mirror_follows_gaps_and_rollbacks(twin: StateManager, writer: StateManager, raw: redis.Redis) -> None:
    """It shows what is there."""
    writer.set_state({"n": 0})
    writer.history_length = 1
    with twin.mirror() as m:
        raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        writer.update_many([{"n": n} for n in range(1, 10)])
        assert m.wait_for(version=10, timeout=60)["n"] == 9
        writer.delete()
        assert m.wait_for(lambda state: not state, timeout=60) == {}
        commit = writer.set_state({"n": 5})
        m.wait_for(lambda state: state.get("n") == 5, timeout=60)
        assert (m.version, m.epoch) == (1, commit.epoch)


def test_a_mirror_that_cannot_be_current_says_so(own_server: Server, manager: Managers, twin_id: str) -> None:
    """Where a `max_age` is given it refuses to be read; and it goes on by itself when the server is back."""
    with manager(twin_id, url=own_server.url, timeout=0.5) as twin:
        twin.set_state({"n": 1})
        with twin.mirror(max_age=2) as strict, twin.mirror() as lax:
            assert strict.get("/n") == 1
            own_server.kill()
            wait_until(lambda: not strict.connected and not lax.connected)
            wait_until(lambda: strict.age > 2)
            with pytest.raises(StaleMirror, match="max_age"):
                strict.get("/n")
            assert lax.get("/n") == 1
            own_server.start()
            commit = twin.update_state({"n": 2})
            for m in (strict, lax):
                m.wait_for(version=commit.version, timeout=60)
                wait_until(lambda m=m: m.connected and m.age < 1)
            assert strict.get("/n") == 2


def test_a_mirror_notices_a_server_that_says_nothing(own_server: Server, manager: Managers, twin_id: str) -> None:
    """A twin is quiet, and so is a dead connection: asked for a sign of life, only one of them answers."""
    with manager(twin_id, url=own_server.url, timeout=0.3) as twin:
        twin.set_state({"n": 1})
        with twin.mirror(max_age=0.3) as m:
            with own_server.stopped():
                wait_until(lambda: not m.connected)
            wait_until(lambda: m.connected)
            assert m.wait_for(version=twin.update_state({"n": 2}).version, timeout=60)["n"] == 2


def test_a_mirror_returns_the_state_that_fitted(twin: StateManager, writer: StateManager) -> None:
    """Not one that came after it."""
    writer.set_state({"n": 0})
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            writer.adjust({"/n": 1})

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        with twin.mirror() as m:
            for _ in range(100):
                assert m.wait_for(lambda state: state["n"] % 2, timeout=60)["n"] % 2
    finally:
        over.set()
        thread.join()


def test_where_a_heartbeat_was_is_a_place_to_go_on_from(
    twin: StateManager, writer: StateManager, raw: redis.Redis
) -> None:
    """Also where an older copy was put back since: it names the commit, not only the version."""
    writer.update_many([{"n": n} for n in range(1, 4)])
    older = {key: raw.dump(key) for key in raw.scan_iter()}
    writer.update_state({"n": 4})
    with twin.subscribe(heartbeat=0.01) as subscription:
        beat = next(iter(subscription))
    assert beat.position == twin.snapshot().position == subscription.position
    raw.flushdb()
    for key, value in older.items():
        raw.restore(key, 0, value)
    writer.update_many([{"other": 4}, {"other": 5}])
    with twin.subscribe(since=beat.position, timeout=0.05) as again:
        assert [event.kind for event in again] == ["rollback"]
