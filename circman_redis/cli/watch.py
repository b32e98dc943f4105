"""watch: one line per event, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import click

from circman_redis.cli._json import dumps
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import check_reader, console, note, on_terminal
from circman_redis.events import Event, Heartbeat, StateEvent
from circman_redis.results import read_position
from circman_redis.view.words import event_line, local, name_of, printable
from circman_redis.wish import Source

if TYPE_CHECKING:
    from circman_redis.cli._session import Session

_LOOK = 1.0  # seconds without an event after which it looks whether anybody still reads, and how the connection is
_NAMES = (8, 24)  # columns for the actor, at least and at most


@click.command("watch", epilog=example("circman-redis watch --since 1 --limit 3"))
@click.option("--since", metavar="VERSION", help="Begin after this version, or the position of an event; else now.")
@click.option("--path", "paths", multiple=True, metavar="POINTER", help="Only commits that change it; repeatable.")
@click.option("--source", type=click.Choice(("channel", "keyspace")), default="channel", help="What tells of changes.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many events.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="End after so long without an event.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on a terminal too.")
@connected
def watch_command(
    target: Target,
    *,
    since: str | None,
    paths: tuple[str, ...],
    source: Source,
    limit: int | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Print one line per event as it comes: version, time, actor, and what changed, before and after.

    In the order of the versions, each once; what was missed while there was no connection comes afterwards. When piped,
    one JSON object per line. Ctrl-C ends it.
    """
    for_people = on_terminal() and not as_json
    tell = _for_people() if for_people else _as_json
    with (
        target.session() as session,
        session.subscribe(since, paths=paths or None, source=source, timeout=timeout, heartbeat=_LOOK) as subscription,
    ):
        if for_people and since is None:
            note(_beginning(session, subscription.position))
        for number, event in enumerate(_events(subscription, session), 1):
            tell(event)
            if number == limit:
                break


def _beginning(session: Session, position: str) -> str:
    _, version, _ = read_position(position)
    stands = f"at version {version}" if version else "which has no state yet"
    return f"watching twin {session.keys.twin!r}, {stands}; Ctrl-C ends it"


def _events(subscription: Iterator[Event], session: Session) -> Iterator[Event]:
    """The events without the heartbeats; how the connection is, is told on stderr.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    lost: float | None = None
    for event in subscription:
        alive = not isinstance(event, Heartbeat) or event.connected
        if not alive and lost is None:
            lost = time.monotonic()
            note(f"no connection to {session.store.name}: trying again by itself, and then what was missed comes")
        elif alive and lost is not None:
            note(f"connected again, after {time.monotonic() - lost:.0f} s")
            lost = None
        if isinstance(event, Heartbeat):
            check_reader()
        else:
            yield event


# --- one event, one line -----------------------------------------------------------------------------------


def _as_json(event: Event) -> None:
    line = dumps(event.to_json())
    click.echo((printable(line) if on_terminal() else line).encode())


def _for_people() -> Callable[[Event], None]:
    """Prints a line per event on a terminal, and the day where it is another one than before."""
    from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

    out = console()
    day = date.today()
    names = _NAMES[0]

    def tell(event: Event) -> None:
        nonlocal day, names
        moment = datetime.now(UTC).astimezone()
        if isinstance(event, StateEvent):
            moment = local(event.committed_at)
            names = max(names, min(len(name_of(event.actor)), _NAMES[1]))
        if moment.date() != day:
            day = moment.date()
            out.print(Text(f"{'':7}  {day}", style="dim"))
        out.print(Text.assemble(*event_line(event, moment, out.width, names=names)), soft_wrap=True)

    return tell
