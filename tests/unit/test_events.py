"""What a subscription hands out: what changed, where to go on from it, and how it is written."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import orjson
import pytest

from circman_redis.events import Event, ForeignWrite, Heartbeat, HistoryGap, StateEvent, StateRolledBack
from circman_redis.frozen import freeze
from circman_redis.patch import MISSING, Change
from circman_redis.results import Snapshot
from circman_redis.wish import Wish
from tests.property.model import World
from tests.property.schedule import QUIET, Run

BEFORE = {"line": {"temperature": 22.0, "cells": [1, 2]}, "gone": 1}
AFTER = {"line": {"temperature": 22.5, "cells": [1, 3]}, "new~/": None}
PATCH = {"line": {"temperature": 22.5, "cells": [1, 3]}, "gone": None}
TIME = "2026-01-01T00:00:00.000000Z"


def commit(previous: Any = BEFORE, state: Any = AFTER, patch: Any = PATCH, op: str = "merge") -> StateEvent:
    frozen = [freeze(one) for one in (patch, state, previous)]
    return StateEvent("t", "e", 2, op, "worker-3", "id", TIME, TIME, *frozen)


SNAPSHOT = Snapshot(freeze(AFTER), 5, "e", TIME, TIME, "worker-3", "merge")
EVENTS: list[Event] = [
    commit(),
    HistoryGap("t", "e", 5, range(3, 5), SNAPSHOT),
    StateRolledBack("t", "e", 5, "e", 7, SNAPSHOT),
    ForeignWrite("t", "e", 5, "circman:{t}:state", "was changed", freeze(AFTER)),
    Heartbeat("t", "e", 5, connected=True),
]


def test_changes() -> None:
    """Where the two states differ: pointer, before, after; a place that is not there is MISSING."""
    assert commit().changes == (
        Change("/line/temperature", 22.0, 22.5),
        Change("/line/cells/1", 2, 3),
        Change("/gone", 1, MISSING),
        Change("/new~0~1", MISSING, None),
    )
    assert commit().changed == ("/line/temperature", "/line/cells/1", "/gone", "/new~0~1")


def test_a_patch_that_says_what_was_so_already_changes_nothing() -> None:
    """What counts is the state."""
    assert commit(state=BEFORE, patch={"gone": 1, "nothing": None}).changes == ()
    assert commit(state=BEFORE, patch=None, op="set").changed == ()


def test_changes_tell_digits_apart() -> None:
    """22 and 22.0 are written differently."""
    assert commit({"a": 22}, {"a": 22.0}, {"a": 22.0}).changes == (Change("/a", 22, 22.0),)


def test_changes_where_the_state_before_is_not_known() -> None:
    """The places that the patch names, with nothing before."""
    assert commit(previous=None).changes == (
        Change("/line/temperature", MISSING, 22.5),
        Change("/line/cells", MISSING, [1, 3]),
        Change("/gone", MISSING, MISSING),
    )
    assert commit(previous=None).changed == ("/line/temperature", "/line/cells", "/gone")


def test_changes_of_a_set_where_the_state_before_is_not_known() -> None:
    """All of it."""
    assert commit(previous=None, patch=None, op="set").changes == (Change("", MISSING, AFTER),)


def test_changes_of_an_empty_patch_where_the_state_before_is_not_known() -> None:
    """It names no place."""
    assert commit(previous=None, patch={}).changes == ()


def test_changes_are_looked_for_once() -> None:
    """And only by whoever asks."""
    event = commit()
    assert event.changes is event.changes


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.kind)
def test_every_event_is_json(event: Event) -> None:
    """Written by json and by orjson alike; its kind stands first."""
    written = event.to_json()
    assert json.loads(json.dumps(written)) == json.loads(orjson.dumps(written))
    assert list(written)[:4] == ["event", "twin", "epoch", "version"]
    assert written["event"] == event.kind


def test_a_commit_as_json() -> None:
    """Its facts, and what changed; a side that is not there is left out."""
    assert commit().to_json() == {
        "event": "commit",
        "twin": "t",
        "epoch": "e",
        "version": 2,
        "position": f"e:2:{TIME}",
        "op": "merge",
        "actor": "worker-3",
        "id": "id",
        "timestamp": TIME,
        "committed_at": TIME,
        "patch": PATCH,
        "changes": [
            {"pointer": "/line/temperature", "before": 22.0, "after": 22.5},
            {"pointer": "/line/cells/1", "before": 2, "after": 3},
            {"pointer": "/gone", "before": 1},
            {"pointer": "/new~0~1", "after": None},
        ],
    }


def test_the_others_as_json() -> None:
    """Each with what it is about."""
    gap, rollback, foreign, heartbeat = (event.to_json() for event in EVENTS[1:])
    for event, written in zip(EVENTS[1:], (gap, rollback, foreign, heartbeat), strict=True):
        assert written.pop("position") == event.position
    assert gap == {"event": "gap", "twin": "t", "epoch": "e", "version": 5, "lost": [3, 4], "state": AFTER}
    assert rollback == {
        "event": "rollback",
        "twin": "t",
        "epoch": "e",
        "version": 5,
        "previous_epoch": "e",
        "previous_version": 7,
        "state": AFTER,
    }
    assert foreign == {
        "event": "foreign",
        "twin": "t",
        "epoch": "e",
        "version": 5,
        "key": "circman:{t}:state",
        "reason": "was changed",
        "state": AFTER,
    }
    assert heartbeat == {"event": "heartbeat", "twin": "t", "epoch": "e", "version": 5, "connected": True}


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: one.kind)
def test_an_event_cannot_be_changed(event: Event) -> None:
    """Nor the state in it; it may be sent to another process."""
    with pytest.raises(FrozenInstanceError):
        event.version = 1  # type: ignore[misc]
    state = getattr(event, "state", None) or getattr(getattr(event, "snapshot", None), "state", None)
    if state is not None:
        with pytest.raises(TypeError):
            state["line"]["temperature"] = 1
    assert pickle.loads(pickle.dumps(event)) == event


def test_a_repr_is_short() -> None:
    """However large the state is."""
    assert all("temperature" not in repr(event) for event in EVENTS[1:])


def test_positions() -> None:
    """Where to go on: after the event's version; after a gap, before the version that comes next.

    With the time of the commit where there is one, for a failover may give its version to another.
    """
    assert [event.position for event in EVENTS] == [f"e:2:{TIME}", "e:4", f"e:5:{TIME}", "e:5", "e:5"]


# --- going on from a position, in a world ----------------------------------------------------------------------


def told_since(world: World, since: Any) -> list[Event]:
    """All that a new subscription hands out."""
    run = Run(world, Wish(since=since, timeout=QUIET))
    run.begin()
    return list(run.events())


def versions(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.kind, event.version) for event in events]


def test_going_on_from_a_commit() -> None:
    """The one after it comes next, with what was before."""
    world = World()
    for _ in range(4):
        world.commit()
    for event in told_since(world, 0):
        rest = told_since(world, event.position)
        assert versions(rest) == [("commit", n) for n in range(event.version + 1, 5)]
        assert all(isinstance(one, StateEvent) and one.previous == {"n": one.version - 1} for one in rest)


def test_going_on_from_a_gap() -> None:
    """The event of its version comes next, once; and what is lost is not lost again."""
    world = World(history_length=2)
    for _ in range(5):
        world.commit()
    gap, *rest = told_since(world, 0)
    assert isinstance(gap, HistoryGap)
    assert (gap.lost, gap.version, gap.snapshot.version) == (range(1, 3), 3, 3)
    assert versions(rest) == versions(told_since(world, gap.position)) == [("commit", 3), ("commit", 4), ("commit", 5)]


def test_going_on_from_a_gap_later() -> None:
    """What left the history since is another gap, that begins where the first ended."""
    world = World(history_length=2)
    for _ in range(5):
        world.commit()
    gap, *_ = told_since(world, 0)
    world.commit()
    again, *rest = told_since(world, gap.position)
    assert isinstance(again, HistoryGap)
    assert again.lost == range(3, 4)
    assert versions(rest) == [("commit", 4), ("commit", 5), ("commit", 6)]


def test_going_on_from_a_rollback() -> None:
    """From its snapshot on, in the same epoch."""
    world = World()
    for _ in range(4):
        world.commit()
    run = Run(world, Wish(timeout=QUIET))
    run.begin()
    world.commit()
    assert versions(list(run.events())) == [("commit", 5)]
    world.set_back(4, commits=3)
    rollback, *rest = run.events()
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_version, rollback.version, rollback.snapshot.state) == (5, 4, {"n": 4})
    assert versions(rest) == versions(told_since(world, rollback.position)) == [("commit", n) for n in (5, 6, 7)]


def test_going_on_from_a_delete() -> None:
    """The twin that was made again comes from its first version on."""
    world = World()
    world.commit()
    run = Run(world, Wish(timeout=QUIET))
    run.begin()
    world.delete()
    (rollback,) = run.events()
    assert rollback.position == ":0"
    assert told_since(world, rollback.position) == []
    world.commit()
    world.commit()
    assert versions(told_since(world, rollback.position)) == [("commit", 1), ("commit", 2)]


def test_going_on_from_an_epoch_that_is_over() -> None:
    """Says so first, and then tells of the new one from its first version on."""
    world = World()
    world.commit()
    world.commit()
    position = told_since(world, 0)[0].position
    world.delete()
    world.commit()
    rollback, first = told_since(world, position)
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_epoch, rollback.previous_version) == ("epoch0", 1)
    assert (first.epoch, first.version) == ("epoch1", 1)


def test_going_on_from_a_commit_that_a_failover_lost() -> None:
    """Its version is another commit's now: that is said first."""
    world = World()
    for _ in range(4):
        world.commit()
    position = told_since(world, 0)[-1].position
    world.set_back(3, commits=2)
    rollback, *_ = told_since(world, position)
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_version, rollback.snapshot.state) == (4, {"n": 5})
