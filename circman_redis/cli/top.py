"""top: a twin on the whole terminal, live."""

from __future__ import annotations

import time

import click

from circman_redis import protocol
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import console
from circman_redis.errors import UsageError
from circman_redis.view.feed import Feed
from circman_redis.view.picture import Picture
from circman_redis.view.terminal import what_it_lacks


@click.command("top", epilog=example("circman-redis top --twin plant"))
@connected
def top_command(target: Target) -> None:
    """A live view of the twin, on the whole terminal.

    The state as a tree, in which what changed just now is marked; charts of the numbers that move; commits per second
    by actor; the last events. q or Ctrl-C ends it. Where stdout cannot be drawn on, use `circman-redis watch`.
    """
    lacks = what_it_lacks()
    if lacks:
        raise UsageError(f"top draws on the whole terminal, and stdout cannot be drawn on ({lacks}): use `watch`")
    from circman_redis.view.live import show  # noqa: PLC0415 - rich, which is said to be missing only now

    with target.session() as session:
        snapshot = session.run(protocol.snapshot(session.keys))
        picture = Picture(session.keys.twin, session.store.name, snapshot, time.monotonic())
        with session.subscribe(snapshot.position) as events:
            show(picture, Feed(events), console())
