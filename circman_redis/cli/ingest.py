"""ingest: rows of CSV, or lines of JSON, as commits."""

from __future__ import annotations

import dataclasses
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import PurePath
from typing import IO, TYPE_CHECKING

import click

from circman_redis.cli import EXIT_INTERRUPTED, EXIT_REFUSED
from circman_redis.cli._errors import lines_of
from circman_redis.cli._options import Target, acting, example, modelled
from circman_redis.cli._output import console, emit_value, note
from circman_redis.cli._session import Session, commits
from circman_redis.errors import CircmanError, StoreUnavailable, UsageError
from circman_redis.flows import Options
from circman_redis.ingest import BadRow, CommitMany, CsvRows, Ingest, Row, RowRefusedError, Tally, json_rows, line_of
from circman_redis.view.words import printable

if TYPE_CHECKING:
    from rich.progress import Progress

_FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_MOST_SHOWN = 20
_MOST_ROWS = 1000
_UNSURE = "whether the rows under way are committed is not known here: --resume finds out"


@click.command("ingest", epilog=example("circman-redis ingest log.csv --map 'Temp (C)=/environment/temperature'"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--map", "maps", multiple=True, metavar="COLUMN=/POINTER", help="Where a CSV column goes; repeat it.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), help="Else by the name of FILE.")
@click.option("--skip-lines", type=click.IntRange(0), default=0, metavar="N", help="Lines before the CSV header.")
@click.option("--delimiter", metavar="CHAR", help="Between CSV cells [, and in a .tsv a tab].")
@click.option(
    "--batch", type=click.IntRange(1, _MOST_ROWS), default=100, show_default=True, help="Rows per round trip."
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="Whether a bad row ends the run, or is counted and left out.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many rows.")
@click.option("--resume", metavar="RUN", help="Go on with a run that ended before its time.")
@acting
@modelled
def ingest_command(
    target: Target,
    *,
    file: str,
    maps: tuple[str, ...],
    form: str | None,
    skip_lines: int,
    delimiter: str | None,
    batch: int,
    on_error: str,
    limit: int | None,
    resume: str | None,
) -> None:
    """Commit each row of FILE (- for stdin): CSV by --map, or JSON lines, a merge patch (RFC 7396) each.

    Numbers keep their digits, other text becomes a string, an empty cell is left out. Prints a summary as JSON.
    With --on-error fail all rows before the bad one are committed, and the exit code is 1.
    """
    run_id = resume or f"ingest-{secrets.token_hex(6)}"
    with click.open_file(file, "rb") as source, target.patient().session() as session:
        rows = _rows(source, _format(file, form, maps), maps, skip_lines, _delimiter(file, delimiter))
        done = _last_line(session, resume) if resume else 0
        todo = islice((row for row in rows if row.line > done), limit)
        with _Bar.over(source) as bar:
            refusals = _Refusals(bar.say)
            ingest = Ingest(_committer(session), run_id, batch=batch, skip=on_error == "skip", report=refusals)
            code = _run(ingest, todo, bar)
    refusals.finish()
    _finish(ingest.tally, code, run_id)


def _format(file: str, form: str | None, maps: tuple[str, ...]) -> str:
    return form or _FORMATS.get(PurePath(file).suffix.lower()) or ("csv" if maps else "jsonl")


def _delimiter(file: str, delimiter: str | None) -> str:
    if delimiter is None:
        return "\t" if file.lower().endswith(".tsv") else ","
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise click.BadParameter("one character, or the word tab", param_hint="--delimiter")
    return delimiter


def _rows(
    source: IO[bytes], form: str, maps: tuple[str, ...], skip_lines: int, delimiter: str
) -> Iterable[Row | BadRow]:
    if form == "csv":
        return CsvRows(source, maps, skip_lines, delimiter)
    if maps or skip_lines:
        raise click.UsageError("--map and --skip-lines are for CSV: a line of JSON is a merge patch as it is")
    return json_rows(source)


def _last_line(session: Session, run_id: str) -> int:
    """Where the last row of a run that is committed begins, which its commits in the history tell."""
    lines = (line_of(entry["id"], run_id) for entry in commits(session))
    last = next((line for line in lines if line), None)
    if last is None:
        raise UsageError(f"--resume {run_id}: no commit of that run is in the history (any more)")
    return last


def _committer(session: Session) -> CommitMany:
    return lambda patches, commit_id: session.write(session.twin.update_many(patches, Options(commit_id=commit_id)))


def _run(ingest: Ingest, rows: Iterable[Row | BadRow], bar: _Bar) -> int:
    """Commits the rows, and says what ended it before its time; returns the exit code."""
    try:
        for tally in ingest.run(rows):
            bar.show(tally)
    except RowRefusedError as error:
        bar.say(f"error: {error}")
        return EXIT_REFUSED
    except StoreUnavailable as error:
        bar.say(f"error: {str(error).partition('; ')[0]}")
        bar.say(_UNSURE)
        return EXIT_REFUSED
    except CircmanError as error:
        for line in lines_of(error):
            bar.say(line)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        bar.say(f"interrupted; {_UNSURE}")
        return EXIT_INTERRUPTED
    return 0


def _finish(tally: Tally, code: int, run_id: str) -> None:
    emit_value(dataclasses.asdict(tally))
    if code and tally.committed:
        note(f"to go on after the last row that is committed: the same command with --resume {run_id}")
    click.get_current_context().exit(code)


class _Refusals:
    """Says which rows were skipped: the first ones one by one, the rest as a number."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._count = 0

    def __call__(self, row: BadRow) -> None:
        self._count += 1
        if self._count <= _MOST_SHOWN:
            self._say(f"skipped line {row.line}: {row.reason}")

    def finish(self) -> None:
        if self._count > _MOST_SHOWN:
            self._say(f"and {self._count - _MOST_SHOWN:,} more")


class _Bar:
    """A progress bar on stderr where that is a terminal; it counts bytes, as the number of rows is not known."""

    def __init__(self, source: IO[bytes], progress: Progress | None) -> None:
        self._source = source
        self._progress = progress
        self._task = progress.add_task("", total=_size(source), rows=0) if progress else None

    @classmethod
    @contextmanager
    def over(cls, source: IO[bytes]) -> Iterator[_Bar]:
        """The bar of a file, on the screen until the end of the with statement."""
        if not sys.stderr.isatty():
            yield cls(source, None)
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]} rows"), TimeRemainingColumn())
        with Progress(*columns, console=console(stderr=True), transient=True) as progress:
            yield cls(source, progress)

    def show(self, tally: Tally) -> None:
        """Moves the bar on."""
        if self._progress and self._task is not None:
            completed = self._source.tell() if self._source.seekable() else None
            self._progress.update(self._task, completed=completed, rows=f"{tally.rows:,}")

    def say(self, message: str) -> None:
        """Says something on stderr, above the bar."""
        if self._progress:
            self._progress.console.print(printable(message), soft_wrap=True)
        else:
            note(message)


def _size(source: IO[bytes]) -> int | None:
    """The length of a file; None where it cannot be known."""
    status = os.fstat(source.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
