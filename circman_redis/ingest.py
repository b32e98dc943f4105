"""Rows become commits: CSV and JSON lines as merge patches, in batches, exactly once. Talks to no server itself."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from circman_redis.codec import JSONText, check_text
from circman_redis.errors import InvalidJSON, StateTooLarge, StateValidationError, UsageError
from circman_redis.patch import split_pointer
from circman_redis.results import Commit

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
"""A number as JSON writes it (RFC 8259, section 6)."""

_MOST_LINES = 100  # of one record: a quote that is never closed must not swallow the file
_UNCLOSED = "unexpected end of data"


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be sent.

    Attributes:
        line: where it begins in the file, from 1.
        patch: the merge patch that it stands for; None where it has nothing to say.
    """

    line: int
    patch: JSONText | None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be committed.

    Attributes:
        line: where it begins in the file, from 1.
        reason: why.
    """

    line: int
    reason: str


class RowRefusedError(Exception):
    """A bad row was met, and bad rows are not to be skipped."""

    def __init__(self, row: BadRow) -> None:
        super().__init__(f"line {row.line}: {row.reason}")
        self.row = row


# --- JSON lines ------------------------------------------------------------------------------------------------


def json_rows(lines: Iterable[bytes]) -> Iterator[Row | BadRow]:
    """A merge patch per line; empty lines are no rows."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        try:
            yield Row(number, JSONText(check_text(text)))
        except InvalidJSON as error:
            yield BadRow(number, _where_in_line(error))


def _where_in_line(error: InvalidJSON) -> str:
    reason = error.details.get("reason", str(error))
    if "column" in error.details:
        return f"column {error.details['column']}: {reason}"
    pointer = error.details.get("pointer")
    return f"{pointer}: {reason}" if pointer else str(reason)


# --- CSV -------------------------------------------------------------------------------------------------------

_Tree = dict[str, Any]
"""The patch to be: objects of names, with a `_Cell` at each end."""


@dataclass(frozen=True, slots=True)
class _Cell:
    column: int
    always_text: bool  # a time is text, also where it looks like a number


class CsvRows:
    """The rows of a CSV file (RFC 4180) after its header.

    Args:
        lines: the file's, with their line ends.
        maps: ``COLUMN=/json/pointer`` each.
        skip_lines: lines before the header.
        delimiter: between cells.

    Raises:
        UsageError: a column that is not there, a pointer that cannot be used, no header.
    """

    def __init__(self, lines: Iterable[bytes], maps: Sequence[str], skip_lines: int = 0, delimiter: str = ",") -> None:
        self._delimiter = delimiter
        self._lines = enumerate(lines, 1)
        self._again: deque[tuple[int, bytes]] = deque()
        for _ in zip(range(skip_lines), self._lines, strict=False):
            pass
        self._header = self._read_header()
        self._tree = self._tree_of(maps)

    def __iter__(self) -> Iterator[Row | BadRow]:
        while True:
            line, text = self._next_line()
            if not line:
                return
            if text.strip():
                yield self._record(line, text)

    def _next_line(self) -> tuple[int, bytes]:
        """The next line with its number, which is 0 at the end."""
        return self._again.popleft() if self._again else next(self._lines, (0, b""))

    def _record(self, line: int, text: bytes) -> Row | BadRow:
        """The record that begins with this line.

        A quoted cell may have line ends inside. Where that leads nowhere (the quote is never closed, or closed by the
        one that opens a later cell), only the first line is bad: those after it are read again.
        """
        cells = self._cells(text)
        taken: list[tuple[int, bytes]] = []
        while cells == _UNCLOSED and len(taken) < _MOST_LINES:
            number, more = self._next_line()
            if not number:
                break
            taken.append((number, more))
            text += more
            cells = self._cells(text)
        if isinstance(cells, list):
            patch = _object(self._tree, cells)
            return Row(line, JSONText(patch) if patch else None)
        self._again.extendleft(reversed(taken))
        return BadRow(line, "a quote that is not closed" if taken or cells == _UNCLOSED else cells)

    def _read_header(self) -> list[str]:
        for line, text in self._lines:
            if text.strip():
                cells = self._parse(text.removeprefix(b"\xef\xbb\xbf"))
                if isinstance(cells, str):
                    raise UsageError(f"line {line} is no header: {cells}; is --skip-lines right?")
                return [cell.strip() for cell in cells]
        raise UsageError("there is no header: the file has no more lines")

    def _tree_of(self, maps: Sequence[str]) -> _Tree:
        tree: _Tree = {}
        for one in maps:
            name, separator, rest = one.partition("=/")
            if not separator:
                raise UsageError(f"--map {one!r}: write it as COLUMN=/json/pointer")
            _plant(tree, split_pointer("/" + rest), self._column(name.strip()), one)
        if not tree:
            raise UsageError(f"say what goes where with --map COLUMN=/json/pointer; {self._columns()}")
        return tree

    def _column(self, name: str) -> int:
        if self._header.count(name) != 1:
            number = "more than one" if name in self._header else "no"
            raise UsageError(f"there is {number} column {name!r}; {self._columns()}")
        return self._header.index(name)

    def _columns(self) -> str:
        return f"the columns are {', '.join(map(repr, self._header))}"

    def _cells(self, text: bytes) -> list[str] | str:
        """The cells of a record, as many as the header has, or why there are none."""
        cells = self._parse(text)
        if isinstance(cells, list) and len(cells) != len(self._header):
            return f"{len(cells)} cells, where the header has {len(self._header)}"
        return cells

    def _parse(self, text: bytes) -> list[str] | str:
        try:
            lines = io.StringIO(text.decode(), newline="\n")
            return next(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except UnicodeDecodeError as error:
            return f"no UTF-8: byte {error.start + 1} is 0x{text[error.start]:02x}"
        except csv.Error as error:
            return str(error)


def _plant(tree: _Tree, path: tuple[str, ...], column: int, said: str) -> None:
    *parents, last = path
    place: Any = tree
    for name in parents:
        place = place.setdefault(name, {}) if isinstance(place, dict) else place
    if isinstance(place, _Cell) or last in place:
        raise UsageError(f"--map {said!r}: another --map has that place, or one inside or above it")
    place[last] = _Cell(column, always_text=path == ("timestamp",))


def _object(tree: _Tree, cells: Sequence[str]) -> str:
    """The JSON text of an object; empty where all of its cells are."""
    members = []
    for name, part in tree.items():
        text = _value(cells[part.column], part) if isinstance(part, _Cell) else _object(part, cells)
        if text:
            members.append(f"{json.dumps(name, ensure_ascii=False)}:{text}")
    return "{" + ",".join(members) + "}" if members else ""


def _value(text: str, cell: _Cell) -> str:
    stripped = text.strip()
    if not stripped or (NUMBER.fullmatch(stripped) and not cell.always_text):
        return stripped
    return json.dumps(stripped, ensure_ascii=False)


# --- committing --------------------------------------------------------------------------------------------------

_COMMIT_ID = re.compile(r"(?P<run>.+):[0-9]+-(?P<last>[0-9]+)(?:#[0-9]+)?", re.DOTALL)


def line_of(commit_id: str | None, run_id: str) -> int | None:
    """Where the last row begins of the call that a commit is from; None where it is not of this run."""
    found = _COMMIT_ID.fullmatch(commit_id or "")
    return int(found["last"]) if found and found["run"] == run_id else None


CommitMany = Callable[[list[JSONText], str], list[Commit]]
"""Commits patches, all or none, under a commit id: the manager's ``update_many``."""

_MOST_BYTES = 4 << 20  # in one call, so that the server is never held for long
_ROWS_FAULT = (InvalidJSON, StateTooLarge, StateValidationError)


@dataclass(slots=True)
class Tally:
    """How far an ingest has come.

    Attributes:
        rows: rows read.
        committed: rows that are commits now.
        skipped: bad rows that were left out, and rows with nothing to say.
        first_version: the first version that was made.
        last_version: the last one.
    """

    rows: int = 0
    committed: int = 0
    skipped: int = 0
    first_version: int | None = None
    last_version: int | None = None


class Ingest:
    """Commits rows in order, a batch per round trip.

    Where a batch is refused because of a row in it, it is halved until that row is found: what comes before it is
    committed, and so is what comes after it, unless bad rows end the run. Each call's commit id is made from
    the run's id and the lines that it commits: a call that is repeated commits nothing twice, and the history tells
    how far a run came (`line_of`).

    Args:
        commit: commits patches under an id.
        run_id: of this run.
        batch: rows per call, 1 to 1,000.
        skip: whether bad rows are left out; else the first one ends the run.
        report: is told of each bad row that is left out.
    """

    def __init__(
        self, commit: CommitMany, run_id: str, *, batch: int, skip: bool, report: Callable[[BadRow], None]
    ) -> None:
        self._commit_many = commit
        self._run_id = run_id
        self._batch = batch
        self._skip = skip
        self._report = report
        self.tally = Tally()

    def run(self, rows: Iterable[Row | BadRow]) -> Iterator[Tally]:
        """Commits all rows; yields the tally after each batch.

        Raises:
            RowRefusedError: a bad row ended the run; all rows before it are committed.
        """
        waiting: list[tuple[int, JSONText]] = []
        size = 0
        for row in rows:
            self.tally.rows += 1
            if isinstance(row, BadRow):
                if not self._skip:
                    self._commit(waiting)
                self._refuse(row)
            elif row.patch is None:
                self.tally.skipped += 1
            else:
                waiting.append((row.line, row.patch))
                size += len(row.patch)
            if len(waiting) == self._batch or size > _MOST_BYTES:
                self._commit(waiting)
                waiting, size = [], 0
                yield self.tally
        self._commit(waiting)
        yield self.tally

    def _refuse(self, row: BadRow) -> None:
        if not self._skip:
            raise RowRefusedError(row)
        self.tally.skipped += 1
        self._report(row)

    def _commit(self, rows: list[tuple[int, JSONText]]) -> None:
        if not rows:
            return
        first, last = rows[0][0], rows[-1][0]
        try:
            commits = self._commit_many([patch for _, patch in rows], f"{self._run_id}:{first}-{last}")
        except _ROWS_FAULT as error:
            if len(rows) == 1:
                self._refuse(BadRow(first, _reason(error)))
                return
            half = len(rows) // 2
            self._commit(rows[:half])
            self._commit(rows[half:])
        else:
            self._count(commits)

    def _count(self, commits: list[Commit]) -> None:
        tally = self.tally
        tally.committed += len(commits)
        tally.first_version = tally.first_version or commits[0].version
        tally.last_version = commits[-1].version


def _reason(error: Exception) -> str:
    if isinstance(error, StateValidationError):
        return "; ".join(map(str, error.violations)) or str(error)
    return str(error)
