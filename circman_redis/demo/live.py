"""The live view of a run on a terminal (needs rich, which comes with the extra ``cli``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from circman_redis.demo.factory import MATERIALS, inventory
from circman_redis.demo.view import Glance
from circman_redis.view.bars import bar, spark
from circman_redis.view.draw import actor_line, event_lines, rate

ROWS = 14
"""Lines inside the two panels."""

TALL = 34
"""From so many lines on there is room for the newest events."""

OTHER_LINES = ROWS + 17
"""Lines beside the newest events: the introduction, the panels, what is printed after the run, and a prompt."""

WIDE = 100
"""From so many columns on there is room for each worker's count."""

NAME = 13
"""Columns of a worker's name."""

COLORS = {"environment": "green", "production": "magenta", "quality": "yellow", "materials": "cyan", "monitor": "blue"}

# What the panel shows of the state: a section, what stands beside its name, and its readings with their units.
SECTIONS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("environment", "measured_at", (("temperature", "°C"), ("humidity", "%"), ("irradiance", "W/m²"))),
    (
        "production_line",
        "status",
        (("temperature", "°C"), ("production_rate", "units/h"), ("energy_consumption", "kWh"), ("efficiency", "")),
    ),
)


class LiveView:
    """State, version, commits per second, shares and progress, in place.

    Args:
        seconds: how long the run will be.
        console: where to show it.
    """

    every = 0.125

    def __init__(self, seconds: float, console: Console | None = None) -> None:
        self.seconds = seconds
        self.console = console or Console(highlight=False)
        self.events = min(12, self.console.height - OTHER_LINES) if self.console.height >= TALL else 0
        # By hand: between two looks there is nothing new to draw.
        self.live = Live(console=self.console, auto_refresh=False, vertical_overflow="crop")

    def shown(self) -> AbstractContextManager[object]:
        """Draws from here on; the last picture stays."""
        return self.live

    def show(self, glance: Glance) -> None:
        """Draws how the run stands."""
        self.live.update(picture(glance, self.seconds, self.console.width, self.events), refresh=True)

    def tell(self, text: str) -> None:
        """Writes it above the picture."""
        self.console.print(Text(text, no_wrap=True, overflow="ellipsis"))

    def note(self, text: str) -> None:
        """Writes it above the picture."""
        self.console.print(Text(text, style="bold red"))

    def conclude(self, text: str, *, good: bool) -> None:
        """Writes it below, in the color of the verdict."""
        self.console.print(Text(text, style="bold green" if good else "bold red"), soft_wrap=True)


def picture(glance: Glance, seconds: float, width: int, events: int = 0) -> RenderableType:
    """Everything, as wide as the terminal, with so many of the newest events."""
    left = max(46, width // 2)
    body = Table.grid(padding=0)
    body.add_column(width=left)
    body.add_column(width=width - left)
    body.add_row(
        _panel(f"version {glance.version}", state_rows(glance, left - 4)),
        _panel("commits per second by worker", worker_rows(glance, width - left - 4, counts=width >= WIDE)),
    )
    below: list[RenderableType] = []
    if events:
        below.append(_newest(glance, width, events))
    if not glance.over:
        below.append(_progress(glance, seconds, width))
    return Group(body, *below)


def _panel(title: str, rows: Sequence[Text]) -> Panel:
    inside = Text("\n", no_wrap=True, overflow="ellipsis").join(rows)
    return Panel(inside, title=Text(title, style="bold"), title_align="left", height=ROWS + 2, border_style="dim")


# --- the state ---------------------------------------------------------------------------------------------


def state_rows(glance: Glance, width: int) -> list[Text]:
    """The left panel's lines."""
    state = glance.state
    rows: list[Text] = []
    for name, headline, readings in SECTIONS:
        found = state.get(name)
        part: dict[str, Any] = found if isinstance(found, dict) else {}
        rows.append(_row((name, "bold"), (_shown(part.get(headline)).rjust(width - len(name)), "dim")))
        rows += [_reading(reading, unit, part) for reading, unit in readings]
    rows[-1].append(" defects ", style="dim").append(_shown(_defect_rate(state)))
    rows.append(_row(("materials", "bold"), ("inventory".rjust(18), "dim")))
    rows += [_stock(material, inventory(state, material), full, width) for material, full in MATERIALS.items()]
    return rows


def _row(*pieces: tuple[str, str]) -> Text:
    return Text.assemble(*pieces)


def _reading(name: str, unit: str, part: dict[str, Any]) -> Text:
    return _row((f"  {name:<18}", ""), (f"{_shown(part.get(name)):>7}", ""), (f" {unit}" if unit else "", "dim"))


def _defect_rate(state: Mapping[str, Any]) -> Any:
    line = state.get("production_line")
    return line.get("defect_rate") if isinstance(line, dict) else None


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value)


def _stock(material: str, units: Any, full: int, width: int) -> Text:
    # Two consumers may restock at once: over the full it is simply full.
    share = units / full if isinstance(units, int) else 0.0
    color = "yellow" if share < 0.2 else "blue"  # noqa: PLR2004 - soon to be restocked
    return _row((f"  {material:<18}{_shown(units):>7} ", ""), (bar(share, width - 28), color))


# --- the workers -------------------------------------------------------------------------------------------


def worker_rows(glance: Glance, width: int, *, counts: bool) -> list[Text]:
    """The right panel's lines: a worker each, and at the bottom the rate and the refusals."""
    rates = {name: _per_second(glance, name) for name in glance.counts}
    room = ROWS - 4
    names = list(rates)
    shown = names if len(names) <= room else names[: room - 1]
    rest = names[len(shown) :]
    highest = max(rates.values(), default=0.0) or 1.0
    rows = [_worker(glance, name, rates[name], highest, width, counts=counts) for name in shown]
    if rest:
        others, theirs = f"{len(rest)} more", rate(sum(rates[name] for name in rest))
        rows.append(_row((others + theirs.rjust(width - len(others)), "dim")))
    rows += [Text()] * (room + 1 - len(rows))
    return [*rows, *_rate(glance, width)]


def _per_second(glance: Glance, name: str) -> float:
    """A worker's commits per second: now, and at the end those of the whole run."""
    return glance.counts[name] / glance.elapsed if glance.over else glance.by_worker.get(name, 0.0)


def _worker(glance: Glance, name: str, commits: float, highest: float, width: int, *, counts: bool) -> Text:
    if name in glance.failed or name in glance.killed:
        how, style = ("failed", "bold red") if name in glance.failed else ("killed", "yellow")
        return _row((f"{name:<{NAME}} {how}", style))
    more = f" {glance.counts[name]:>6}" if counts else ""
    return actor_line(name, commits, width, highest=highest, names=NAME, colour=_color(name), more=more)


def _color(actor: str) -> str:
    return COLORS.get(actor.partition("-")[0], "")


def _rate(glance: Glance, width: int) -> list[Text]:
    now = "" if glance.over else f"{glance.rate:.0f} now, "
    return [
        _row((f"commits/s  {now}{glance.mean:.0f} mean", "")),
        _row((spark(glance.past[-width:]), "cyan")),
        _row((f"refused by the rules  {glance.refused}", "" if glance.refused else "dim")),
    ]


# --- below -------------------------------------------------------------------------------------------------


def _newest(glance: Glance, width: int, room: int) -> Panel:
    inside = Text("\n", no_wrap=True).join(event_lines(glance.newest, width - 4, room, colours=_color))
    return Panel(inside, title=Text("newest events", style="bold"), title_align="left", border_style="dim")


def _progress(glance: Glance, seconds: float, width: int) -> Table:
    said = f"{glance.elapsed:.1f} of {seconds:g} s"
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=seconds, completed=glance.elapsed, width=width - len(said) - 6), said)
    return row
