"""repair: what can be done about a damaged twin, and doing it."""

from __future__ import annotations

import click

from circman_redis import repair
from circman_redis.cli._options import Target, acting, example, modelled
from circman_redis.cli._output import emit_value, note, on_terminal
from circman_redis.results import RepairReport


@click.command("repair", epilog=example("circman-redis repair --twin plant --yes"))
@click.option("--yes", "--apply", "apply", is_flag=True, help="Do it; otherwise nothing is changed.")
@click.option(
    "--adopt/--restore",
    default=None,
    help="Commit a state that something else wrote on top of the one before (op external), or never do. Else it is "
    "committed only where what commits made cannot be restored.",
)
@acting
@modelled
def repair_command(target: Target, apply: bool, adopt: bool | None) -> None:
    """Say what is wrong with the twin's keys and what would make them right; with --yes do it.

    What commits made is restored byte for byte where that can be, and what was found is kept in keys beside it, which
    are named. It is done by one script, or not at all. Rules are published again only with the model that they come
    from (--model). Exit code 1 where something is left to be repaired. When piped, one JSON object.
    """
    with target.session() as session:
        model = session.twin.model
        report = session.ask(
            repair.repair(session.keys, apply=apply, adopt=adopt, model=model, actor=session.twin.actor)
        )
    if on_terminal():
        _tell(report)
    else:
        emit_value(report.to_json())
    click.get_current_context().exit(0 if report.is_whole else 1)


def _tell(report: RepairReport) -> None:
    if not report.found:
        note(f"twin {report.twin!r} is as commits made it")
        return
    parts = {
        "found": [str(one) for one in report.found],
        "done" if report.applied else "would": list(report.steps),
        "kept in" if report.applied else "would keep in": list(report.kept),
        "left": list(report.left),
    }
    for name, lines in parts.items():
        for line in lines:
            note(f"{name}: {line}")
    if not report.applied and report.steps:
        note("nothing was changed: --yes does it")
