"""The frame of every measurement: rivals take turns, round by round, and what counts is their ratio within a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: how often the rivals take turns.
        calls: calls in one turn, of what is quick; slower things take a part of it.
        seconds: how long a load is kept up.
    """

    rounds: int = 7
    calls: int = 300
    seconds: float = 10.0


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: what is measured, over what, in words.
        lane: the server it was measured on, such as ``valkey``.
        ratio: the median of the rounds' ratios; None where it could not be measured.
        target: what the ratio should reach; None where it is only said what it is.
        at_least: whether the target is a lower bound, not an upper one.
        spread: the quartiles of the rounds' ratios.
        figures: the medians behind it, by a name that says the unit too, such as ``ours us``.
        note: what else there is to say, such as why there is no ratio.
    """

    what: str
    lane: str
    ratio: float | None
    target: float | None = None
    at_least: bool = False
    spread: tuple[float, float] | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is none, or nothing to hold against it."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


@dataclass(frozen=True)
class Point:
    """One point of a chart, on log axes.

    Attributes:
        chart: the chart's name, such as ``document size``.
        series: the rival, such as ``circman_redis``.
        lane: the server.
        x: where it stands, such as the document's bytes.
        y: what was measured, such as microseconds.
    """

    chart: str
    series: str
    lane: str
    x: float
    y: float


@dataclass
class Report:
    """What the measurements found, in their order."""

    lines: list[Line] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)


def take_turns(variants: Mapping[str, Callable[[], float]], rounds: int) -> Samples:
    """Measures each variant once per round, every other round in the opposite order.

    Args:
        variants: name -> what measures it once, and returns the figure.
        rounds: how many times each.

    Returns:
        name -> its figures, one per round.
    """
    samples: Samples = {name: [] for name in variants}
    for turn in range(rounds):
        names = list(variants) if turn % 2 == 0 else list(reversed(variants))
        for name in names:
            samples[name].append(variants[name]())
    return samples


def ratio_line(what: str, lane: str, samples: Samples, over: tuple[str, str], unit: str, **more: object) -> Line:
    """The line for one variant over another.

    Args:
        what: as in Line.
        lane: as in Line.
        samples: from take_turns.
        over: the variant above the stroke, and the one below it.
        unit: of the samples, such as ``us``.
        more: target, at_least and note, as in Line.
    """
    above, below = over
    ratios = [a / b for a, b in zip(samples[above], samples[below], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    figures = {f"{name} {unit}": statistics.median(samples[name]) for name in over}
    return Line(what, lane, statistics.median(ratios), spread=(low, high), figures=figures, **more)  # type: ignore[arg-type]
