"""thresholds, events: what is watched of a twin, and what happened around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from circman_redis.cli._options import Target, acting, connected, example
from circman_redis.cli._output import check_reader, emit_table, emit_value, note, on_terminal

if TYPE_CHECKING:
    from circman_redis.twin.domain import Happening

# By hand: to ask the events themselves would import redis for --help.
KINDS = ("threshold_breached", "threshold_cleared", "simulation_result", "error", "worker_joined", "worker_left")


@click.command("thresholds", epilog=example("circman-redis thresholds --publish"))
@click.option("--publish", is_flag=True, help="First put those of the constants there, in the place of others.")
@click.option("--remove", metavar="NAME", help="First remove this one; if it is breached, that is over.")
@acting
def thresholds_command(target: Target, *, publish: bool, remove: str | None) -> None:
    """List the thresholds of the twin, and how they stand: on a terminal a table, else one JSON object per line.

    The rules stand in Redis, and all workers with the role monitor judge by them.
    """
    from circman_redis.cli._around import around  # noqa: PLC0415 - imports redis
    from circman_redis.errors import UsageError  # noqa: PLC0415
    from circman_redis.twin.constants import ConstantsService  # noqa: PLC0415
    from circman_redis.twin.thresholds import Thresholds  # noqa: PLC0415

    with around(target) as (manager, events):
        thresholds = Thresholds(manager, events)
        if publish:
            thresholds.set(*ConstantsService().get_thresholds())
        if remove is not None and thresholds.remove(remove) is None:
            raise UsageError(f"twin {manager.twin!r} has no threshold {remove!r}")
        found = thresholds.get()
    if not on_terminal():
        for one in found:
            emit_value(one.to_json())
        return
    words = {"greater_than": ">", "less_than": "<", "equal": "=", "not_equal": "≠"}
    rows = [
        (
            one.rule.name,
            "BREACHED" if one.standing.breached else "",
            f"{one.rule.pointer} {words[one.rule.comparison]} {one.rule.value}",
            one.rule.severity,
            one.standing.committed_at,
        )
        for one in found
    ]
    emit_table(("threshold", "", "rule", "severity", "since"), rows)


@click.command("events", epilog=example("circman-redis events --kind threshold_breached --follow"))
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these; repeatable.")
@click.option("--since", metavar="POSITION", help="Only those after this position of an event.")
@click.option("--follow", is_flag=True, help="Go on with what comes.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="With --follow: end after such a silence.")
@connected
def events_command(
    target: Target, *, kinds: tuple[str, ...], since: str | None, follow: bool, timeout: float | None
) -> None:
    """Print what happened around the twin, oldest first: thresholds, simulations, errors, workers.

    On a terminal a line each, else one JSON object per line. What its commits changed is for `watch`.
    """
    from circman_redis.cli._around import around  # noqa: PLC0415 - imports redis
    from circman_redis.events import Heartbeat, HistoryGap  # noqa: PLC0415

    with around(target) as (_, events):
        heartbeat, begin = (1.0, timeout) if follow else (None, 0.0)
        with events.subscribe(since or 0, kinds=kinds or None, timeout=begin, heartbeat=heartbeat) as following:  # type: ignore[arg-type]
            for number, one in enumerate(following):
                if isinstance(one, Heartbeat):
                    check_reader()
                elif not (isinstance(one, HistoryGap) and number == 0 and since is None):  # nobody asked for those
                    _tell(one)


def _tell(one: Happening) -> None:
    from circman_redis.twin.domain import DomainEvent  # noqa: PLC0415 - imports redis
    from circman_redis.view.happenings import happening_line  # noqa: PLC0415
    from circman_redis.view.words import incident, printable  # noqa: PLC0415

    if not on_terminal():
        emit_value(one.to_json())
    elif isinstance(one, DomainEvent):
        click.echo(printable(happening_line(one)))
    else:
        note(incident(one))
