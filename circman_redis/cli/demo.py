"""demo."""

from __future__ import annotations

import os
from importlib import import_module

import click

from circman_redis.cli._options import Target, connected, example


@click.command("demo", epilog=example("circman-redis demo --workers 8 --seconds 20"))
@click.option("--workers", type=click.IntRange(1), default=6, show_default=True, help="Processes at work.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10, show_default=True, help="For so long.")
@connected
def demo_command(target: Target, workers: int, seconds: float) -> None:
    """Several workers on one twin, checked at the end.

    They replay the weather, move the line, take materials, and watch for what is out of bounds. One is killed, another
    takes over; a what-if branch is simulated and merged back. Then everything is read back: no commit was lost or
    doubled, the history has no gap, the materials balance, each breach was told once. The twin is "demo" unless --twin
    names another.
    """
    for name in ("user", "password_file", "ca_file", "cert_file", "key_file"):
        if (given := getattr(target, name)) is not None:
            # The workers are processes of their own: they find it there, and a password stays in its file.
            os.environ[f"CIRCMAN_{'USERNAME' if name == 'user' else name.upper()}"] = given
    if target.password_file:
        os.environ.pop("CIRCMAN_PASSWORD", None)
    demo = import_module("circman_redis.demo")
    code: int = demo.main(workers, seconds, target.twin or "demo", target.url, prefix=target.prefix)
    click.get_current_context().exit(code)
