"""Draws with rich what the pure parts say: lines of text, each exactly as wide as it has to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from circman_redis.events import Event
from circman_redis.view import tree
from circman_redis.view.bars import bar, chart, spark
from circman_redis.view.marks import LASTS, Mark, is_number
from circman_redis.view.movers import Series, labels
from circman_redis.view.words import Colours, Piece, brief, colour_of, cut, event_line, name_of, squeeze

_BRIGHT = 0.7  # seconds for which a change is bright, before it fades
_COLOURS_OF_MARKS = {"+": "green", "-": "red"}
_TALLEST = 4  # lines of a chart
_WITH_RANGE = (56, 80)  # columns from which on a chart tells its range: a high one, a flat one
_WITH_MILLISECONDS = 100  # columns from which on an event tells its time to the millisecond


def fit(pieces: Iterable[Piece], width: int) -> Text:
    """The pieces as a line of exactly so many columns."""
    line = Text.assemble(*pieces, no_wrap=True, end="")
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


# --- the tree ----------------------------------------------------------------------------------------------


def tree_lines(rows: Sequence[tree.Row], now: float, width: int) -> list[Text]:
    """The rows of a tree; the values of one object stand below each other."""
    return [fit(_row(row, _name_columns(rows, row, width), now, width), width) for row in rows]


def _name_columns(rows: Sequence[tree.Row], row: tree.Row, width: int) -> int:
    parent = row.pointer.rpartition("/")[0]
    names = [len(one.name) for one in rows if not one.opened and one.pointer.rpartition("/")[0] == parent]
    return min(max(names, default=0), max(8, width // 2 - 2 * row.depth))


def _row(row: tree.Row, names: int, now: float, width: int) -> list[Piece]:
    sign, colour = _look_of(row.mark, now)
    head: list[Piece] = [(f"{sign:<2}", colour), ("  " * row.depth, "")]
    if row.opened:
        return [*head, (row.name, "bold"), (f"  … {row.hidden} more" if row.hidden else "", "dim")]
    head.append((f"{cut(row.name, names):<{names}}  ", colour))
    room = max(1, width - sum(len(text) for text, _ in head))
    if sign == "-":
        return [*head, (brief(row.value, room), "red strike")]
    if row.hidden:
        return [*head, (_size(row.value), colour or "dim")]
    return [*head, (brief(row.value, room), colour or _colour_of_value(row.value))]


def _look_of(mark: Mark | None, now: float) -> tuple[str, str]:
    """The sign and the style of a change; neither once it has faded."""
    if mark is None or now - mark.since > LASTS:
        return "", ""
    colour = _COLOURS_OF_MARKS.get(mark.sign, "yellow")
    return mark.sign, f"bold {colour}" if now - mark.since < _BRIGHT else colour


def _size(value: Any) -> str:
    return f"{{{len(value)}}}" if isinstance(value, dict) else f"[{len(value)}]"


def _colour_of_value(value: Any) -> str:
    if isinstance(value, str):
        return "green"
    return "" if is_number(value) else "magenta"


# --- numbers that move -------------------------------------------------------------------------------------


def chart_lines(series: Sequence[Series], now: float, width: int, room: int) -> list[Text]:
    """A chart per number, all of the same height: as many as have room."""
    shown = series[:room]
    if not shown:
        return []
    names = labels([one.pointer for one in shown], 2 if width >= _WITH_RANGE[0] else 1)
    columns = min(max(map(len, names.values())), max(8, width * 45 // 100))
    height = min(_TALLEST, (room + 1) // len(shown) - 1)  # and an empty line between two
    lines: list[Text] = []
    for one in shown:
        lines += _chart(one, names[one.pointer], now, width, names=columns, height=max(1, height))
        lines += [fit([], width)] if height > 1 else []
    return lines[:room]


def _chart(series: Series, label: str, now: float, width: int, *, names: int, height: int) -> list[Text]:
    quiet = "dim" if now - series.moved > LASTS else ""
    values = series.values
    ends = _ends(values, height) if width >= _WITH_RANGE[height == 1] else [""] * height
    room = max(1, width - names - 11 - max(map(len, ends)))
    drawn = [line.rjust(room) for line in chart(values[-room:], height)]
    lines = []
    for number, (line, end) in enumerate(zip(drawn, ends, strict=True)):
        first = number == 0
        name = f"{squeeze(label, names):<{names}}" if first else " " * names
        value = f"{brief(series.now, 8):>8}" if first else " " * 8
        lines.append(
            fit([(name, quiet), (f" {value}  ", quiet or "bold"), (line, quiet or "cyan"), (end, "dim")], width)
        )
    return lines


def _ends(values: Sequence[float], height: int) -> list[str]:
    low, high = brief(min(values), 8), brief(max(values), 8)
    if height == 1:
        return [f"  {f'{low} … {high}':<18}"]
    return [f"  {high:<8}", *[" " * 10] * (height - 2), f"  {low:<8}"]


# --- commits per second ------------------------------------------------------------------------------------


def actor_lines(
    rates: dict[str, float], width: int, room: int, *, colours: Colours = colour_of, names: int = 0
) -> list[Text]:
    """A bar and a rate per actor, by name; where not all have room, the busiest and the sum of the others."""
    busiest = sorted(rates, key=lambda actor: -rates[actor])
    kept = busiest if len(busiest) <= room else busiest[: max(0, room - 1)]
    rest = busiest[len(kept) :]
    names = names or min(max(map(len, kept), default=0), max(8, width // 3))
    highest = max(rates.values(), default=0.0) or 1.0
    lines = [
        actor_line(actor, rates[actor], width, highest=highest, names=names, colour=colours(actor))
        for actor in sorted(kept)
    ]
    if rest and room > 0:
        others = f"{len(rest)} more"
        lines.append(
            fit([(others, "dim"), (rate(sum(rates[one] for one in rest)).rjust(width - len(others)), "dim")], width)
        )
    return lines


def actor_line(
    actor: str, commits: float, width: int, *, highest: float, names: int, colour: str, more: str = ""
) -> Text:
    """An actor's name, bar and rate, and what else there is to say."""
    filled = bar(commits / highest, max(1, width - names - 8 - len(more)))
    quiet = "" if commits else "dim"
    name, numbers = f"{cut(actor, names):<{names}} ", f"{rate(commits):>7}{more}"
    return fit([(name, quiet), (filled, colour), (numbers, quiet)], width)


def rate(commits: float) -> str:
    """Commits per second, with as many digits as matter."""
    return f"{commits:.0f}" if commits >= 99.95 or not commits else f"{commits:.1f}"  # noqa: PLR2004 - 100.0 is 100


def total_line(past: Sequence[float], now: float, width: int, names: int) -> Text:
    """All commits per second, with their recent past."""
    room = max(1, width - names - 8)
    return fit(
        [(f"{'all':<{names}} ", "bold"), (spark(past[-room:]).rjust(room), "cyan"), (f"{rate(now):>7}", "bold")], width
    )


# --- events ------------------------------------------------------------------------------------------------


def event_lines(
    events: Iterable[tuple[datetime, Event]], width: int, room: int, *, colours: Colours = colour_of
) -> list[Text]:
    """The events, newest first, a line each."""
    known = list(events)
    names = max((len(name_of(getattr(event, "actor", None))) for _, event in known), default=0)
    versions = max((len(str(event.version)) for _, event in known), default=0)

    def line(moment: datetime, event: Event) -> Text:
        pieces = event_line(
            event,
            moment,
            width,
            names=min(max(names, 8), 20),
            versions=versions + 1,
            to_the_second=width < _WITH_MILLISECONDS,
            colours=colours,
        )
        return fit(pieces, width)

    return [line(moment, event) for moment, event in known[:room]]
