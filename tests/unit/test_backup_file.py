"""The lines of a backup: what was written is read back, and every kind of damage is told with its line."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.backup_file import EndRecord, EntryRecord, Record, TwinRecord, Writer, parse_twin, read
from circman_redis.errors import BadBackup

FACTS = '"timestamp":null,"committed_at":"2026-03-01T12:00:00.00000%dZ","op":"merge","actor":null,"id":null,"patch":{}'


def fact(version: int) -> str:
    return f'{{"version":{version},{FACTS % version}'


def entry(version: int) -> bytes:
    return f'{fact(version)},"state":{{"n":{version}.50}}}}'.encode()


def twin(name: str = "a", **how: bytes) -> TwinRecord:
    parts = {"settings": b'{"max_bytes":10}', "head": f"{fact(4)}}}".encode(), "rules": b"{}", "schema": b"", **how}
    return TwinRecord(name, "e", 4, **{"state": b'{"n":4.50}', **parts})


def lines(*twins: TwinRecord, entries: int = 3) -> list[bytes]:
    writer = Writer()
    made = [writer.first("2026-03-01T12:00:00Z")]
    for one in twins or (twin(),):
        made.append(writer.twin(one))
        made += [writer.entry(entry(version)) for version in range(3, 3 - entries, -1)]
        made.append(writer.end())
    return [*made, writer.last()]


def records(content: bytes) -> list[Record]:
    return list(read(io.BytesIO(content), "file"))


def refused(content: bytes) -> str:
    with pytest.raises(BadBackup) as caught:
        records(content)
    return str(caught.value)


def test_what_was_written_is_read() -> None:
    """Every text as it was."""
    made = [twin("a", schema=b'{\n "type": "object"}', rules=b'{"/n":{"minimum":1}}'), twin("b")]
    found = records(b"".join(lines(*made)))
    assert [one for one in found if isinstance(one, TwinRecord)] == made
    assert [one for one in found if isinstance(one, EntryRecord)][:3] == [EntryRecord(n, entry(n)) for n in (3, 2, 1)]
    assert [one for one in found if isinstance(one, EndRecord)] == [EndRecord("a", 3), EndRecord("b", 3)]


def test_each_line_is_json() -> None:
    """For jq, and for whoever looks."""
    assert [next(iter(json.loads(line))) for line in lines()] == [
        *("circman_redis_backup", "twin", "version", "version", "version", "end", "twins")
    ]


def test_no_twins_and_no_entries() -> None:
    """A backup of nothing is one."""
    writer = Writer()
    assert records(writer.first("x") + writer.last()) == []
    assert records(b"".join(lines(entries=0)))[1:] == [EndRecord("a", 0)]


def test_it_is_noticed_wherever_it_is_cut_short() -> None:
    """After any byte: also between lines, and between twins."""
    whole = b"".join(lines(twin("a"), twin("b")))
    for length in range(len(whole)):
        assert "nothing was restored" in refused(whole[:length])


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    """Whichever it is, and whatever it becomes."""
    whole = bytearray(b"".join(lines(twin("a"), twin("b"))))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    refused(bytes(whole))


@given(st.binary(max_size=300), st.sampled_from(range(7)))
def test_junk_is_refused(junk: bytes, place: int) -> None:
    """In the place of any line, or before it."""
    made = lines()
    refused(b"".join([*made[:place], junk, *made[place + 1 :]]))
    if junk:
        refused(b"".join([*made[:place], junk, *made[place:]]))


def test_lines_that_are_moved_doubled_or_missing_are_noticed() -> None:
    """Though each of them is well."""
    made = lines(twin("a"), twin("b"))
    for i in range(len(made)):
        refused(b"".join([*made[:i], *made[i + 1 :]]))
        refused(b"".join([*made[:i], made[i], *made[i:]]))
    refused(b"".join(made[:1] + made[6:11] + made[1:6] + made[11:]))
    refused(b"".join(made) + b"\n")


def summed(*middle: bytes) -> bytes:
    """A file whose sums are right, whatever it holds."""
    made = [Writer().first("x"), *middle]
    total = hashlib.sha256(b"".join(made)).hexdigest()
    return b"".join(made) + b'{"twins":%d,"sha256":"%b"}\n' % (len(middle) > 0, total.encode())


def ended(*body: bytes, entries: int) -> bytes:
    part = hashlib.sha256(b"".join(body)).hexdigest()
    return summed(*body, b'{"end":"a","entries":%d,"sha256":"%b"}\n' % (entries, part.encode()))


HEAD = lines()[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: no backup"),
        (b"{}\n", "line 1: no backup"),
        (b"x" * 10_000_000, "line 1: no backup"),
        (b'{"circman_redis_backup":2,"made_at":"x"}\n', "format 2"),
        (ended(HEAD.replace(b'"a"', b'"no twin"'), entries=0), "line 2: not the line of a twin: twin id 'no twin'"),
        (ended(HEAD.replace(b'"a"', b'"../../a"'), entries=0), "twin id"),
        (ended(HEAD.replace(b'"a"', b"3"), entries=0), "line 2"),
        (ended(HEAD.replace(b'"epoch":"e"', b'"epoch":3'), entries=0), "no epoch"),
        (ended(HEAD.replace(b'"state":', b'"stat":'), entries=0), "no 'state'"),
        (ended(HEAD.replace(b'"n":4.50', b'"n":4.50,"n":4'), entries=0), "duplicate key"),
        (ended(HEAD.replace(b'"n":4.50', b'"n": 4.50'), entries=0), "not in the form"),
        (ended(HEAD.replace(b'"n":4.50', b'"n":NaN'), entries=0), "line 2"),
        (ended(HEAD.replace(b'"n":4.50', b'"n":' + b"[" * 5000 + b"]" * 5000), entries=0), "line 2"),
        (ended(HEAD.replace(b'"n":4.50', b'"n":"\xff"'), entries=0), "line 2"),
        (ended(HEAD.replace(b'{"n":4.50}', b"[]"), entries=0), "no JSON object"),
        (ended(HEAD.replace(b'"version":4', b'"version":-4'), entries=0), "no head record"),
        (ended(HEAD[:-2] + b',"more":1}\n', entries=0), "more than a twin has"),
        (ended(HEAD, entry(2) + b"\n", entries=1), "version 2, where 3 should be"),
        (ended(HEAD, entry(3)[:-1] + b"\n", entries=1), "not a history entry"),
        (ended(HEAD, entry(3) + b"\n", entries=2), "twin 'a' is not as it was written"),
        (ended(HEAD, b"[]\n", entries=1), "a history entry was expected"),
        (summed(b"[]\n"), "the line of a twin was expected"),
    ],
)
def test_what_has_the_right_sums_and_says_nonsense(content: bytes, said: str) -> None:
    """Sums can be made by anybody: each line is checked too."""
    assert said in refused(content)


def test_a_twin_is_there_once() -> None:
    """Or it would be restored twice."""
    assert "twin 'a' is there twice" in refused(b"".join(lines(twin("a"), twin("a"))))


def test_a_line_may_not_be_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """It guards the memory."""
    monkeypatch.setattr("circman_redis.backup_file.MAX_LINE_BYTES", 500)
    assert "longer than 500 bytes" in refused(lines()[0] + b"{" + b" " * 1000)


@given(st.binary(max_size=200))
def test_parse_twin_raises_value_errors_alone(junk: bytes) -> None:
    """Of whatever bytes."""
    for line in (junk, HEAD[: len(junk)] + junk):
        try:
            parse_twin(line)
        except ValueError:
            continue
        raise AssertionError(line)
