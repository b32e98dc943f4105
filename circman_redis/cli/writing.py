"""set, update, adjust, import, clear-history, delete. The commands that commit print the commit as JSON."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import click

from circman_redis import deleting, files, protocol
from circman_redis.cli._options import Target, Write, acting, example, writing
from circman_redis.cli._output import emit_value
from circman_redis.cli._read import document, json_text
from circman_redis.cli._session import Session, options, settings_of
from circman_redis.errors import StateError
from circman_redis.flows import Flow, Options, Twin
from circman_redis.ingest import NUMBER
from circman_redis.patch import split_pointer
from circman_redis.results import Commit

_DELTAS = "POINTER DELTA [POINTER DELTA]..."


def _commit(target: Target, write: Write, flow: Callable[[Twin, Options], Flow[Commit]]) -> None:
    """Commits, and prints the commit."""
    with target.session() as session:
        commit = session.write(flow(session.twin, options(write)))
    emit_value(dataclasses.asdict(commit))


@click.command("set", epilog=example("circman-redis set state.json"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@writing
def set_command(target: Target, write: Write, file: str) -> None:
    """Replace the state by the JSON object in FILE, or in stdin where FILE is -."""
    state = document(file)
    _commit(target, write, lambda twin, options: twin.set(state, options))


@click.command("update", epilog=example('circman-redis update \'{"environment": {"temperature": 22.10}}\''))
@click.argument("patch", metavar="JSON|@FILE|-")
@writing
def update_command(target: Target, write: Write, patch: str) -> None:
    """Merge a JSON Merge Patch (RFC 7396) into the state: null removes, objects merge, all else replaces.

    Given as it is, as @FILE, or as - for stdin.
    """
    source = "-" if patch == "-" else patch[1:] if patch.startswith("@") else None
    updates = json_text(patch, "JSON") if source is None else document(source)

    _commit(target, write, lambda twin, options: twin.update(updates, options))


@click.command(
    "adjust",
    epilog=example("circman-redis adjust /materials/steel/inventory -5"),
    context_settings={"ignore_unknown_options": True},
)
@click.argument("deltas", metavar=_DELTAS, nargs=-1, required=True)
@writing
def adjust_command(target: Target, write: Write, deltas: tuple[str, ...]) -> None:
    """Add each DELTA to the number at its JSON Pointer: atomically, all or none."""
    if len(deltas) % 2:
        raise click.UsageError(f"a DELTA for each POINTER: {_DELTAS}")
    sums: dict[str, Any] = {}
    for pointer, delta in zip(deltas[::2], deltas[1::2], strict=True):
        split_pointer(pointer)
        if pointer in sums:
            raise click.UsageError(f"{pointer} is there twice")
        sums[pointer] = _number(delta)
    _commit(target, write, lambda twin, options: twin.adjust(sums, options))


def _number(text: str) -> object:
    """The number with the digits that were typed, for the encoder."""
    if not NUMBER.fullmatch(text):
        raise click.UsageError(f"{text!r} is not a number: write it as JSON does, such as -5 or 0.25")
    return Decimal(text)


@click.command("import", epilog=example("circman-redis import backup.json"))
@click.argument("file", type=click.Path(dir_okay=False))
@writing
def import_command(target: Target, write: Write, file: str) -> None:
    """Commit the state in FILE, as it was exported.

    A relative FILE that does not exist is looked for in the results folder (CIRCMAN_RESULTS_DIR).
    """
    path = files.find_import(file, settings_of(target).results_dir)
    state = document(str(path))
    _commit(target, write, lambda twin, options: twin.set(state, options, "import"))


@click.command("clear-history", epilog=example("circman-redis clear-history --yes"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def clear_history_command(target: Target, yes: bool) -> None:
    """Remove the past states; the state and its version stay.

    Asks first, on a terminal; elsewhere it needs --yes.
    """
    with target.session() as session:
        entries = session.run(protocol.history_size(session.keys))
        _confirm(f"Remove all {entries} past states of twin {session.keys.twin!r}?", yes=yes)
        removed = session.run(protocol.clear(session.keys, session.twin.actor))
    emit_value({"twin": session.keys.twin, "removed": removed})


@click.command("delete", epilog=example("circman-redis delete --twin old-line --yes"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-branches", is_flag=True, help="Leave its branches and domain events where they are.")
@acting
def delete_command(target: Target, yes: bool, keep_branches: bool) -> None:
    """Remove the twin with all its keys: its state, its history and its model, with its branches and domain events.

    Asks first, on a terminal, and says which branches there are; elsewhere it needs --yes. Where it fails in between,
    say it again. Exit code 1 where there is no such twin.
    """
    with target.session() as session:
        twin = session.keys.twin
        branches = [] if keep_branches else session.ask(deleting.beside(session.keys))
        if not (branches or _exists(session)):
            raise StateError(f"there is no twin {twin!r}")
        entries = session.run(protocol.history_size(session.keys))
        also = f", and {', '.join(branches)}" if branches else ""
        _confirm(f"Remove twin {twin!r} for good, with its {entries} past states and its model{also}?", yes=yes)
        version = session.ask(deleting.delete_all(session.keys, branches, session.twin.actor))
    emit_value({"twin": twin, "version": version, "branches": branches})


def _exists(session: Session) -> bool:

    # What delete would remove: all its keys but the channel.
    *keys, _channel = protocol.delete(session.keys, "").keys
    return bool(session.run(protocol.Call("EXISTS", tuple(keys), (), int)))


def on_keyboard() -> bool:
    """Whether there is somebody to answer a question."""
    return sys.stdin.isatty()


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not on_keyboard():
        raise click.UsageError("there is nobody to ask: say --yes")
    if not click.confirm(question, err=True):
        click.echo("nothing was removed", err=True)
        click.get_current_context().exit(1)
