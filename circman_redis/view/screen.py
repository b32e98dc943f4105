"""The screen of `top`: what stands where, for every size of a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from circman_redis.view import tree
from circman_redis.view.draw import actor_lines, chart_lines, event_lines, fit, rate, total_line, tree_lines
from circman_redis.view.picture import Picture
from circman_redis.view.words import Piece, cut, cut_left, one_line

SMALLEST = (40, 10)
"""Columns and lines below which it only says that it needs more."""

_EPOCH = 8  # characters of an epoch that tell it from others
_SEPARATOR = 3  # columns between the two halves
_WINDOW = 2.0  # seconds over which the rates are taken


def screen(picture: Picture, now: float, width: int, height: int, silent: float | None = None) -> list[Text]:
    """All lines of the screen, from the top.

    Args:
        picture: what is to be seen; looked at just now.
        now: by its clock.
        width: columns of the terminal.
        height: its lines.
        silent: seconds without a connection; None where there is one.
    """
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return [fit([(f"needs {SMALLEST[0]}x{SMALLEST[1]}, is {width}x{height}", "bold red")], width)]
    last = max(3, height * 22 // 100)
    room = height - last - 3
    left = width // 2
    right = width - left - _SEPARATOR
    return [
        _header(picture, now, width, silent),
        *_beside(_state(picture, now, left, room), _moving(picture, now, right, room)),
        _title("last events", width, "q quits"),
        *_events(picture, width, last),
    ]


def _title(text: str, width: int, note: str = "") -> Text:
    note = f" {note} ─" if note else ""
    line = "─" * max(0, width - len(text) - len(note) - 1)
    return fit([(f"{text} ", "bold"), (line, "dim"), (note, "dim")], width)


def _filled(lines: Sequence[Text], width: int, room: int) -> list[Text]:
    return [*lines[:room], *(fit([], width) for _ in range(room - len(lines)))]


def _beside(left: list[Text], right: list[tuple[str, Text]]) -> list[Text]:
    return [Text.assemble(one, (mark, "dim"), other, end="") for one, (mark, other) in zip(left, right, strict=True)]


# --- its parts ---------------------------------------------------------------------------------------------


def _header(picture: Picture, now: float, width: int, silent: float | None) -> Text:
    status: Piece = ("● connected ", "green")
    if silent is not None:
        status = (f"○ no connection for {silent:.0f} s ", "bold red")
    pieces: list[Piece] = [(f" {one_line(picture.twin)} ", "bold reverse")]
    if picture.version:
        pieces += [("  version ", "dim"), (str(picture.version), "bold"), ("  epoch ", "dim")]
        pieces += [(cut(picture.epoch, _EPOCH), "")]
    pieces += [("  ", ""), (rate(picture.rates.now(now, _WINDOW)), "bold"), (" commits/s  ", "dim")]
    room = width - sum(len(text) for text, _ in pieces) - len(status[0]) - 2
    server = cut_left(picture.server, room) if room >= _EPOCH else ""
    return fit([*pieces, (f"{server:<{max(0, room)}}  ", "dim"), status], width)


def _state(picture: Picture, now: float, width: int, room: int) -> list[Text]:
    rows = picture.rows(room)
    hidden = tree.hidden(picture.root, rows)
    note = f"{hidden} lines hidden" if hidden > 0 else ""
    note = "not what a commit made" if picture.foreign else note
    lines = tree_lines(rows, now, width) if rows else _nothing(picture, width)
    return [_title("state", width, note), *_filled(lines, width, room)]


def _nothing(picture: Picture, width: int) -> list[Text]:
    if picture.foreign:
        said = ["what stands there", "is no JSON object"]
    elif picture.deleted:
        said = ["the twin was deleted;", "waiting for its next commit"]
    elif picture.version:
        said = ["an empty object"]
    else:
        said = ["no state yet;", "waiting for the first commit"]
    return [fit([], width), *(fit([(f"  {one}", "yellow")], width) for one in said)]


def _moving(picture: Picture, now: float, width: int, room: int) -> list[tuple[str, Text]]:
    """The right half, each line with what separates it from the left one."""
    rates = picture.rates.by_actor(now, _WINDOW)
    actors = min(len(rates) + 1, max(3, room * 2 // 5))
    charts = room - actors - 1
    series = picture.movers.newest(now)
    more = f"{len(series) - charts} more" if len(series) > charts else ""
    above = chart_lines(series, now, width, charts) or [fit([("no number has moved yet", "dim")], width)]
    names = min(max(map(len, ["all", *rates])), max(8, width * 2 // 5))
    total = total_line(picture.rates.past(now, width), picture.rates.now(now, _WINDOW), width, names)
    below = [total, *actor_lines(rates, width, actors - 1, names=names)]
    return [
        ("─┬─", _title("numbers that move", width, more)),
        *((" │ ", line) for line in _filled(above, width, charts)),
        (" ├─", _title("commits per second", width)),
        *((" │ ", line) for line in _filled(below, width, actors)),
    ]


def _events(picture: Picture, width: int, room: int) -> list[Text]:
    lines = event_lines(picture.events, width, room) or [fit([("  none since you look", "dim")], width)]
    return _filled(lines, width, room)
