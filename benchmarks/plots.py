"""The charts: one file per chart name in the report, log axes, the lanes side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {
    "document size": ("document (bytes)", "server time of one commit (µs)"),
    "document size, end to end": ("document (bytes)", "one patch, end to end (µs)"),
    "writers": ("processes that write", "commits per second"),
    "history length": ("entries of the history", "one look-up, end to end (µs)"),
    "subscribers": ("subscribers", "commits per second"),
    "twins": ("twins", "milliseconds; percent of the server's core"),
}
"""What stands along the axes of the charts that are known."""


def draw(folder: Path, points: Sequence[Point]) -> list[str]:
    """Draws all charts.

    Args:
        folder: where to; made where there is none.
        points: of all the charts.

    Returns:
        The files' names; none where matplotlib is missing.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - may be missing
    except ImportError:
        return []
    mpl.use("svg")
    # Else every run names its parts anew, and every letter is drawn.
    mpl.rcParams.update({"svg.hashsalt": "circman_redis", "svg.fonttype": "none"})
    folder.mkdir(exist_ok=True)
    charts = dict.fromkeys(point.chart for point in points)
    return [_draw(folder, chart, [point for point in points if point.chart == chart]) for chart in charts]


def _draw(folder: Path, chart: str, points: Sequence[Point]) -> str:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - may be missing

    lanes = list(dict.fromkeys(point.lane for point in points))
    figure, panels = plt.subplots(
        1, len(lanes), figsize=(5.5 * len(lanes), 4.5), sharey=True, squeeze=False, layout="constrained"
    )
    for lane, panel in zip(lanes, panels[0], strict=True):
        _fill(panel, lane, chart, [point for point in points if point.lane == lane])
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.suptitle(chart)
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    name = re.sub(r"\W+", "-", chart) + ".svg"
    figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return name


def _fill(panel: Axes, lane: str, chart: str, points: Sequence[Point]) -> None:
    across, up = AXES.get(chart, (chart, ""))
    for series in dict.fromkeys(point.series for point in points):
        line = sorted((point.x, point.y) for point in points if point.series == series)
        panel.plot(*zip(*line, strict=True), marker="o", label=series)
    # A chart that begins with none of something has no logarithm there.
    panel.set_xscale("symlog" if min(point.x for point in points) <= 0 else "log")
    panel.set_yscale("log")
    panel.set(title=lane, xlabel=across, ylabel=up)
    panel.label_outer()
    panel.grid(visible=True, which="major", alpha=0.3)
