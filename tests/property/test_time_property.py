"""The script's reading and writing of times against timestamps.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from circman_redis.timestamps import format_timestamp, microseconds, parse_timestamp
from tests.lua.support import RawTwin
from tests.property.texts import on_servers

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = 2**53  # microseconds: to the year 2255, and back to 1684
RULES = {"": {"type": "object"}, "/t": {"format": "date-time"}}

zones = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=zones) | st.datetimes(
    min_value=datetime(1685, 1, 1), max_value=datetime(2255, 1, 1), timezones=zones
)
written = st.builds(
    lambda moment, separator, spec: moment.isoformat(sep=separator, timespec=spec),
    moments,
    st.sampled_from("T "),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]),
)
# The parts of a good time, and what each may be replaced with.
GOOD = ["2024", "-", "02", "-", "29", "T", "23", ":", "59", ":", "59", ".5", "+01:30"]
TWO = ["00", "01", "04", "12", "13", "24", "30", "31", "32", "60", "99", "1", "x1", "", "001", " 1", "+1"]
ODD = [
    ["0000", "0001", "1900", "2000", "2023", "2100", "9999", "10000", "-001", "24", "٢٠٢٤", "", "0x20"],
    *(["", "/", ":", "--", " "], TWO, ["", "/", ":"], TWO, [" ", "t", "", "  ", "T ", "_"], TWO, ["", ".", "h"]),
    *(TWO, ["", ".", "-"], TWO),
    ["", ".", ".0", ".123456", ".1234569", ".9999999999999999999999", ".٣", ",5", ".-1", ". 1", ".1.1", ".1e3"],
    ["", "Z", "z", "+00:00", "-00:00", "+01", "+0130", "-23:59", "+24:00", "+01:60", "+1:00", "Z0", " ", "\n", "UTC"],
]


def replaced(places: list[tuple[int, int]]) -> str:
    """A good time with a few parts replaced."""
    parts = list(GOOD)
    for place, n in places:
        parts[place] = ODD[place][n % len(ODD[place])]
    return "".join(parts)


nearly = st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 20)), max_size=3).map(replaced)
edges = st.builds(
    lambda day, time, zone: f"{day}T{time}{zone}",
    st.sampled_from(["0001-01-01", "9999-12-31", "1970-01-01", "2000-02-29", "1600-03-01"]),
    st.sampled_from(["00:00:00", "23:59:59.999999", "12:00:00", "00:59:59.999999", "23:00:00"]),
    st.sampled_from(["", "Z", "+00:00", "+01:00", "-01:00", "+23:59", "-23:59", "+01", "-0001"]),
)
mutated = st.builds(
    lambda text, at, put, cut: text[: at % len(text)] + put + text[at % len(text) + cut :],
    written,
    st.integers(0, 40),
    st.sampled_from(["", "0", "9", "-", "+", ":", ".", "Z", "T", "t", "z", " ", "\n", "\0", "é", "00", ":00"]),
    st.integers(0, 2),
)


def stamp_of(twin: RawTwin, text: str) -> int | None:
    """The microseconds that the script reads in a time, None where it is none to it."""
    twin.bind(RULES)
    refusal = twin.error_of(lambda: twin.set(json.dumps({"t": text})))
    accepted = not refusal
    assert accepted or ("CIRCMAN_INVALID" in refusal and '"keyword":"format"' in refusal)
    twin.meta(committed="0")
    twin.set(json.dumps({"timestamp": text}))
    stamp, committed = int(twin.meta_of("stamp")), int(twin.meta_of("committed"))
    assert accepted or stamp == committed
    return stamp if accepted else None


def expected_of(text: str) -> int | None:
    try:
        return microseconds(parse_timestamp(text))
    except ValueError:
        return None


def assert_read_alike(twin: RawTwin, text: str) -> None:
    found, expected = stamp_of(twin, text), expected_of(text)
    if expected is None or found is None or abs(expected) <= EXACT:
        assert found == expected
    else:
        assert abs(found - expected) <= 64  # a double has no more digits


@on_servers(300, text=written)
def test_every_time_that_python_writes_is_read(raw: RawTwin, text: str) -> None:
    """Any offset or none, any precision: the same microsecond; what leaves the years 1 to 9999 is no time."""
    assert_read_alike(RawTwin(raw.client), text)


@on_servers(500, text=nearly | mutated | edges)
def test_what_is_nearly_a_time_is_read_as_in_python(raw: RawTwin, text: str) -> None:
    """Accepted exactly where parse_timestamp accepts it: dates that no month has, bad offsets, other digits, ..."""
    assert_read_alike(RawTwin(raw.client), text)


@on_servers(300, us=st.integers(1, EXACT) | st.integers(0, 4000).map(lambda days: days * 86_400_000_000 + 1))
def test_times_are_written_as_python_writes_them(raw: RawTwin, us: int) -> None:
    """Microseconds and Z; by the refusal of a retry that is older than what is remembered."""
    twin = RawTwin(raw.client)
    twin.meta(ids_since=us)
    with twin.refused("EXPIRED") as refusal:
        twin.set("{}", commit_id="x", age=10**13)
    assert refusal.details["remembered_since"] == format_timestamp(EPOCH + timedelta(microseconds=us))
