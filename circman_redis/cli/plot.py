"""plot: numbers of the twin over its history, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from circman_redis import files
from circman_redis.cli._json import Number
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import emit_value
from circman_redis.cli._session import commits
from circman_redis.errors import NoState, StateError
from circman_redis.patch import resolve, split_pointer
from circman_redis.timestamps import parse_timestamp


@click.command("plot", epilog=example("circman-redis plot /environment/temperature --last 500 --out out.png"))
@click.argument("pointers", metavar="POINTER...", nargs=-1, required=True)
@click.option(
    "--last", type=click.IntRange(1), metavar="N", help="The last N states, the current one included; else all."
)
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="The picture: .png, .svg or .pdf."
)
@connected
def plot_command(target: Target, pointers: tuple[str, ...], last: int | None, out: str) -> None:
    """Draw the numbers at JSON Pointers over the twin's history.

    Each against the states' own timestamps; a state without a number there leaves a hole in the line. Prints one JSON
    object: the file, the versions, and how many numbers each POINTER had. Exit code 1 where one had none.
    """
    from circman_redis.twin import plots  # noqa: PLC0415 - only this needs it

    pointers = tuple(dict.fromkeys(pointers))
    for pointer in pointers:
        split_pointer(pointer)
    form = plots.format_of(out)
    with target.session() as session:
        versions, times, columns = _read(commits(session, last, states=True), pointers)
        twin = session.keys.twin
    if not versions:
        raise NoState(f"twin {twin!r} has no state yet: commit one with set_state or update_state")
    points = {pointer: sum(map(math.isfinite, column)) for pointer, column in columns.items()}
    for pointer, count in points.items():
        if not count:
            raise StateError(f"{pointer}: no number stands there in versions {versions[0]} to {versions[-1]}")
    charts = [plots.Chart(pointer, times, column) for pointer, column in columns.items()]
    files.write_atomically(Path(out), plots.draw(f"{twin}, versions {versions[0]} to {versions[-1]}", charts, form))
    emit_value({"file": out, "twin": twin, "first": versions[0], "last": versions[-1], "points": points})


def _read(entries: Any, pointers: Sequence[str]) -> tuple[list[int], list[datetime], dict[str, list[float]]]:
    """Versions, times and a column of numbers for each pointer, oldest first; no more than these of a long history."""
    versions: list[int] = []
    times: list[datetime] = []
    columns: dict[str, list[float]] = {pointer: [] for pointer in pointers}
    for entry in entries:
        versions.append(int(entry["version"]))
        times.append(_time(entry))
        for pointer, column in columns.items():
            column.append(_number(resolve(entry["state"], pointer, default=None)))
    return versions[::-1], times[::-1], {pointer: column[::-1] for pointer, column in columns.items()}


def _time(entry: dict[str, Any]) -> datetime:
    """The state's own; when it was committed, where a model of the user's own has something else there."""
    try:
        return parse_timestamp(entry["timestamp"])
    except (ValueError, TypeError):
        return parse_timestamp(entry["committed_at"])


def _number(value: Any) -> float:
    """A number of the state, of which the commands keep the text; NaN for anything else."""
    return float(value) if isinstance(value, Number) else math.nan
