"""backup, restore: twins to a file and back."""

from __future__ import annotations

import dataclasses
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from circman_redis import files
from circman_redis.backup import Kept, backup, restore
from circman_redis.cli._options import Target, acting, connected, example
from circman_redis.cli._output import emit_value, note
from circman_redis.cli._session import Session, twin_names
from circman_redis.errors import UsageError


@click.command("backup", epilog=example("circman-redis backup --all twins.jsonl"))
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE|-")
@click.option(
    "--all", "every", is_flag=True, help="All twins under --prefix, with their branches, in the place of one."
)
@connected
def backup_command(target: Target, file: str, every: bool) -> None:
    """Write a twin to FILE, or to stdout where FILE is -: its state, history, rules and settings, as of one moment.

    Others may go on writing. FILE takes the place of what stood there when it is complete, and only its owner may
    read it. Prints a line per twin: twin, version, entries, epoch.
    """
    if every and target.twin:
        raise click.UsageError("--twin or --all, not both")
    with target.session() as session, _output(file) as out:
        names = twin_names(session, branches=True) if every else [session.keys.twin]
        done = _shown(backup(session.store, names, out, prefix=session.settings.prefix, optional=every), file)
        if not done:
            note("no twins")


def _shown(kept: Iterator[Kept], file: str) -> int:
    """Tells of each as it is done: on stderr, where the backup itself goes to stdout."""
    tell: Callable[[Kept], None] = _note if file == "-" else _emit
    count = 0
    for one in kept:
        tell(one)
        count += 1
    return count


def _note(one: Kept) -> None:
    note(f"{one.twin}: version {one.version}, {one.entries} past states")


def _emit(one: Kept) -> None:
    emit_value(dataclasses.asdict(one))


@contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    """Where a backup is written; what goes to stdout goes there when it is complete."""
    if file != "-":
        with files.replacing(Path(file)) as out:
            yield out
        return
    with tempfile.TemporaryFile() as out:
        yield out
        out.seek(0)
        shutil.copyfileobj(out, sys.stdout.buffer)


@click.command("restore", epilog=example("circman-redis restore twins.jsonl --twin plant --as plant-copy"))
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE|-")
@click.option("--as", "as_twin", metavar="ID", help="The id that the twin gets, in the place of its own.")
@click.option("--replace", is_flag=True, help="Also where the twin exists: what it holds is removed.")
@acting
def restore_command(target: Target, file: str, as_twin: str | None, replace: bool) -> None:
    """Put the twins in FILE, a backup, on the server: all of them, or the one that --twin names.

    Each keeps its versions and its history, and gets a new epoch. Nothing is written before all of FILE was found
    to be as it was written. Prints a line per twin: twin, version, entries, epoch.
    """
    with target.session() as session, _input(file) as source:
        for one in _restored(session, target, source, file, as_twin, replace=replace):
            _emit(one)


def _restored(
    session: Session, target: Target, source: BinaryIO, file: str, as_twin: str | None, *, replace: bool
) -> list[Kept]:
    return restore(
        *(session.store, source, "stdin" if file == "-" else file),
        prefix=session.settings.prefix,
        twin=target.twin,
        as_twin=as_twin,
        replace=replace,
        actor=session.twin.actor,
    )


@contextmanager
def _input(file: str) -> Iterator[BinaryIO]:
    """A backup, to be read twice."""
    if file == "-":
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield copy
        return
    if not stat.S_ISREG(Path(file).stat().st_mode):
        raise UsageError(f"{file} is no file that can be read twice: copy it, or give it as - (stdin)")
    with Path(file).open("rb") as source:
        yield source
