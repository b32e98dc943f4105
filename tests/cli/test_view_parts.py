"""What `watch`, `top` and the demo are made of, without a terminal and without a server."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from circman_redis import patch
from circman_redis.events import Event, ForeignWrite, Heartbeat, HistoryGap, StateEvent, StateRolledBack
from circman_redis.frozen import freeze
from circman_redis.patch import MISSING, Change
from circman_redis.results import Snapshot
from circman_redis.view import bars, marks, movers, rates, tree, words
from circman_redis.view.feed import Feed
from tests.servers import wait_until

COMMITTED = "2026-11-22T14:00:00.123456Z"
MOMENT = datetime(2026, 11, 22, 15, 0, 0, 500_000, tzinfo=UTC)


def commit(version: int, before: Any, after: Any, **facts: Any) -> StateEvent:
    """The event of a commit that turned one state into another."""
    given = {"op": "merge", "actor": "line-1", "id": None, "timestamp": None, "committed_at": COMMITTED, "patch": None}
    return StateEvent("plant", "e", version, **{**given, **facts}, state=freeze(after), previous=freeze(before))


def plain(pieces: list[words.Piece]) -> str:
    return "".join(text for text, _ in pieces)


def changed(before: Any, after: Any, room: int = 200, **facts: Any) -> str:
    return plain(words.changes_line(commit(2, before, after, **facts), room))


# --- bars and charts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "    "), (0.5, "██  "), (1.0, "████"), (2.0, "████"), (-1.0, "    "), (0.625, "██▌ ")]
)
def test_a_bar_is_as_long_as_its_share(share: float, shown: str) -> None:
    assert bars.bar(share, 4) == shown


def test_a_spark_line_is_as_high_as_its_values() -> None:
    assert bars.spark([0.0, 50.0, 100.0]) == "▁▅█"
    assert bars.spark([]) == ""
    assert bars.spark([5, 5]) == "██"


def test_a_chart_goes_from_the_lowest_to_the_highest_value_over_its_lines() -> None:
    assert bars.chart([10, 20, 30], 2) == [" ▁█", "▁██"]
    assert bars.chart([7, 7], 2) == ["  ", "▁▁"]
    assert bars.chart([], 2) == ["", ""]


# --- rates -------------------------------------------------------------------------------------------------


def test_rates_are_those_of_the_recent_past() -> None:
    found = rates.Rates(100.0)
    assert (found.now(100.0), found.mean(100.0), found.past(100.0, 10)) == (0.0, 0.0, [])
    for step in range(20):  # 4 commits in each quarter of a second, for 5 s
        found.add(100.0 + step * rates.STEP + 0.1, "a", 3)
        found.add(100.0 + step * rates.STEP + 0.2, "b")
    assert found.total == 80
    assert found.by_actor(105.0) == {"a": 12.0, "b": 4.0}
    assert found.now(105.0) == 16.0
    assert found.mean(105.0) == 16.0
    assert found.past(105.0, 3) == [16.0] * 3
    assert found.past(105.5, 3) == [16.0, 0.0, 0.0]


def test_a_step_that_is_not_over_does_not_count_yet() -> None:
    found = rates.Rates(0.0)
    found.add(0.1, "a", 10)
    assert found.now(0.2) == 0.0
    assert found.now(0.25) == 40.0
    assert found.now(1.0) == 10.0


def test_a_quiet_actor_is_named_for_a_while() -> None:
    found = rates.Rates(0.0)
    found.add(1.0, "a")
    assert found.by_actor(30.0) == {"a": 0.0}
    assert found.by_actor(1.5 + rates.KEEP) == {}
    found.add(2.0 + rates.KEEP, "b")
    assert found.by_actor(2.5 + rates.KEEP) == {"b": 0.5}


# --- values and events in words ----------------------------------------------------------------------------


def test_a_value_is_shortened_and_cannot_move_the_cursor() -> None:
    assert words.brief({"a": [1, 2.50, None, "µ"]}, 40) == '{"a":[1,2.5,null,"µ"]}'
    assert words.brief(list(range(10_000)), 10) == "[0,1,2,3,…"
    assert words.brief("\x1b[2J\x9b\u202e", 40) == '"\\u001b[2J\\u009b\\u202e"'
    assert words.one_line("a\nb\tc") == "a\\nb\\tc"
    assert (words.cut("abcdef", 4), words.cut_left("abcdef", 4)) == ("abc…", "…def")


@pytest.mark.parametrize(
    ("most", "shown"), [(40, "production_line/temperature"), (20, "product…/temperature"), (8, "tempera…")]
)
def test_of_a_long_path_the_last_name_stays(most: int, shown: str) -> None:
    assert words.squeeze("production_line/temperature", most) == shown


def test_what_changed_is_said_with_before_and_after() -> None:
    assert changed({"t": 22.0}, {"t": 22.5}) == "/t 22.0 → 22.5"
    assert changed({"a": 1, "b": 1}, {"a": 2, "b": 3}) == "/a 1 → 2  /b 1 → 3"
    assert changed({"old": 5}, {"new": {"x": []}}) == '- /old 5  + /new {"x":[]}'


def test_neighbours_share_the_place_that_they_are_in() -> None:
    said = changed({"a": {"b": {"x": 1, "y": 1}}}, {"a": {"b": {"x": 2, "y": 2}}})
    assert said == "/a/b/x 1 → 2  …/y 1 → 2"


def test_the_timestamp_is_said_only_where_nothing_else_changed() -> None:
    assert changed({"timestamp": "a", "n": 1}, {"timestamp": "b", "n": 2}) == "/n 1 → 2"
    assert changed({"timestamp": "a"}, {"timestamp": "b"}) == '/timestamp "a" → "b"'
    assert changed({"n": 1}, {"n": 1}) == "nothing changed"


def test_without_the_state_before_it_says_what_there_is_now() -> None:
    assert changed(None, {"a": 1}, patch=freeze({"a": 1, "b": None})) == "/a → 1  - /b"
    assert changed(None, {"a": 1}, op="set") == '(the whole state) → {"a":1}'


def test_values_are_shortened_until_all_changes_have_room_and_the_rest_is_counted() -> None:
    before = dict.fromkeys("abcd", "x" * 50)
    after = dict.fromkeys("abcd", "y" * 50)
    assert len(changed(before, after, 500)) > 400
    assert 100 < len(changed(before, after, 250)) <= 250
    short = changed(before, after, 70)
    assert len(short) <= 70
    assert short.endswith("  … +2")
    assert changed(before, after, 5) == '/a "xxxxxxxxxx… → "yyyyyyyyyy…  … +3'
    many = changed({}, {str(number): number for number in range(1000)}, 10_000)
    assert many.endswith("  … +960")
    deep = changed({"a": {"b": {"c": {"d": "x" * 40}}}}, {"a": {"b": {"c": {"d": "y" * 40}}}}, 56)
    assert deep.startswith("…/c/d ")


def test_a_line_has_version_time_actor_and_what_changed() -> None:
    line = words.event_line(commit(12, {"n": 1}, {"n": 2}, op="adjust"), MOMENT, 80, names=8)
    local = datetime(2026, 11, 22, 14, 0, 0, 123_456, tzinfo=UTC).astimezone()
    assert plain(line) == f"     12  {local:%H:%M:%S}.123  line-1    adjust  /n 1 → 2"
    nobody = commit(12, {"n": 1}, {"n": 2}, actor=None)
    short = words.event_line(nobody, MOMENT, 80, names=8, versions=3, to_the_second=True)
    assert plain(short) == f" 12  {local:%H:%M:%S}  (nobody)  /n 1 → 2"
    assert words.colour_of("line-1") == words.colour_of("line-1") != words.colour_of("line-2")


NOTHING, SOMETHING = Snapshot(freeze({})), Snapshot(freeze({"a": 1}), version=7, epoch="e")
INCIDENTS: dict[str, Event] = {
    "versions 3 to 6 left the history before they could be read; it goes on with version 7. A longer": HistoryGap(
        "t", "e", 7, range(3, 7), SOMETHING
    ),
    "version 6 left the history": HistoryGap("t", "e", 7, range(6, 7), SOMETHING),
    "versions 3 to 6 can no longer be read: the twin was deleted": HistoryGap("t", "e", 6, range(3, 7), NOTHING),
    "the twin was deleted, after version 9; what is": StateRolledBack("t", "", 0, "e", 9, NOTHING),
    "the twin was set back from version 9 to 7, by a failover": StateRolledBack("t", "e", 7, "e", 9, SOMETHING),
    "k was changed by something else than a commit: why. `circman-redis doctor`": ForeignWrite(
        "t", "e", 7, "k", "why", None
    ),
}


@pytest.mark.parametrize("said", INCIDENTS)
def test_what_is_no_commit_is_said_in_words(said: str) -> None:
    event = INCIDENTS[said]
    assert words.incident(event).startswith(said)
    assert plain(words.event_line(event, MOMENT, 80)).startswith(f"      !  {words.clock(MOMENT)}  {said}")


def test_a_heartbeat_has_a_name_too() -> None:
    assert words.incident(Heartbeat("t", "e", 1, connected=True)) == "heartbeat"


# --- marks -------------------------------------------------------------------------------------------------


def marked(before: Any, after: Any) -> marks.Marks:
    found = marks.Marks()
    found.note(patch.diff(before, after), 10.0)
    return found


def test_a_mark_says_how_a_place_changed() -> None:
    before = {"up": 1, "down": 2, "gone": 3, "text": "a", "flag": True}
    found = marked(before, {"up": 1.5, "down": 1, "text": "b", "flag": False, "new": {}})
    assert {pointer: mark.sign for pointer, mark in found.at.items()} == {
        "/up": "▲",
        "/down": "▼",
        "/gone": "-",
        "/text": "•",
        "/flag": "•",
        "/new": "+",
    }
    assert found.gone == {"/gone": 3}
    assert "/gone" not in found.moved


def test_a_mark_fades_and_the_place_is_remembered() -> None:
    found = marked({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 2}}})
    assert found.beneath == {"/a/b": 10.0, "/a": 10.0, "": 10.0}
    found.fade(10.0 + marks.LASTS)
    assert found.at
    found.fade(10.1 + marks.LASTS)
    assert (found.at, found.gone, found.moved) == ({}, {}, {"/a/b/c": 10.0})


def test_what_comes_back_is_no_longer_gone() -> None:
    found = marked({"a": 1}, {})
    found.note([Change("/a", MISSING, 2)], 11.0)
    assert (found.gone, found.at["/a"].sign) == ({}, "+")


def test_marks_are_bounded() -> None:
    found = marks.Marks()
    for turn in range(10):
        found.note([Change(f"/{turn}/{number}", 1, 2) for number in range(5000)], float(turn))
    assert len(found.at) == 20_000
    found.fade(9.0 + marks.LASTS)
    assert len(found.at) == 2000
    assert len(found.moved) <= 4096


# --- the tree ----------------------------------------------------------------------------------------------


def outline(state: Any, room: int, found: marks.Marks | None = None, shown: frozenset[str] = frozenset()) -> list[str]:
    """The tree's lines as text: a mark, the depth, the name, and what is hidden."""
    rows = tree.rows(tree.grow(state), found or marks.Marks(), room, shown)
    return [
        f"{row.mark.sign if row.mark else ' '}{'.' * row.depth}{row.name}{f' ({row.hidden})' if row.hidden else ''}"
        for row in rows
    ]


STATE = {
    "status": "running",
    "materials": {name: {"inventory": 1, "unit": "kg"} for name in ("steel", "glass", "film")},
    "cells": [1, 2, 3],
    "orders": [{"item": 1}, {"item": 2}],
}


def test_a_tree_that_fits_is_shown_whole() -> None:
    assert outline(STATE, 30) == [
        " status",
        " materials",
        " .steel",
        " ..inventory",
        " ..unit",
        " .glass",
        " ..inventory",
        " ..unit",
        " .film",
        " ..inventory",
        " ..unit",
        " cells",
        " orders",
        " .0",
        " ..item",
        " .1",
        " ..item",
    ]
    assert outline({}, 5) == []
    assert outline({"a/b\n": 1, "~": {}}, 5) == [" a/b\\n", " ~"]


def test_what_moved_comes_into_view_and_quiet_parts_are_counted() -> None:
    after = {**STATE, "materials": {**STATE["materials"], "film": {"inventory": 2, "unit": "kg"}}}
    assert outline(after, 8, marked(STATE, after)) == [
        " status",
        " materials",
        " .steel (2)",
        " .glass (2)",
        " .film (1)",
        "▲..inventory",
        " cells",
        " orders (2)",
    ]


def test_a_closed_line_is_marked_for_what_changed_in_it() -> None:
    before, after = {"a": {"b": {"c": {"d": 1}}}}, {"a": {"b": {"c": {"d": 2}}}}
    assert outline(after, 2, marked(before, after)) == [" a", "•.b (1)"]
    assert outline({"cells": [1, 2]}, 2, marked({"cells": [1, 3]}, {"cells": [1, 2]})) == ["•cells"]


def test_what_is_new_is_marked_with_all_that_is_in_it() -> None:
    assert outline({"a": {"b": {"c": 1}}}, 9, marked({}, {"a": {"b": {"c": 1}}})) == ["+a", "+.b", "+..c"]


def test_what_was_removed_is_shown_for_a_moment_where_it_stood() -> None:
    before, after = {"a": {"x": 1, "y": {"z": 2}}, "b": 1}, {"a": {"x": 1}}
    found = marked(before, after)
    assert outline(after, 9, found) == [" a", " .x", "-.y", "-b"]
    root = tree.grow(after)
    assert tree.hidden(root, tree.rows(root, found, 9)) == 0
    assert outline({}, 9, marked({"a": 1}, {})) == ["-a"]


def test_lines_stay_where_they_are_unless_others_moved_much_later() -> None:
    state = {str(number): {"n": number} for number in range(10)}
    found = marks.Marks()
    found.note([Change("/3/n", 0, 3)], 100.0)
    shown = frozenset({"/3", "/3/n"})
    found.note([Change("/7/n", 0, 7)], 105.0)
    assert outline(state, 2, found, shown) == [" 3", "▲.n"]
    found.note([Change("/7/n", 0, 7)], 100.1 + tree.STAYS)
    assert outline(state, 2, found, shown) == [" 7", "▲.n"]
    found.note([Change("/gone/long/ago", 0, 1)], 200.0)
    assert len(outline(state, 4, found, shown)) == 4


def test_the_tree_of_what_did_not_change_is_taken_over() -> None:
    before = freeze({"a": {"x": 1}, "b": {"y": 2}})
    after = patch.merge(before, {"b": {"y": 3}})
    first = tree.grow(before)
    second = tree.grow(freeze(after), first)
    assert first.parts is not None
    assert second.parts is not None
    assert second.parts["a"] is first.parts["a"]
    assert second.parts["b"] is not first.parts["b"]


# --- numbers that move -------------------------------------------------------------------------------------


def test_a_number_that_moves_is_sampled_by_the_clock() -> None:
    found = movers.Movers(0.0)
    found.note([Change("/a", 1, 5), Change("/t", "x", "y"), Change("/f", True, False)], {"a": 5}, 0.1)
    (one,) = found.newest(0.2)
    assert (one.pointer, one.values) == ("/a", [1, 5])
    found.note([], {"a": 5}, 1.0)
    found.note([Change("/a", 5, 7)], {"a": 7}, 1.2)
    assert one.values == [1, 5, 5, 7]


def test_a_number_that_is_gone_is_no_longer_followed() -> None:
    found = movers.Movers(0.0)
    found.note([Change("/a", 1, 2), Change("/b/c", 1, 2), Change("/d", 1, 2)], {}, 0.1)
    found.note([Change("/a", 2, MISSING)], {"d": 2}, 0.2)
    assert [one.pointer for one in found.newest(0.2)] == ["/b/c", "/d"]
    found.note([], {"d": 2}, 0.6)
    assert [one.pointer for one in found.newest(0.6)] == ["/d"]


def test_numbers_that_move_come_in_a_steady_order_and_quiet_ones_after_them() -> None:
    found = movers.Movers(0.0)
    for now, names in ((1.0, "ab"), (2.0, "cb"), (movers.QUIET + 2.0, "d")):
        state = dict.fromkeys("abcd", 2)
        found.note([Change(f"/{name}", 1, 2) for name in names], state, now)
    assert [one.pointer for one in found.newest(movers.QUIET + 2.5)] == ["/d", "/b", "/c", "/a"]
    found.note([Change(f"/{number}", 1, 2) for number in range(500)], {}, movers.QUIET + 2.1)
    assert len(found.newest(movers.QUIET + 2.1)) == 200


def test_labels_tell_numbers_apart_and_are_no_longer_than_that() -> None:
    pointers = ["/line/temperature", "/room/temperature", "/line/efficiency", "/a/b/x", "/c/b/x"]
    found = list(movers.labels(pointers).values())
    assert found == ["efficiency", "line/temperature", "room/temperature", "a/b/x", "c/b/x"]
    assert movers.labels(["/a/b/c"], 2) == {"/a/b/c": "b/c"}


# --- the feed ----------------------------------------------------------------------------------------------


class Script:
    """A subscription that hands out what it is told to."""

    connected = True

    def __init__(self, *events: Event, error: Exception | None = None) -> None:
        self.events, self.error, self.closed = events, error, False

    def __iter__(self) -> Any:
        yield from self.events
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


def test_a_feed_has_all_events_and_then_the_error_that_ended_them() -> None:
    one, two = commit(1, {}, {"a": 1}), commit(2, {"a": 1}, {"a": 2})
    script = Script(one, Heartbeat("t", "e", 1, connected=True), two, error=ValueError("over"))
    feed = Feed(script)
    wait_until(lambda: not feed._thread.is_alive())
    taken = feed.take()
    first, second = next(taken), next(taken)
    assert (first[2], second[2]) == (one, two)
    assert first[0] <= second[0] <= time.monotonic()
    assert first[1].tzinfo is not None
    with pytest.raises(ValueError, match="over"):
        next(taken)
    assert feed.connected
    feed.close()
    assert script.closed


def test_a_feed_that_ended_well_has_nothing_more() -> None:
    feed = Feed(Script())
    wait_until(lambda: not feed._thread.is_alive())
    assert list(feed.take()) == []
