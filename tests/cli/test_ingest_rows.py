"""Rows: what CSV and JSON lines become, and how a batch with a bad row in it is committed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis import JSONText, StateConflict, StateValidationError, UsageError, Violation
from circman_redis.ingest import BadRow, CsvRows, Ingest, Row, RowRefusedError, json_rows, line_of
from circman_redis.results import Commit


def csv_rows(text: str | bytes, *maps: str, **kwargs: object) -> list[tuple[int, str | None]]:
    """Line and patch of each row, or line and reason."""
    content = text.encode() if isinstance(text, str) else text
    rows = CsvRows(content.splitlines(keepends=True), maps, **kwargs)
    return [(one.line, one.reason if isinstance(one, BadRow) else _text(one)) for one in rows]


def _text(row: Row) -> str | None:
    return None if row.patch is None else row.patch.decode()


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("22.10", "22.10"),
        (" -0.0 ", "-0.0"),
        ("12345678901234567890", "12345678901234567890"),
        ("1e5", "1e5"),
        ("007", '"007"'),
        ("+5", '"+5"'),
        (".5", '".5"'),
        ("5.", '"5."'),
        ("NaN", '"NaN"'),
        ("٣", '"٣"'),
        ("true", '"true"'),
        ("a\\b\tµ", '"a\\\\b\\tµ"'),
        ('"a ""quoted"", b"', '"a \\"quoted\\", b"'),
    ],
)
def test_a_cell_that_is_a_number_keeps_its_digits_and_any_other_is_text(cell: str, text: str) -> None:
    assert csv_rows(f"x,y\n{cell},1\n", "x=/v") == [(2, f'{{"v":{text}}}')]


def test_columns_go_where_the_maps_say() -> None:
    rows = csv_rows(
        "Time, Dry-bulb (C),a=b\n2026,1.50,x\n,,\n2027,,y\n",
        "Dry-bulb (C)=/env/temperature",
        "a=b=/env/deep/a~1b",
        "Time=/timestamp",
    )
    assert rows == [
        (2, '{"env":{"temperature":1.50,"deep":{"a/b":"x"}},"timestamp":"2026"}'),
        (3, None),
        (4, '{"env":{"deep":{"a/b":"y"}},"timestamp":"2027"}'),
    ]


def test_lines_before_the_header_blank_lines_and_a_bom_are_passed_over() -> None:
    text = b'\xef\xbb\xbfx;y\r\n1;2\r\n\r\n"3";4'
    assert csv_rows(text, "x=/v", delimiter=";") == [(2, '{"v":1}'), (4, '{"v":3}')]
    assert csv_rows(b'station,"open\n\n' + text, "x=/v", skip_lines=1, delimiter=";")[0] == (4, '{"v":1}')


def test_bad_rows_say_why_and_leave_those_after_them_alone() -> None:
    text = b'a,b\n1,2\n3\n4,5,6\n7,"x"y\n\xff,8\n9,"open\n10,11\n12,"two\nlines"\n13,"open\n'
    assert csv_rows(text, "a=/a", "b=/b") == [
        (2, '{"a":1,"b":2}'),
        (3, "1 cells, where the header has 2"),
        (4, "3 cells, where the header has 2"),
        (5, "',' expected after '\"'"),
        (6, "no UTF-8: byte 1 is 0xff"),
        (7, "a quote that is not closed"),
        (8, '{"a":10,"b":11}'),
        (9, '{"a":12,"b":"two\\nlines"}'),
        (11, "a quote that is not closed"),
    ]


def test_a_quote_that_is_never_closed_does_not_swallow_the_file() -> None:
    rows = csv_rows('a,b\n1,"\n' + "2,3\n" * 500, "a=/a")
    assert len(rows) == 501
    assert [line for line, text in rows if text == "a quote that is not closed"] == [2]


@pytest.mark.parametrize(
    ("text", "maps", "reason"),
    [
        ("a,b\n", ["c=/x"], "there is no column 'c'; the columns are 'a', 'b'"),
        ("a,a\n", ["a=/x"], "more than one column 'a'"),
        ("a,b\n", [], "the columns are 'a', 'b'"),
        ("a,b\n", ["a"], "COLUMN=/json/pointer"),
        ("a,b\n", ["a=x"], "COLUMN=/json/pointer"),
        ("a,b\n", ["a=/x~2"], "JSON Pointer"),
        ("a,b\n", ["a=/x", "b=/x"], "another --map has that place"),
        ("a,b\n", ["a=/x", "b=/x/y"], "another --map has that place"),
        ("a,b\n", ["a=/x/y/z", "b=/x/y"], "another --map has that place"),
        ("a,b\n", ["a=/x", "b=/x/y/z"], "another --map has that place"),
        ("\n\n", ["a=/x"], "there is no header"),
        ('"a\n', ["a=/x"], "line 1 is no header"),
    ],
)
def test_maps_that_cannot_be_are_wrong_usage(text: str, maps: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)):
        csv_rows(text, *maps)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_whatever_a_csv_writer_writes_is_read_back(table: list[tuple[str, str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *table])
    # A line end inside quotes is a cell's own; our lines end at \n alone.
    content = io.BytesIO(out.getvalue().encode("utf-8", "replace"))
    rows = list(CsvRows(content, ["a=/a", "b=/b"]))
    assert [type(row) for row in rows] == [Row] * len(table)
    for row, (a, _) in zip(rows, table, strict=True):
        patch = json.loads(row.patch or "{}", parse_int=str, parse_float=str)
        assert patch.get("a", "") == a.strip()


def test_json_lines_are_patches_as_they_are() -> None:
    text = b'{"a": 1.50}\n\n  {"b":null}  \n[1]\n{"a":1,"a":2}\n{"a":\n\xff\n{"a":NaN}\n'
    rows = [(one.line, one.reason if isinstance(one, BadRow) else _text(one)) for one in json_rows(text.splitlines())]
    assert rows[:2] == [(1, '{"a": 1.50}'), (3, '{"b":null}')]
    assert rows[2:] == [
        (4, "must be a JSON object"),
        (5, "/a: a duplicate key"),
        (6, "column 6: Expecting value"),
        (7, "column 1: invalid UTF-8"),
        (8, "/a: NaN and Infinity are not JSON"),
    ]


# --- committing --------------------------------------------------------------------------------------------------


class Store:
    """Commits patches, all or none, and refuses those that say so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.patches: list[bytes] = []

    def __call__(self, patches: list[JSONText], commit_id: str) -> list[Commit]:
        self.calls.append(commit_id)
        if any(b"bad" in one for one in patches):
            raise StateValidationError([Violation("/v", {"type": "number"}, "bad")])
        self.patches += patches
        first = len(self.patches) - len(patches) + 1
        return [Commit(first + n, "e", None, "now") for n in range(len(patches))]


def rows(*patches: str | None) -> Iterator[Row | BadRow]:
    for line, one in enumerate(patches, 1):
        if one == "broken":
            yield BadRow(line, "broken")
        else:
            yield Row(line, None if one is None else JSONText(one))


def test_rows_are_committed_in_batches_with_ids_of_their_lines() -> None:
    store = Store()
    ingest = Ingest(store, "run", batch=2, skip=False, report=pytest.fail)
    assert [one.rows for one in ingest.run(rows("{}", None, "{}", "{}"))] == [3, 4]
    assert store.calls == ["run:1-3", "run:4-4"]
    tally = ingest.tally
    assert (tally.committed, tally.skipped, tally.first_version, tally.last_version) == (3, 1, 1, 3)


def test_with_skip_all_but_the_bad_rows_are_committed_in_order() -> None:
    store, reported = Store(), []
    ingest = Ingest(store, "run", batch=4, skip=True, report=reported.append)
    list(ingest.run(rows("1", "2", "bad", "broken", "5", "6", "bad", "8")))
    assert store.patches == [b"1", b"2", b"5", b"6", b"8"]
    assert sorted(one.line for one in reported) == [3, 4, 7]
    assert [one.reason for one in reported if one.line == 3] == ["/v: 'bad' breaks type 'number'"]
    assert (ingest.tally.rows, ingest.tally.committed, ingest.tally.skipped) == (8, 5, 3)
    assert len(set(store.calls)) == len(store.calls)


@pytest.mark.parametrize("bad", ["bad", "broken"])
def test_without_skip_all_before_the_first_bad_row_is_committed(bad: str) -> None:
    store = Store()
    ingest = Ingest(store, "run", batch=10, skip=False, report=pytest.fail)
    with pytest.raises(RowRefusedError, match="line 4"):
        list(ingest.run(rows("1", "2", "3", bad, "5")))
    assert store.patches == [b"1", b"2", b"3"]
    assert (ingest.tally.committed, ingest.tally.skipped) == (3, 0)


def test_a_batch_is_bounded_in_bytes_too() -> None:
    store = Store()
    large = '{"a":"' + "x" * 3_000_000 + '"}'
    list(Ingest(store, "run", batch=100, skip=False, report=pytest.fail).run(rows(large, large, large)))
    assert store.calls == ["run:1-2", "run:3-3"]


def test_what_is_not_a_rows_fault_ends_the_run() -> None:
    def commit(*_: object) -> list[Commit]:
        raise StateConflict("", 1, 2)

    with pytest.raises(StateConflict):
        list(Ingest(commit, "run", batch=2, skip=True, report=pytest.fail).run(rows("{}")))


@pytest.mark.parametrize(
    ("commit_id", "line"),
    [("run:3-14#2", 14), ("run:3-14", 14), ("other:3-14", None), ("run:x:3-14", None), ("run", None), (None, None)],
)
def test_a_commit_id_tells_the_line(commit_id: str | None, line: int | None) -> None:
    assert line_of(commit_id, "run") == line
