"""What commands print: JSON on stdout, words on stderr. rich is imported for a terminal only."""

from __future__ import annotations

import io
import select
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from circman_redis.cli._json import dumps
from circman_redis.codec import compact, pretty
from circman_redis.view.words import printable

if TYPE_CHECKING:
    from rich.console import Console

    from circman_redis.patch import Change

_LONGEST_COLOURED = 200_000  # characters: beyond that, colours take longer than anyone looks


def on_terminal() -> bool:
    """Whether somebody is looking at stdout."""
    return sys.stdout.isatty()


def console(*, stderr: bool = False) -> Console:
    """Rich's console."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def emit(text: str | bytes) -> None:
    """Prints JSON text: indented and coloured on a terminal, else on one line in UTF-8."""
    if not on_terminal():
        click.echo(compact(text).encode())
        return
    shown = printable(pretty(text))
    # What was committed is told in any case: it is no use then to say that rich is missing.
    if len(shown) > _LONGEST_COLOURED or not _has_rich():
        click.echo(shown)
        return
    from rich.highlighter import JSONHighlighter  # noqa: PLC0415 - only a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    coloured = Text(shown)
    JSONHighlighter().highlight(coloured)
    console().print(coloured, soft_wrap=True)


def _has_rich() -> bool:
    try:
        import rich  # noqa: F401, PLC0415 - only a terminal needs it
    except ModuleNotFoundError:
        return False
    return True


def emit_value(value: Any) -> None:
    """Prints a JSON value; a `Number` as the text that it is."""
    emit(dumps(value))


def emit_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table on a terminal; its last column is cut off where the terminal ends."""
    from rich import box  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, width in zip(columns[:-1], widths, strict=False):
        table.add_column(name, no_wrap=True, min_width=width)
    # rich would take the room for a long last column from the others, whatever their least width.
    room = console().width - sum(widths[:-1]) - 3 * len(widths[:-1])
    table.add_column(columns[-1], no_wrap=True, overflow="ellipsis", max_width=max(8, room))
    for row in cells:
        table.add_row(*map(Text, row))
    console().print(table)


def emit_facts(title: str, facts: Mapping[str, object]) -> None:
    """Prints names and values on a terminal, below each other."""
    from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

    width = max(map(len, facts))
    out = console()
    out.print(Text(title, style="bold"))
    for name, value in facts.items():
        out.print(
            Text(f"  {name:<{width}}", style="dim"), printable("-" if value is None else str(value)), soft_wrap=True
        )


def note(message: str) -> None:
    """Says something on stderr."""
    click.echo(printable(message), err=True)


def check_reader() -> None:
    """Notices that the pipe was closed before there is something to write.

    Raises:
        BrokenPipeError: it was.
    """
    try:
        descriptor = sys.stdout.fileno()
    except io.UnsupportedOperation:
        return
    pipe = select.poll()
    pipe.register(descriptor, 0)
    if any(what & select.POLLERR for _, what in pipe.poll(0)):
        raise BrokenPipeError


def emit_changes(changes: Sequence[Change]) -> None:
    """Prints what changed: on a terminal a pointer, before and after each; else one JSON array."""
    if not on_terminal():
        emit_value([change.to_json() for change in changes])
        return
    if not changes:
        note("no difference")
    out = console()
    for change in (one.to_json() for one in changes):
        out.print(printable(change["pointer"] or "(the whole state)"), style="bold", soft_wrap=True)
        for sign, side, colour in (("-", "before", "red"), ("+", "after", "green")):
            if side in change:
                out.print(f"  {sign} {printable(dumps(change[side]))}", style=colour, soft_wrap=True)
