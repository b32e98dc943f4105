"""The one grammar of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.timestamps import format_timestamp, microseconds, parse_timestamp

ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# A day from either end, so that no zone carries the instant out of the years 0001 to 9999.
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-02-24T14:20:07.123456", "2025-02-24T14:20:07.123456Z"),
        ("2025-02-24 14:20:07", "2025-02-24T14:20:07.000000Z"),
        ("2025-02-24T14:20:07Z", "2025-02-24T14:20:07.000000Z"),
        ("2025-02-24T14:20:07.5Z", "2025-02-24T14:20:07.500000Z"),
        ("2025-02-24T14:20:07.123456999999999", "2025-02-24T14:20:07.123456Z"),
        ("2026-11-22T14:00:00+01:00", "2026-11-22T13:00:00.000000Z"),
        ("2026-11-22T14:00:00+0130", "2026-11-22T12:30:00.000000Z"),
        ("2026-11-22T14:00:00-05", "2026-11-22T19:00:00.000000Z"),
        ("2026-11-22T14:00:00-00:00", "2026-11-22T14:00:00.000000Z"),
        ("2026-01-01T00:00:00+23:59", "2025-12-31T00:01:00.000000Z"),
        ("2024-02-29T00:00:00", "2024-02-29T00:00:00.000000Z"),
        ("2000-02-29T00:00:00", "2000-02-29T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_reads_every_form_of_the_grammar_as_utc(text: str, instant: str) -> None:
    moment = parse_timestamp(text)
    assert moment.tzinfo is UTC
    assert format_timestamp(moment) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-02-24",
        "2025-02-24T14:20",
        "2025-02-24T14:20:07.",
        "2025-02-24t14:20:07",
        "2025-02-24T14:20:07z",
        "2025-02-24_14:20:07",
        "2025-02-24T14:20:07 Z",
        "2025-02-24T14:20:07Z\n",
        " 2025-02-24T14:20:07Z",
        "2025-02-24T14:20:07,5",
        "20250224T142007Z",
        "2025-2-24T14:20:07",
        "+2025-02-24T14:20:07",
        "12025-02-24T14:20:07",
        "２０２５-02-24T14:20:07",  # noqa: RUF001 - digits, but not of ASCII
        "0000-01-01T00:00:00Z",
        "2025-00-24T14:20:07",
        "2025-13-24T14:20:07",
        "2025-04-31T14:20:07",
        "2025-02-29T14:20:07",
        "1900-02-29T14:20:07",
        "2025-02-00T14:20:07",
        "2025-02-24T24:00:00",
        "2025-02-24T14:60:07",
        "2016-12-31T23:59:60Z",
        "2025-02-24T14:20:07+24:00",
        "2025-02-24T14:20:07+01:60",
        "2025-02-24T14:20:07+1:00",
        "2025-02-24T14:20:07+01:",
        "2025-02-24T14:20:07+01:00:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_refuses_what_is_not_in_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid timestamp format"):
        parse_timestamp(text)


@given(MOMENTS)
def test_reads_back_what_isoformat_writes(moment: datetime) -> None:
    assert parse_timestamp(moment.isoformat()) == moment


@given(MOMENTS)
def test_reads_back_what_it_writes(moment: datetime) -> None:
    assert parse_timestamp(format_timestamp(moment)) == moment


@given(MOMENTS, MOMENTS)
def test_texts_sort_as_the_instants_do(one: datetime, other: datetime) -> None:
    assert (format_timestamp(one) < format_timestamp(other)) == (one < other)


def test_a_time_without_a_zone_is_utc() -> None:
    assert format_timestamp(datetime(2026, 11, 22, 13)) == "2026-11-22T13:00:00.000000Z"
    assert microseconds(datetime(1970, 1, 1)) == 0


def test_an_instant_beyond_the_years_is_refused() -> None:
    """In its own zone it is in the year 1, in UTC it would be in the year 0."""
    with pytest.raises(ValueError, match="0001 to 9999"):
        format_timestamp(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))))


def test_microseconds_are_exact_where_a_float_is_not() -> None:
    moment = parse_timestamp("9999-12-31T23:59:59.999999Z")
    assert microseconds(moment) == 253402300799_999999
    assert round(moment.timestamp() * 1e6) != 253402300799_999999


@given(MOMENTS)
def test_microseconds_count_from_the_epoch(moment: datetime) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds(moment)) == moment
