"""worker, workers: processes that make up a running twin."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from contextlib import ExitStack

import click

from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import emit_table, emit_value, note, on_terminal

# By hand: to ask the roles themselves would import redis for --help.
ROLES = ("environment", "production", "materials", "quality", "simulation", "monitor")


@click.command("worker", epilog=example("circman-redis worker --role production --role quality --rate 10"))
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="Its part; repeatable.")
@click.option("--name", metavar="TEXT", help="Its name, the actor of its commits; else role, host and process.")
@click.option("--rate", type=click.FloatRange(0, 1000, min_open=True), help="Turns/s; else the constants' frequency.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long; else when told to.")
@click.option(
    "--ttl",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="Seconds of silence until it is gone.",
)
@click.option("--seed", type=int, metavar="N", help="The same seed makes the same choices.")
@click.option("--journal", metavar="FILE", help="Log each commit there, for `audit --log`.")
@connected
def worker_command(
    target: Target,
    *,
    roles: tuple[str, ...],
    name: str | None,
    rate: float | None,
    seconds: float | None,
    ttl: float,
    seed: int | None,
    journal: str | None,
) -> None:
    """Work on the twin until SIGTERM or Ctrl-C: any number of workers, in any number of places.

    Of environment, production, quality and simulation one worker at a time has each; others stand by, and take over
    when it ends, is killed, or is silent for too long. What it does is committed; what it thinks is logged to stderr.
    """
    from circman_redis.cli._around import managed  # noqa: PLC0415 - imports redis
    from circman_redis.journal import Journal  # noqa: PLC0415
    from circman_redis.twin.constants import ConstantsService  # noqa: PLC0415
    from circman_redis.twin.stopping import stopped_by_signals  # noqa: PLC0415
    from circman_redis.twin.worker import TwinWorker, WorkerConfig  # noqa: PLC0415

    constants = ConstantsService()
    usual = constants.get_digital_twin_config()
    logging.basicConfig(level=usual.log_level, format="%(asctime)s %(message)s")
    name = name or f"{'-'.join(roles)}-{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(2)}"
    rate, rules = rate or usual.update_frequency, constants.get_thresholds()
    config = WorkerConfig(name, roles, rate=rate, ttl=ttl, seed=seed, steps=usual.simulation_steps, rules=rules)
    stop, begun, commits = threading.Event(), time.monotonic(), 0

    def count(*_: object) -> None:
        nonlocal commits
        commits += 1

    with ExitStack() as stack, managed(target.patient()) as manager:
        log = stack.enter_context(Journal(journal)) if journal else None
        stack.enter_context(stopped_by_signals(stop))
        if seconds is not None:
            timer = threading.Timer(seconds, stop.set)
            timer.start()
            stack.callback(timer.cancel)
        note(f"{name} works on the twin {manager.twin!r} as {', '.join(roles)}")
        TwinWorker(manager, config, told=count, journal=log).run(stop)
    note(f"{name}: {commits} commits in {time.monotonic() - begun:.0f} s")


@click.command("workers", epilog=example("circman-redis workers"))
@connected
def workers_command(target: Target) -> None:
    """List the workers of the twin, and which role each has: on a terminal a table, else one JSON object per line.

    One that is not present did not say so within its time, and no other worker has noticed yet.
    """
    from circman_redis.cli._around import around  # noqa: PLC0415 - imports redis
    from circman_redis.twin.leases import holders  # noqa: PLC0415
    from circman_redis.twin.presence import workers  # noqa: PLC0415

    with around(target) as (manager, events):
        found = workers(manager, events)
        held = holders(manager)
        has = {one.name: [lease.role for lease in held if lease.holder == one.name] for one in found}
    if not on_terminal():
        for one in found:
            emit_value(one.to_json() | {"has": has[one.name]})
        return
    rows = [
        (one.name, ", ".join(one.roles), ", ".join(has[one.name]), f"{one.host}:{one.pid}", one.present, one.started)
        for one in found
    ]
    emit_table(("worker", "roles", "has", "where", "present", "since"), rows)
