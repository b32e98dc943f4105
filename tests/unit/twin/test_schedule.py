"""When rounds are due: pure."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.twin.synchronization import next_round, ticks


def test_a_day_at_20_hz_does_not_drift() -> None:
    """Each round takes some time, and is woken up a little late: it begins when it is due all the same, each once."""
    interval, late, work = 1 / 20, 0.0011, 0.037
    clock, number, count = 0.0, -1, 24 * 60 * 60 * 20
    for expected in range(count):
        number = next_round(number, clock, interval)
        assert number == expected
        clock = max(clock, number * interval) + late + work
    assert clock == pytest.approx((count - 1) * interval + late + work)


def test_missed_rounds_are_skipped() -> None:
    """After one that took two and a half intervals: the one that is due then, and none of those before."""
    assert next_round(4, 6.5, 1.0) == 6
    assert next_round(6, 6.6, 1.0) == 7
    assert next_round(6, 7.0, 1.0) == 7


@given(
    st.floats(1e-6, 1e6),
    st.lists(st.floats(0, 1e4), min_size=1, max_size=50),
)
def test_rounds_rise_and_begin_on_time_or_late_by_less_than_one(interval: float, work: list[float]) -> None:
    """However long each takes."""
    clock, number = 0.0, -1
    for seconds in work:
        before, number = number, next_round(number, clock, interval)
        assert number > before
        assert number * interval > clock - interval - 1e-6 * (1 + clock)
        clock = max(clock, number * interval) + seconds


@pytest.mark.parametrize("interval", [5e-324, 1e-6, 1e6])
def test_intervals_of_any_length(interval: float) -> None:
    """The first round is due at once."""
    stop = threading.Event()
    rounds = ticks(interval, stop)
    first = next(rounds)
    assert first * interval < 1
    stop.set()
    assert list(rounds) == []


def test_a_long_wait_ends_when_told() -> None:
    stop = threading.Event()
    rounds = ticks(1e6, stop)
    assert next(rounds) == 0
    threading.Timer(0.05, stop.set).start()
    assert list(rounds) == []
