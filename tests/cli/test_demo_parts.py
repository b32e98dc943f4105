"""The parts of the demo that need no server: the verification, who works, the weather, what is shown."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from circman_redis import HistoryEntry, TwinState, rules
from circman_redis.demo import around, factory, follow, live, main, run, view
from circman_redis.demo.around import Readings
from circman_redis.demo.verify import Acknowledged, Verdict, verify
from circman_redis.events import ForeignWrite, HistoryGap, StateEvent, StateRolledBack
from circman_redis.results import Snapshot
from circman_redis.twin import weather
from circman_redis.twin.domain import DomainEvent

# --- the verification, without a server --------------------------------------------------------------------

START = {"wafer": 100}


def a_run(consumed: tuple[int, ...] = (5, 7, -50, 3)) -> tuple[list[HistoryEntry], list[Acknowledged]]:
    """A run in which all is well: its commits, newest first, and what was acknowledged."""
    state: dict[str, Any] = {"materials": {"wafer": {"inventory": 100}}}
    entries = [HistoryEntry(1, None, "t", "set", "demo", "id-1", None, state)]
    told = [Acknowledged(1, "e", "id-1", "demo")]
    for version, units in enumerate(consumed, 2):
        left = state["materials"]["wafer"]["inventory"] - units
        state = {"materials": {"wafer": {"inventory": left}}}
        entries.insert(0, HistoryEntry(version, None, "t", "adjust", "materials-1", f"id-{version}", state, state))
        told.append(Acknowledged(version, "e", f"id-{version}", "materials-1", {"wafer": units}))
    return entries, told


def judge(entries: list[HistoryEntry], told: list[Acknowledged]) -> Verdict:
    return verify(entries, told, START, "e")


def test_a_run_in_which_all_is_well_has_no_problems() -> None:
    verdict = judge(*a_run())
    assert verdict.problems == ()
    assert (verdict.commits, verdict.lost, verdict.duplicated) == (5, 0, 0)
    assert [str(balance) for balance in verdict.balances] == ["wafer          100 - 15 + 50 = 135, in Redis: 135"]


def test_the_order_of_the_acknowledgements_does_not_matter() -> None:
    entries, told = a_run()
    assert judge(entries, told[::-1]).problems == ()


def test_a_commit_that_is_not_in_redis_is_lost() -> None:
    entries, told = a_run()
    lost = Acknowledged(6, "e", "id-6", "materials-2", {"wafer": 1})
    verdict = judge(entries, [*told, lost])
    assert verdict.lost == 1
    assert "version 6 (id-6) was acknowledged to materials-2, and is not in Redis" in verdict.problems
    assert any("100 - 16 + 50 = 134, in Redis: 135" in problem for problem in verdict.problems)


def test_a_gap_in_the_versions_is_named() -> None:
    entries, told = a_run()
    verdict = judge([one for one in entries if one.version not in {3, 4}], told)
    assert verdict.lost == 2
    assert "versions 3 to 4 are missing" in verdict.problems


def test_a_history_that_does_not_reach_back_to_version_1_is_noticed() -> None:
    entries, told = a_run()
    assert "version 1 is missing" in judge(entries[:-1], told).problems


def test_a_commit_that_was_applied_twice_is_noticed() -> None:
    entries, told = a_run()
    again = replace(entries[0], version=6)
    verdict = judge([again, *entries], told)
    assert verdict.duplicated == 1
    assert "id-5 stands in Redis twice: as version 5 and as 6" in verdict.problems
    assert "version 6 (id-5, by materials-1) was acknowledged to materials-1 as version 5" in verdict.problems


def test_an_entry_that_stands_there_twice_is_noticed() -> None:
    entries, told = a_run()
    verdict = judge([entries[0], *entries], told)
    assert verdict.duplicated == 1
    assert "version 5 comes after version 5 in the history" in verdict.problems


def test_one_version_acknowledged_to_two_is_noticed() -> None:
    entries, told = a_run()
    other = Acknowledged(3, "e", "id-x", "materials-2", {})
    verdict = judge(entries, [*told, other])
    assert (verdict.lost, verdict.duplicated) == (1, 1)
    assert "version 3 was acknowledged twice: as id-3 and as id-x" in verdict.problems


def test_a_commit_that_nobody_was_told_of_is_noticed() -> None:
    entries, told = a_run()
    verdict = judge(entries, told[:-1])
    assert "version 5 (id-5, by materials-1) is in Redis, and was acknowledged to nobody" in verdict.problems


def test_a_commit_under_another_name_is_noticed() -> None:
    entries, told = a_run()
    entries[1] = replace(entries[1], actor="production-1")
    assert judge(entries, told).problems == (
        "version 4 (id-4, by production-1) was acknowledged to materials-1 as version 4",
    )


def test_a_state_that_its_patch_did_not_make_is_noticed() -> None:
    entries, told = a_run()
    entries[2] = replace(entries[2], state={**entries[2].state, "intruder": 1})
    problems = judge(entries, told).problems
    assert "version 3 is not version 2 merged with its patch" in problems


def test_an_amount_other_than_acknowledged_is_noticed_where_it_was_taken() -> None:
    entries, told = a_run()
    told[2] = replace(told[2], consumed={"wafer": 8})
    assert judge(entries, told).problems == (
        "version 3 (by materials-1) took wafer from 95 to 88, and 8 were acknowledged as consumed",
        "material balance: wafer          100 - 16 + 50 = 134, in Redis: 135",
    )


def test_a_start_other_than_claimed_is_noticed() -> None:
    entries, told = a_run()
    problems = verify(entries, told, {"wafer": 99}, "e").problems
    assert "version 1 has 100 of wafer, and not the 99 of the start" in problems


@pytest.mark.parametrize("left", [135.0, True, None, "135"])
def test_an_inventory_that_is_no_whole_number_does_not_balance(left: object) -> None:
    entries, told = a_run()
    entries[0] = replace(entries[0], state={"materials": {"wafer": {"inventory": left}}})
    assert not judge(entries, told).balances[0].holds


def test_a_twin_that_was_made_anew_meanwhile_is_noticed() -> None:
    entries, told = a_run()
    before = [replace(one, epoch="before", id=f"before-{one.id}") for one in told]
    verdict = judge(entries, [*before, *told])
    assert (verdict.lost, verdict.duplicated) == (5, 0)
    assert verdict.problems[0].startswith("5 commits were acknowledged in another epoch than 'e'")


def test_an_empty_history_is_a_problem_too() -> None:
    assert "there is no commit in Redis" in judge([], []).problems


def test_the_last_commit_of_a_worker_that_was_killed_may_be_told_nobody() -> None:
    """One of each; a second one cannot have been under way."""
    entries, told = a_run((5, 7))
    moved = entries[0].state
    for version in (4, 5):
        entries.insert(0, HistoryEntry(version, None, "t", "merge", "production-1", f"p-{version}", {}, moved))
    killed = {"production-1"}
    assert verify(entries[1:], told, START, "e", killed).problems == ()
    problems = verify(entries, told, START, "e", killed).problems
    assert problems == ("version 4 (p-4, by production-1) is in Redis, and was acknowledged to nobody",)


# --- what happened around it -------------------------------------------------------------------------------

HOT = factory.RULES[0]


def moved(values: list[float], ids: list[str]) -> Readings:
    """What a history says in which the line was so hot."""
    readings = Readings([HOT], "e")
    commits = enumerate(zip(values, ids, strict=True), 1)
    entries = [
        HistoryEntry(
            n, None, f"t{n}", "merge", commit_id[0], commit_id, {}, {"production_line": {"temperature": value}}
        )
        for n, (value, commit_id) in commits
    ]
    assert list(readings.of(entries[::-1])) == entries[::-1]
    return readings


def test_what_should_have_been_said_of_thresholds() -> None:
    """Once for each breach, with its version; what is missing and what is too much is named."""
    readings = moved([20.0, 26.0, 24.5, 24.0, 27.0], ["x"] * 5)
    expected = readings.expected()
    assert expected == [("line-hot", True, 2), ("line-hot", False, 4), ("line-hot", True, 5)]
    assert around.compare(expected, expected) == []
    assert around.compare(expected, [expected[0], expected[0], expected[2]]) == [
        "line-hot was cleared at version 4, and nobody said so",
        "it was said that line-hot was breached at version 2: it was not",
    ]
    assert list(around.of_thresholds([HOT], expected)) == ["line-hot breached twice, cleared once"]


def test_who_moved_the_line_from_when_to_when() -> None:
    """Two at once would take turns."""
    ids = ["a.1/production", "b.2/quality", "a.3/production", "b.4/production", "a.5/production"]
    assert moved([20.0] * 5, ids).movers() == [("a", 1, 3), ("b", 4, 4), ("a", 5, 5)]


def an_event(kind: str, **data: Any) -> DomainEvent:
    return DomainEvent(kind, "demo", data, "somebody", COMMITTED, "e", 1, "e:1")


def test_every_worker_joins_once_and_leaves_once() -> None:
    """One that was taken for gone joins again."""
    events = [
        an_event("worker_joined", worker="a"),
        an_event("worker_joined", worker="b"),
        an_event("worker_left", worker="a", why="vanished"),
        an_event("worker_joined", worker="a"),
        an_event("worker_left", worker="b", why="stopped"),
        an_event("worker_left", worker="a", why="stopped"),
    ]
    assert around.of_workers(events, ["a", "b"]) == ({"joined": 3, "left": 2, "vanished": 1}, [])
    _, wrong = around.of_workers([*events, events[4], events[0], events[0]], ["a", "b", "c"])
    assert wrong == [
        "a joined and vanished and joined and stopped and joined and joined",
        "b joined and stopped and stopped",
        "c never joined",
    ]


# --- who works, and with what ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "names"),
    [
        (1, ["materials-1"]),
        (2, ["environment-1", "materials-1"]),
        (3, ["environment-1", "materials-1", "monitor-1"]),
        (6, ["environment-1", "production-1", "production-2", "quality-1", "materials-1", "monitor-1"]),
        (7, ["environment-1", "production-1", "production-2", "quality-1", "materials-1", "materials-2", "monitor-1"]),
    ],
)
def test_every_number_of_workers_has_somebody_for_the_materials(workers: int, names: list[str]) -> None:
    assert [role.name for role in factory.roles(workers, 10)] == names


@pytest.mark.parametrize(("workers", "seconds"), [(4, 10), (100, 10), (4, 86_400), (1, 0.1)])
def test_a_run_aims_at_what_its_history_can_hold(workers: int, seconds: float) -> None:
    working = [role for role in factory.roles(workers, seconds) if role.name != "production-2"]
    per_second = sum(role.per_second for role in working)
    assert per_second <= factory.MOST_PER_SECOND + 1e-6
    assert per_second * seconds <= factory.MOST_COMMITS + 1e-6 < factory.HISTORY_LENGTH / 2


@pytest.mark.parametrize(("workers", "seconds"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, float("nan")), (1, float("inf"))])
def test_numbers_that_make_no_sense_are_refused(
    workers: int, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(workers, seconds) == 1
    assert re.match(r"Error: (workers|seconds)=", capsys.readouterr().err)


def test_the_weather_is_a_fortnight_hour_by_hour_and_fits_the_model() -> None:
    hours = weather.measured_hours()
    moments = [datetime.fromisoformat(hour["measured_at"]) for hour in hours]
    assert len(hours) == 14 * 24
    assert {(later - earlier).seconds for earlier, later in pairwise(moments)} == {3600}
    assert hours[0]["measured_at"] == "1981-07-01T01:00:00-05:00"
    published = rules.compile_model(TwinState).rules
    assert [rules.check({"environment": hour}, published, factory.VALIDATION) for hour in hours] == [[]] * len(hours)


def test_the_hour_24_is_the_next_days_midnight() -> None:
    lines = ["1,X,NC,-5.0,36.1,-79.9,273", "Date,Time,GHI,Dry-bulb,RHum", "12/31/1988,24:00,0,10.0,77"]
    assert list(weather.parse(lines)) == [
        {"measured_at": "1989-01-01T00:00:00-05:00", "temperature": 10.0, "humidity": 77, "irradiance": 0}
    ]


# --- what it shows -----------------------------------------------------------------------------------------

COMMITTED = "2026-11-22T14:00:00.000000Z"


def a_glance(workers: int = 4, **changes: Any) -> view.Glance:
    state = {
        **factory.initial_state("r"),
        "environment": {"measured_at": "1981-07-01T14:00:00-05:00", "temperature": 31.5, "humidity": 55},
    }
    counts = {role.name: 100 for role in factory.roles(workers, 10)}
    event = StateEvent("demo", "e", 1234, "adjust", "production-1", "id", None, COMMITTED, None, {"a": 2}, {"a": 1})
    glance = view.Glance(
        elapsed=5.0,
        version=1234,
        state=state,
        newest=[(datetime.now(UTC), event)],
        rate=400.0,
        mean=390.0,
        past=[380.0, 400.0],
        by_worker={"materials-1": 200.0, "environment-1": 1.5},
        counts=counts,
        refused=3,
        failed=frozenset(),
        killed=frozenset(),
        over=False,
    )
    return replace(glance, **changes)


def drawn(glance: view.Glance, width: int, events: int = 0) -> list[str]:
    console = Console(file=StringIO(), width=width, height=24, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(live.picture(glance, 10.0, width, events))
    return capture.get().rstrip("\n").split("\n")


@pytest.mark.parametrize("workers", [1, 4, 40])
@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_live_view_fits_the_terminal(width: int, workers: int) -> None:
    lines = drawn(a_glance(workers), width)
    assert len(lines) <= 17
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for shown in ("version 1234", "400 now, 390 mean", "silicon_wafer", "31.5 °C", "5.0 of 10 s", "rules  3"):
        assert shown in text


def test_the_live_view_names_a_worker_that_failed() -> None:
    lines = drawn(a_glance(6, failed=frozenset({"production-1"}), killed=frozenset({"production-2"})), 80)
    assert any("production-1  failed" in line for line in lines)
    assert any("production-2  killed" in line for line in lines)


def test_the_live_view_does_not_stumble_over_a_state_that_others_have_spoiled() -> None:
    spoiled = {"environment": 1, "production_line": [], "materials": {"silicon_wafer": {"inventory": "none"}}}
    assert "version 2" in drawn(a_glance(version=2, state=spoiled), 80)[0]


def test_a_tall_terminal_has_the_newest_events_too() -> None:
    text = "\n".join(drawn(a_glance(), 80, events=3))
    assert "newest events" in text
    assert re.search(r"1234  \d\d:\d\d:\d\d  production-1 +adjust  /a 1 → 2", text)


def test_the_bars_are_of_this_moment_and_at_the_end_of_the_whole_run() -> None:
    assert any(re.search(r"materials-1 +█+ +200 ", line) for line in drawn(a_glance(), 80))
    assert any(re.search(r"materials-1 +█+ +20.0 ", line) for line in drawn(a_glance(over=True), 80))


def test_the_tape_holds_every_event_against_the_one_before() -> None:
    def event(version: int) -> StateEvent:
        return StateEvent("demo", "e", version, "merge", "a", None, None, COMMITTED, {}, {}, {})

    tape = follow.Tape(1)
    for version in (2, 3):
        tape.note(event(version))
    assert (tape.received, tape.check(3)) == (2, [])
    assert tape.conclusion(2, 3) == "event stream: 2 events, versions 2..3, each once and in order"
    assert tape.check(4) == ["the event stream ends at version 3, not at 4"]
    assert tape.conclusion(2, 4) == "event stream: 2 events, and not each of the versions 2..4 once and in order"
    tape.note(event(3))
    assert tape.problems == ["the event of version 3 came after that of version 3"]
    tape.note(HistoryGap("demo", "e", 7, range(4, 7), Snapshot({}, version=7)))
    tape.note(event(7))
    tape.note(StateRolledBack("demo", "", 0, "e", 7, Snapshot({})))
    tape.note(ForeignWrite("demo", "", 0, "the key", "why", None))
    assert (tape.last, len(tape.problems)) == (0, 4)


def test_of_many_consumers_the_plain_line_has_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    view.PlainView().show(a_glance(40))
    assert (
        "environment-1 2%  production-1 2%  production-2 2%  quality-1 2%  35 materials 88%  monitor-1 2%  refused 3"
        in capsys.readouterr().out
    )


def test_the_last_line_of_a_failed_run_says_why() -> None:
    assert run.conclusion(Verdict(9, 1, 2), 4, ["because", "of it"]) == (
        "NOT verified: 9 commits by 4 workers, 1 lost, 2 duplicated; because"
    )
