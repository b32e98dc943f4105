"""The live view of a run on a terminal (needs rich, which comes with the extra ``cli``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
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

ROWS = 14
"""Lines inside the two panels: with what is printed after the run they fill a terminal of 24 lines."""

TALL = 34
"""From so many lines on there is room for the newest commits."""

OTHER_LINES = ROWS + 16
"""Lines beside the newest commits: the introduction, the panels, what is printed after the run, and a prompt."""

WIDE = 100
"""From so many columns on there is room for each worker's count."""

EIGHTHS = " ▏▎▍▌▋▊▉"
SPARKS = "▁▂▃▄▅▆▇█"
COLORS = {"environment": "green", "line": "magenta", "consumer": "cyan"}

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
        self.tall = self.console.height >= TALL
        self.newest = min(12, self.console.height - OTHER_LINES) if self.tall else 1
        self.sparks = self.console.width
        # By hand: between two looks there is nothing new to draw.
        self.live = Live(console=self.console, auto_refresh=False, vertical_overflow="crop")

    def shown(self) -> AbstractContextManager[object]:
        """Draws from here on; the last picture stays."""
        return self.live

    def show(self, glance: Glance) -> None:
        """Draws how the run stands."""
        self.live.update(picture(glance, self.seconds, self.console.width, tall=self.tall), refresh=True)

    def note(self, text: str) -> None:
        """Writes it above the picture."""
        self.console.print(Text(text, style="bold red"))

    def conclude(self, text: str, *, good: bool) -> None:
        """Writes it below, in the color of the verdict."""
        self.console.print(Text(text, style="bold green" if good else "bold red"), soft_wrap=True)


def picture(glance: Glance, seconds: float, width: int, *, tall: bool = False) -> RenderableType:
    """Everything, as wide as the terminal; the newest commits only on a tall one."""
    left = max(46, width // 2)
    body = Table.grid(padding=0)
    body.add_column(width=left)
    body.add_column(width=width - left)
    body.add_row(
        _panel(f"version {glance.version}", state_rows(glance, left - 4)),
        _panel("commits by worker", worker_rows(glance, width - left - 4, counts=width >= WIDE)),
    )
    below: list[RenderableType] = []
    if tall:
        below.append(_newest(glance))
    if not glance.over:
        below.append(_progress(glance, seconds, width))
    return Group(body, *below)


def _panel(title: str, rows: Sequence[Text]) -> Panel:
    inside = Text("\n", no_wrap=True, overflow="ellipsis").join(rows)
    return Panel(inside, title=Text(title, style="bold"), title_align="left", height=ROWS + 2, border_style="dim")


def bar(share: float, width: int) -> str:
    """A bar of ``width`` columns, filled from the left to a share of 0 to 1, to the eighth of a column."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)


def spark(rates: Sequence[float]) -> str:
    """The rates as a line of little bars, the highest of them full."""
    highest = max(rates, default=0.0) or 1.0
    return "".join(SPARKS[round(rate / highest * (len(SPARKS) - 1))] for rate in rates)


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


def _defect_rate(state: dict[str, Any]) -> Any:
    line = state.get("production_line")
    return line.get("defect_rate") if isinstance(line, dict) else None


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _stock(material: str, units: Any, full: int, width: int) -> Text:
    # Two consumers may restock at once: over the full it is simply full.
    share = units / full if isinstance(units, int) else 0.0
    color = "yellow" if share < 0.2 else "blue"  # noqa: PLR2004 - soon to be restocked
    return _row((f"  {material:<18}{_shown(units):>7} ", ""), (bar(share, width - 28), color))


# --- the workers -------------------------------------------------------------------------------------------


def worker_rows(glance: Glance, width: int, *, counts: bool) -> list[Text]:
    """The right panel's lines: a worker each, and at the bottom the rate and the refusals."""
    names = list(glance.counts)
    room = ROWS - 4
    shown = names if len(names) <= room else names[: room - 1]
    rest = names[len(shown) :]
    highest = max(map(glance.share, names), default=0.0) or 1.0
    rows = [_worker(glance, name, highest, width, counts=counts) for name in shown]
    if rest:
        share = f"{sum(map(glance.share, rest)):.0%}"
        rows.append(_row((f"{len(rest)} more", "dim"), (share.rjust(width - len(f"{len(rest)} more")), "dim")))
    rows += [Text()] * (room + 1 - len(rows))
    return [*rows, *_rate(glance, width)]


def _worker(glance: Glance, name: str, highest: float, width: int, *, counts: bool) -> Text:
    if name in glance.failed:
        return _row((f"{name:<13} failed", "bold red"))
    share = glance.share(name)
    numbers = f" {glance.counts[name]:>6}" if counts else ""
    numbers += f"{share:5.0%}"
    filled = bar(share / highest, width - 14 - len(numbers))
    return _row((f"{name:<13} ", ""), (filled, COLORS[name.partition("-")[0]]), (numbers, ""))


def _rate(glance: Glance, width: int) -> list[Text]:
    now = "" if glance.over else f"{glance.rate:.0f} now, "
    return [
        _row((f"commits/s  {now}{glance.mean:.0f} mean", "")),
        _row((spark(glance.rates[-width:]), "cyan")),
        _row((f"refused by the rules  {glance.refused}", "" if glance.refused else "dim")),
    ]


# --- below -------------------------------------------------------------------------------------------------


def _newest(glance: Glance) -> Panel:
    rows = []
    for entry in glance.newest:
        change = {name: value for name, value in (entry.patch or entry.state).items() if name != "timestamp"}
        text = json.dumps(change, separators=(",", ":"), ensure_ascii=False)
        actor = entry.actor or ""
        color = COLORS.get(actor.partition("-")[0], "")
        rows.append(_row((f"{entry.version:>7}  ", ""), (f"{actor:<14} ", color), (f"{entry.op:<7} {text}", "dim")))
    inside = Text("\n", no_wrap=True, overflow="ellipsis").join(rows)
    return Panel(inside, title=Text("newest commits", style="bold"), title_align="left", border_style="dim")


def _progress(glance: Glance, seconds: float, width: int) -> Table:
    said = f"{glance.elapsed:.1f} of {seconds:g} s"
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=seconds, completed=glance.elapsed, width=width - len(said) - 6), said)
    return row
