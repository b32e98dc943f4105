"""Look-up by time against brute force: the newest version whose own timestamp is not after the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from circman_redis.timestamps import format_timestamp
from tests.lua.support import RawTwin
from tests.property.texts import on_servers

START = datetime(2026, 1, 1, tzinfo=UTC)
# Few instants, so that equal ones and steps back in time are common; some states name no time.
instants = st.integers(0, 9) | st.integers(-5, 40)


def text_of(second: int) -> str:
    return format_timestamp(START + timedelta(seconds=second))


def body_of(second: int | None) -> str:
    return "{}" if second is None else f'{{"timestamp":"{text_of(second)}"}}'


def assert_lookups(twin: RawTwin, times: dict[int, int], cap: int, cleared: int, asked: list[int]) -> None:
    """Every look-up by time and by version is what a search through all that is retained would find."""
    head = max(times)
    oldest = max(head - cap, cleared, 1)
    for second in asked:
        fitting = [version for version, own in times.items() if own <= second]
        wanted = max(fitting, default=None)
        found = twin.lookup("time", text_of(second))
        assert (found and found["version"]) == (wanted if wanted and wanted >= oldest else None)
    for version in (oldest - 1, oldest, head - 1, head, head + 1):
        found = twin.lookup("version", max(version, 0))
        assert (found and found["version"]) == (version if oldest <= version <= head else None)


@on_servers(
    120,
    batches=st.lists(st.lists(instants, min_size=1, max_size=30), min_size=1, max_size=6),
    cap=st.integers(1, 12) | st.just(1000),
    clear_after=st.integers(0, 8),
)
def test_a_look_up_by_time_is_the_search_through_all(
    raw: RawTwin, batches: list[list[int]], cap: int, clear_after: int
) -> None:
    """Out of order and with equal timestamps, singly and in batches, with a short history, and after a clear."""
    twin = RawTwin(raw.client)
    twin.meta(history_length=cap)
    times: dict[int, int] = {}
    cleared = 0
    for n, batch in enumerate(batches):
        twin.commit(*map(body_of, batch), op="set")
        for second in batch:
            times[len(times) + 1] = second
        if n + 1 == clear_after:
            twin.call("clear", "")
            cleared = len(times)
        assert_lookups(twin, times, cap, cleared, [-6, 0, 5, 9, 41, *batch])


@on_servers(40, batches=st.lists(st.integers(1, 200), min_size=1, max_size=8), cap=st.integers(1, 100))
def test_what_is_remembered_of_times_is_bounded_by_the_history(raw: RawTwin, batches: list[int], cap: int) -> None:
    """However large the batches are: what left the history leaves the times too, at most 64 versions later."""
    twin = RawTwin(raw.client)
    twin.meta(history_length=cap)
    second = 0
    for size in batches:
        twin.commit(*[body_of(second := second + 1) for _ in range(size)], op="set")
        assert twin.client.zcard(twin.keys.times) <= cap + 1 + 64
