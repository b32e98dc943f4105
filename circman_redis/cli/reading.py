"""get, history, at, diff, export: what there is and what there was, every number with its digits."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from circman_redis import files, protocol
from circman_redis.cli._json import dumps, loads
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import emit, emit_changes, emit_table, emit_value, note, on_terminal
from circman_redis.cli._session import Session, commits, raw
from circman_redis.codec import pretty
from circman_redis.errors import StateError, UsageError
from circman_redis.patch import diff, resolve, split_pointer
from circman_redis.timestamps import format_timestamp, parse_timestamp

ROWS_ON_TERMINAL = 20


@click.command("get", epilog=example("circman-redis get /environment/temperature"))
@click.argument("pointer", default="")
@connected
def get_command(target: Target, pointer: str) -> None:
    """Print the state, or the value at a JSON Pointer.

    Exit code 1 where the twin has no state, or nothing stands at POINTER.
    """
    split_pointer(pointer)
    with target.session() as session:
        text = session.run(protocol.state_text(session.keys))
    if pointer:
        emit_value(resolve(loads(text), pointer))
    else:
        emit(text)


@click.command("history", epilog=example("circman-redis history --limit 5"))
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"At most so many; without it {ROWS_ON_TERMINAL} on a terminal, and all when piped.",
)
@click.option("--before", type=click.IntRange(1), metavar="VERSION", help="Only versions below this one.")
@click.option("--states", is_flag=True, help="With the state that each commit made.")
@connected
def history_command(target: Target, limit: int | None, before: int | None, states: bool) -> None:
    """List the commits, newest first, the current one included.

    When piped, one JSON object per line: version, timestamp, committed_at, op, actor, id, patch, and with
    --states the state that the commit made.
    """
    table = on_terminal() and not states
    if limit is None and on_terminal():
        limit = ROWS_ON_TERMINAL
    with target.session() as session:
        entries = commits(session, limit, before, states=states)
        if table:
            _print_table(list(entries))
            return
        for entry in entries:
            emit_value(entry)


def _print_table(entries: list[dict[str, Any]]) -> None:
    if not entries:
        note("no commits")
        return
    rows = [
        (one["version"], _to_the_second(one["committed_at"]), one["op"], one["actor"], _essence(one)) for one in entries
    ]
    emit_table(("version", "committed at", "op", "actor", "patch"), rows)


def _to_the_second(time: str) -> str:
    return f"{time[:19]}Z"


def _essence(entry: dict[str, Any]) -> str:
    """The patch, without the stamp that the server put in."""
    patch = entry["patch"]
    if patch is None:
        return ""
    stamped = patch.get("timestamp") == entry["committed_at"]
    return dumps({name: value for name, value in patch.items() if not (stamped and name == "timestamp")})


@click.command("at", epilog=example("circman-redis at 2026-11-22T14:00:00Z"))
@click.argument("time", required=False)
@click.option("--version", type=click.IntRange(1), metavar="N", help="The state at this version.")
@connected
def at_command(target: Target, time: str | None, version: int | None) -> None:
    """Print the state that held at TIME, or at a version.

    TIME is ISO 8601, UTC where it names no offset, and is compared with the timestamps of the states: it gives
    the newest state that is not after it. Exit code 1 where there is none, or it has left the history.
    """
    if (time is None) == (version is None):
        raise click.UsageError("give either TIME or --version N")
    try:
        moment = "" if time is None else format_timestamp(parse_timestamp(time))
    except ValueError as error:
        raise UsageError(str(error)) from error
    with target.session() as session:
        if version is None:
            state = _past(session, protocol.at_time(session.keys, moment), time)
        else:
            state = _at_version(session, version)
    emit_value(state)


def _at_version(session: Session, version: int) -> Any:
    return _past(session, protocol.at_version(session.keys, version), f"version {version}")


def _past(session: Session, call: protocol.Call[Any], wanted: str | None) -> Any:
    """The state in the entry that is looked up.

    Raises:
        StateError: there is none.
    """
    reply = session.run(raw(call))
    if not reply:
        raise StateError(f"twin {session.keys.twin!r} has no state of {wanted}: it never was, or has left the history")
    return loads(reply[1])["state"]


@click.command("diff", epilog=example("circman-redis diff 41 42"))
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1), required=False)
@connected
def diff_command(target: Target, old: int, new: int | None) -> None:
    """Show what changed from version OLD to version NEW, or to the current state.

    When piped, one JSON array of {pointer, before, after}; a side that is not there is left out.
    """
    with target.session() as session:
        before = _at_version(session, old)
        after = loads(session.run(protocol.state_text(session.keys))) if new is None else _at_version(session, new)
    changes = diff(before, after)
    emit_changes(changes)


@click.command("export", epilog=example("circman-redis export backup.json"))
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@connected
def export_command(target: Target, file: str | None) -> None:
    """Write the state to FILE, whole or not at all, and print its path.

    Without FILE a new one, named by the time, in the results folder (CIRCMAN_RESULTS_DIR). Every number keeps its
    digits.
    """
    if file == "-":
        raise click.UsageError("to print the state, use `circman-redis get`")
    with target.session() as session:
        text = pretty(session.run(protocol.state_text(session.keys)))
        folder = session.settings.results_dir
    if file is None:
        path = files.write_new(folder, files.export_name(datetime.now()), text)
    else:
        path = Path(file)
        files.write_atomically(path, text)
    click.echo(str(path))
