"""simulate: what becomes of the twin's state, without touching the twin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circman_redis import files, protocol
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import emit_table, emit_value, note, on_terminal
from circman_redis.cli._read import document
from circman_redis.codec import decode
from circman_redis.errors import NoState
from circman_redis.results import Snapshot

if TYPE_CHECKING:
    from circman_redis.twin.plots import Chart
    from circman_redis.twin.simulated import EnsembleResult

_NAMED = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)


@click.command("simulate", epilog=example("circman-redis simulate --steps 500 --runs 100 --plot out.png"))
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="How many steps.")
@click.option("--runs", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="How often, at once.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="The same seed gives the same; else one is drawn.")
@click.option(
    "--parameters",
    multiple=True,
    metavar="FILE|NAME=VALUE",
    help="Other parameters than the defaults: a JSON object in a file, or one by name; may be repeated.",
)
@click.option("--states", is_flag=True, help="Print the states, one per line, in the place of the summary.")
@click.option("--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Draw the quantities: .png, .svg, .pdf.")
@connected
def simulate_command(
    target: Target,
    *,
    steps: int,
    runs: int,
    seed: int | None,
    parameters: tuple[str, ...],
    states: bool,
    plot: str | None,
) -> None:
    """Simulate the twin from its current state on; commit nothing.

    Prints one JSON object: where it started, the seed, and what became of each quantity; with several runs their mean
    and the band from the 5th to the 95th percentile. On a terminal, a table.
    """
    if states and runs > 1:
        raise click.UsageError("--states are those of one run: leave out --runs")
    wanted = _parameters(parameters)
    from circman_redis.twin import plots  # noqa: PLC0415 - without --plot it is not asked whether there is matplotlib
    from circman_redis.twin.simulation import SimulationEngine  # noqa: PLC0415 - imports numpy

    form = plots.format_of(plot) if plot else ""
    with target.session() as session:
        snapshot: Snapshot = session.run(protocol.snapshot(session.keys))
        twin = session.keys.twin
    if not snapshot.version:
        raise NoState(f"twin {twin!r} has no state yet: commit one with set_state or update_state")
    found = SimulationEngine().run_ensemble(runs, steps, snapshot, wanted, seed)
    if plot:
        several = f", {runs} runs: mean and 5 to 95 %" if runs > 1 else ""
        heading = f"{twin}, from version {found.version} on{several}"
        files.write_atomically(Path(plot), plots.draw(heading, list(_charts(found)), form))
    if states:
        one = found.run(0)
        for number in range(steps + 1):
            emit_value(one.state(number))
        return
    summary = found.summary() if runs > 1 else found.run(0).summary()
    if on_terminal():
        _print_table(twin, summary)
    else:
        emit_value({"twin": twin, **summary} | ({"plot": plot} if plot else {}))


def _parameters(given: Sequence[str]) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for one in given:
        named = _NAMED.fullmatch(one)
        wanted |= {named[1]: named[2]} if named else decode(bytes(document(one)))
    return wanted


def _charts(found: EnsembleResult) -> Iterator[Chart]:
    from circman_redis.twin.plots import Chart  # noqa: PLC0415 - as above

    times = found.times
    for place, mean in found.mean.items():
        if found.runs > 1:
            yield Chart(place, times, mean, found.low[place], found.high[place])
        else:
            yield Chart(place, times, mean)


def _print_table(twin: str, summary: dict[str, Any]) -> None:
    quantities = summary["quantities"]
    names = list(next(iter(quantities.values())))
    rows = [[place, *(f"{facts[name]:.6g}" for name in names)] for place, facts in quantities.items()]
    emit_table(("quantity", *names), rows)
    several = f", {summary['runs']} runs" if summary["runs"] > 1 else ""
    note(f"{twin}, from version {summary['version']} on: {summary['steps']} steps{several}, seed {summary['seed']}")
