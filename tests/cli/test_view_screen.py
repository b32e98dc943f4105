"""The screen of `top`, drawn without a terminal from events and a clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from circman_redis.events import ForeignWrite, Heartbeat, HistoryGap, StateRolledBack
from circman_redis.frozen import EMPTY, freeze
from circman_redis.results import Snapshot
from circman_redis.view import draw, live, movers
from circman_redis.view.picture import Picture
from circman_redis.view.screen import screen
from tests.cli.test_view_parts import commit

MOMENT = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
START: dict[str, Any] = {
    "system_status": "running",
    "environment": {"temperature": 22.0, "humidity": 55},
    "materials": {f"material-{number}": {"inventory": 100, "unit": "kg"} for number in range(20)},
    "timestamp": "2026-11-22T14:00:00Z",
}


def a_picture(state: Any = START, version: int = 1) -> Picture:
    return Picture("plant", "redis://example:6379/0", Snapshot(freeze(state), version=version, epoch="e" * 20), 0.0)


def busy(actors: int = 3, commits: int = 40) -> tuple[Picture, float]:
    """A picture after some seconds of work, and the time."""
    picture, now = a_picture(), 0.0
    for number in range(commits):
        now = number * 0.1
        state = {
            **picture.state,
            "environment": {"temperature": 22.0 + number % 7, "humidity": 55},
            "timestamp": str(number),
        }
        picture.take(commit(2 + number, picture.state, state, actor=f"actor-{number % actors}"), now, MOMENT)
        picture.look(now)
    return picture, now


def shown(picture: Picture, now: float, width: int = 80, height: int = 24, silent: float | None = None) -> list[str]:
    return [line.plain for line in screen(picture, now, width, height, silent)]


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (81, 25), (120, 40), (200, 50)])
def test_the_screen_is_as_large_as_the_terminal(width: int, height: int) -> None:
    picture, now = busy(actors=9)
    lines = screen(picture, now, width, height)
    assert len(lines) == height
    assert {line.cell_len for line in lines} == {width}


def test_at_80_by_24_everything_is_there() -> None:
    picture, now = busy()
    lines = shown(picture, now)
    text = "\n".join(lines)
    assert lines[0].startswith(" plant   version 41  epoch e  ")
    assert lines[0].endswith("● connected ")
    assert "commits/s" in lines[0]
    for part in ("state ──", "┬─numbers that move ─", "├─commits per second ─", "last events ──", "q quits"):
        assert part in text
    assert any(line.startswith("▲   temperature  26.0") for line in lines)
    assert any("temperature" in line and "26.0" in line.partition("│")[2] and "█" in line for line in lines)
    assert any("│ actor-1" in line and "█" in line for line in lines)
    assert any(line.startswith(" 41  ") and "/environment/temperature 25.0 → 26.0" in line for line in lines)


def test_a_larger_terminal_has_more_of_everything() -> None:
    small, now = busy(actors=12)
    large, _ = busy(actors=12)
    few, many = "\n".join(shown(small, now)), "\n".join(shown(large, now, 160, 50))
    assert "lines hidden" in few
    assert "lines hidden" in many
    for part in ("inventory", "│ actor-", "/environment/temperature"):
        assert few.count(part) < many.count(part)
    assert "12 more" not in many
    assert "more" in few


def test_wide_letters_take_two_columns() -> None:
    picture = a_picture({"名前": "デジタルツイン" * 20})
    assert {line.cell_len for line in screen(picture, 0.0, 80, 24)} == {80}


def test_a_change_is_marked_bright_and_fades() -> None:
    picture = a_picture({"n": 1})
    picture.take(commit(2, {"n": 1}, {"n": 2}), 10.0, MOMENT)
    picture.look(10.0)
    styles = [
        {str(span.style) for span in screen(picture, now, 80, 24)[2].spans} & {"bold yellow", "yellow"}
        for now in (10.1, 11.5, 13.0)
    ]
    assert styles == [{"bold yellow"}, {"yellow"}, set()]
    assert picture.is_moving(11.5)
    picture.look(13.0)
    assert not picture.is_moving(13.0)


def test_what_was_removed_is_struck_out_for_a_moment() -> None:
    picture = a_picture({"a": 1, "b": {"c": 1}})
    picture.take(commit(2, {"a": 1, "b": {"c": 1}}, {"a": 1}), 1.0, MOMENT)
    picture.look(1.0)
    assert '- b  {"c":1} ' in shown(picture, 1.0)[3]
    picture.look(4.0)
    assert not any("b" in line[:20] for line in shown(picture, 4.0)[3:5])


def test_the_timestamp_alone_is_no_mark() -> None:
    picture = a_picture({"timestamp": "a"})
    picture.take(commit(2, {"timestamp": "a"}, {"timestamp": "b"}), 1.0, MOMENT)
    picture.look(1.0)
    assert shown(picture, 1.0)[2].startswith('  timestamp  "b"')


def test_a_lost_connection_is_said_with_its_time() -> None:
    picture, now = busy()
    assert shown(picture, now, silent=3.2)[0].endswith("○ no connection for 3 s ")


def test_a_twin_without_a_state_is_waited_for() -> None:
    lines = shown(a_picture(EMPTY, 0), 0.0)
    assert "no state yet;" in lines[3]
    assert "waiting for the first commit" in lines[4]
    assert "no number has moved yet" in "\n".join(lines)
    assert "none since you look" in "\n".join(lines)
    assert "version" not in lines[0]
    assert "an empty object" in shown(a_picture(EMPTY, 3), 0.0)[3]


def test_what_is_no_commit_is_shown_too() -> None:
    picture, now = busy()
    gap = HistoryGap("plant", "e", 60, range(42, 60), Snapshot(freeze({"a": 1}), version=60, epoch="e"))
    picture.take(gap, now, MOMENT)
    assert (picture.version, picture.news) == (41, True)
    picture.take(ForeignWrite("plant", "e", 41, "key", "why", freeze({"theirs": 1})), now, MOMENT)
    picture.look(now)
    assert "not what a commit made" in shown(picture, now)[1]
    assert "theirs" in shown(picture, now)[2]
    picture.take(ForeignWrite("plant", "e", 41, "key", "why", None), now, MOMENT)
    picture.look(now)
    picture.look(now + 9)
    assert "is no JSON object" in shown(picture, now + 9)[4]
    picture.take(StateRolledBack("plant", "", 0, "e", 41, Snapshot(EMPTY)), now, MOMENT)
    picture.look(now + 10)
    lines = shown(picture, now + 10)
    assert "waiting for its next commit" in lines[4]
    assert "the twin was deleted, after version 41" in lines[-5]
    picture.take(commit(1, {}, {"again": 1}), now, MOMENT)
    picture.look(now + 11)
    assert "again" in shown(picture, now + 11)[2]


def test_a_heartbeat_is_no_news() -> None:
    picture = a_picture()
    picture.look(0.0)
    picture.take(Heartbeat("plant", "e", 1, connected=True), 1.0, MOMENT)
    assert (picture.news, picture.rates.total, len(picture.events)) == (False, 0, 0)


def test_a_terminal_that_is_too_small_says_so() -> None:
    picture, now = busy()
    assert shown(picture, now, 30, 8) == [f"{'needs 40x10, is 30x8':<30}"]


def test_a_chart_tells_its_range_where_there_is_room() -> None:
    series = [movers.Series(f"/line/n{number}", 0.0, 5.0) for number in range(2)]
    for one in series:
        one.samples.extend([1.0, 9.0])
    high = [line.plain for line in draw.chart_lines(series, 0.0, 60, 9)]
    assert high[0].startswith("line/n0      5.0 ")
    assert high[0].endswith("█   9.0     ")
    assert high[3].endswith("▁██  1.0     ")
    assert high[4] == " " * 60
    assert [line.plain[-20:] for line in draw.chart_lines(series, 0.0, 80, 2)] == [f"  {'1.0 … 9.0':<18}"] * 2
    assert draw.chart_lines(series, 0.0, 60, 2)[0].plain.endswith("▁█▅")
    narrow = [line.plain for line in draw.chart_lines(series, 0.0, 30, 2)]
    assert narrow[0].startswith("n0      5.0 ")
    assert narrow[0].endswith("▁█▅")
    assert draw.chart_lines([], 0.0, 30, 2) == []


def test_of_many_actors_the_busiest_are_shown_and_the_others_summed() -> None:
    rates = {f"a{number}": float(number) for number in range(10)}
    lines = [line.plain for line in draw.actor_lines(rates, 30, 4)]
    assert [line.split()[0] for line in lines] == ["a7", "a8", "a9", "7"]
    assert lines[-1] == f"7 more{'21.0':>24}"
    assert draw.actor_lines(rates, 30, 0) == []
    assert [draw.rate(number) for number in (0.0, 0.5, 99.9, 99.96, 1234.5)] == ["0", "0.5", "99.9", "100", "1234"]


# --- when it is drawn --------------------------------------------------------------------------------------


class Stage:
    """What a painter needs: events that came, a connection, and a terminal."""

    def __init__(self) -> None:
        self.console = Console(width=80, height=24, force_terminal=True, legacy_windows=False)
        self.connected = True
        self.came: list[Any] = []
        self.drawn: list[list[str]] = []

    def take(self) -> Any:
        came, self.came = self.came, []
        return came

    def update(self, lines: live.Lines, *, refresh: bool) -> None:
        assert refresh
        self.drawn.append([line.plain for line in lines.lines])


def test_it_draws_by_the_clock_however_many_events_come(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, picture = Stage(), a_picture()
    painter = live.Painter(picture, stage, stage)  # type: ignore[arg-type]
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)
    for turn in range(1000):  # 10 s, with 10 commits in each turn
        now = turn / 100
        stage.came = [(now, commit(2 + turn * 10 + one, {"n": one}, {"n": one + 1}), MOMENT) for one in range(10)]
        stage.came = [(moment, date, event) for moment, event, date in stage.came]
        painter.turn(now)
    assert 70 <= len(stage.drawn) <= 81
    assert picture.version == 10_001


def test_where_nothing_moves_it_draws_once_a_second_and_at_once_when_the_size_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, picture = Stage(), a_picture()
    painter = live.Painter(picture, stage, stage)  # type: ignore[arg-type]
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)
    for turn in range(50):
        painter.turn(10 + turn / 10)
    assert 5 <= len(stage.drawn) <= 6
    stage.console.size = (100, 30)  # type: ignore[assignment]
    painter.turn(14.95)
    assert (len(stage.drawn[-1]), len(stage.drawn[-1][0])) == (30, 100)


def test_how_long_the_connection_is_lost_is_counted_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, picture = Stage(), a_picture()
    painter = live.Painter(picture, stage, stage)  # type: ignore[arg-type]
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)
    for now, connected in ((10.0, True), (12.0, False), (15.0, False), (20.0, True)):
        stage.connected = connected
        painter.turn(now)
    headers = [lines[0].rstrip().rpartition("  ")[2] for lines in stage.drawn]
    assert headers == ["● connected", "○ no connection for 0 s", "○ no connection for 3 s", "● connected"]


def test_lines_are_drawn_as_they_are() -> None:
    console = Console(width=20, height=3, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(live.Lines([draw.fit([("a", "bold")], 5), draw.fit([("bcdefgh", "")], 5)]))
    assert capture.get().splitlines() == ["a    ", "bcde…"]
