"""Charts of quantities over time (matplotlib, extra ``plot``), as the bytes of a picture."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from circman_redis.errors import StateError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Numbers: TypeAlias = "Sequence[float] | NDArray[np.float64]"

FORMATS = ("png", "svg", "pdf")

MOST_CHARTS = 60
"""More of them on one picture are none that anybody sees."""

_WIDE = 4  # charts: more stand in two columns
_INCHES = (7.0, 2.2)  # of one chart


@dataclass(frozen=True, slots=True)
class Chart:
    """A quantity over time.

    Attributes:
        title: what it is, such as its JSON Pointer.
        times: when.
        values: one for each time; NaN where there is none.
        low: the lower end of a band around it, or None.
        high: the upper end of that band, or None.
    """

    title: str
    times: Sequence[datetime]
    values: Numbers
    low: Numbers | None = None
    high: Numbers | None = None


def format_of(path: str | Path) -> str:
    """The format that a file's name asks for.

    Raises:
        UsageError: it is none that can be drawn; or matplotlib is not installed.
    """
    found = Path(path).suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise UsageError(f"{path}: name the picture .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}")
    _matplotlib()
    return found


def draw(heading: str, charts: Sequence[Chart], form: str) -> bytes:
    """A picture of charts below each other, which share their time axis.

    Args:
        heading: what stands above them.
        charts: at least one.
        form: one of `FORMATS`.

    Raises:
        UsageError: there are too many charts; or matplotlib is not installed.
        StateError: the times are at the very ends of the calendar, which no axis reaches.
    """
    if len(charts) > MOST_CHARTS:
        raise UsageError(f"{len(charts)} charts on one picture: at most {MOST_CHARTS}")
    _matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second to import

    columns = 1 if len(charts) <= _WIDE else 2
    rows = math.ceil(len(charts) / columns)
    figure = Figure((_INCHES[0] * columns, _INCHES[1] * rows + 0.6), layout="constrained")
    # A twin's names are not mathematics, whatever dollars there are in them.
    figure.suptitle(heading, parse_math=False)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    # Down the columns, so that what belongs together stands together.
    places = list(axes.T.flat)
    for place, chart in zip(places, charts, strict=False):
        _draw(place, chart)
    for place in places[len(charts) :]:
        place.set_visible(False)
    try:
        return _picture(figure, form)
    except ValueError as error:  # the axis would begin before the year 1, or end after 9999
        first = min(min(chart.times) for chart in charts).isoformat()
        raise StateError(f"{heading}: cannot be drawn from {first} on: {error}") from error


def _draw(place: Any, chart: Chart) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - takes a second to import

    if chart.low is not None and chart.high is not None:
        place.fill_between(chart.times, chart.low, chart.high, alpha=0.25, linewidth=0)
    lonely = len(chart.times) == 1
    place.plot(chart.times, chart.values, linewidth=1.2, marker="o" if lonely else None)
    place.set_title(chart.title, fontsize="medium", loc="left", parse_math=False)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    place.xaxis.set_major_locator(locator)
    place.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    place.tick_params(labelbottom=True)
    place.grid(alpha=0.3)


def _picture(figure: Any, form: str) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A sign that the font lacks is drawn as a box; that is no news to whoever sees it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format=form, dpi=100)
    return file.getvalue()


def _matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401, PLC0415 - only those who draw have it
    except ImportError as error:
        raise UsageError(f"matplotlib is needed: pip install 'circman-redis[plot]' ({error})") from error
