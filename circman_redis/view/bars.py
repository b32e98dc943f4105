"""Pure: bars and little charts of block characters."""

from __future__ import annotations

from collections.abc import Sequence

_LEFT = " ▏▎▍▌▋▊▉"
_UP = " ▁▂▃▄▅▆▇█"


def bar(share: float, width: int) -> str:
    """A bar of ``width`` columns, filled from the left to a share of 0 to 1, to the eighth of a column."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    return ("█" * (eighths // 8) + _LEFT[eighths % 8].strip()).ljust(width)


def chart(values: Sequence[float], rows: int = 1, low: float | None = None) -> list[str]:
    """The values as columns, the highest of them full.

    Args:
        values: oldest first.
        rows: lines to draw on.
        low: the value of an empty column; None for the lowest of them.

    Returns:
        The lines, top first, each as long as there are values.
    """
    bottom = min(values, default=0.0) if low is None else low
    range_ = max(values, default=0.0) - bottom or 1.0
    heights = [round((value - bottom) / range_ * (8 * rows - 1)) + 1 for value in values]
    return ["".join(_UP[min(8, max(0, height - 8 * row))] for height in heights) for row in reversed(range(rows))]


def spark(values: Sequence[float], low: float | None = 0.0) -> str:
    """The values as a line of little columns; arguments as those of `chart`."""
    return chart(values, 1, low)[0]
