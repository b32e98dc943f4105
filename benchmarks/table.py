"""The table, as text and as Markdown; what is written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import plots
from benchmarks.facts import Facts
from benchmarks.measure import Line, Report

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PLOTS = "plots"

_HEADINGS = ("measured", "ratio", "quartiles", "to reach", "", "figures")
_VERDICTS = {True: "reached", False: "not reached", None: "-"}


def facts_as_text(facts: Facts) -> str:
    """A line each."""
    return "\n".join(f"{name:10} {words}" for name, words in facts.items())


def as_text(lane: str, lines: Iterable[Line]) -> str:
    """One lane's table for a terminal."""
    rows = [_HEADINGS, *(_cells(line) for line in lines if line.lane == lane)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(["", lane, *texts, ""])


def as_markdown(facts: Facts, lines: Sequence[Line], charts: Iterable[str]) -> str:
    """What was measured on, each lane's table, the charts."""
    parts = ["\n".join(f"- {name}: {_code(name, words)}" for name, words in facts.items())]
    for lane in dict.fromkeys(line.lane for line in lines):
        rows = [_HEADINGS, ("---",) * len(_HEADINGS), *(_cells(line) for line in lines if line.lane == lane)]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        parts.append(f"### {lane}\n\n{table}")
    parts += [f"![{Path(chart).stem}]({PLOTS}/{chart})" for chart in charts]
    return "\n\n".join(parts)


def _code(name: str, words: str) -> str:
    return f"`{words}`" if name == "patch" else words


def write(folder: Path, facts: Facts, report: Report) -> None:
    """Writes results.json, the charts, and the tables into README.md, between its marks."""
    folder.mkdir(exist_ok=True)
    everything = {
        "measured_on": facts,
        "lines": [asdict(line) | {"reached": line.reached} for line in report.lines],
        "points": [asdict(point) for point in report.points],
    }
    text = json.dumps(everything, indent=1, ensure_ascii=False) + "\n"
    (folder / "results.json").write_text(text, encoding="utf-8")
    readme = folder / "README.md"
    around = readme.read_text(encoding="utf-8") if readme.exists() else f"{BEGIN}\n{END}\n"
    tables = as_markdown(facts, report.lines, plots.draw(folder / PLOTS, report.points))
    readme.write_text(put_between(around, BEGIN, END, tables), encoding="utf-8")


def put_between(around: str, begin: str, end: str, text: str) -> str:
    """A text with another in the place of all between two marks."""
    before, _, rest = around.partition(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"


def _cells(line: Line) -> tuple[str, ...]:
    ratio = "-" if line.ratio is None else number(line.ratio)
    spread = "" if line.spread is None else " to ".join(map(number, line.spread))
    bound = "at least" if line.at_least else "at most"
    target = "" if line.target is None else f"{bound} {line.target:g}"
    figures = "; ".join(f"{name}: {number(figure)}" for name, figure in line.figures.items())
    return line.what, ratio, spread, target, _VERDICTS[line.reached], "; ".join(filter(None, (figures, line.note)))


def number(value: float) -> str:
    """Three digits of it, without an exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
