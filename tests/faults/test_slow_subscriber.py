"""A subscriber that reads nothing while others commit: the server cuts it off, and it catches up."""

from __future__ import annotations

from pathlib import Path

import pytest

from circman_redis import StateManager
from tests.faults.following import Follower, Writers
from tests.servers import Server, lanes, wait_until

LIMIT = 512 * 1024
MESSAGE = 4096
CALLS, COMMITS = 30, 10


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_subscriber_that_reads_nothing(lane: str, twin_id: str, tmp_path: Path, mode: str) -> None:
    """What waits for it in the server stays within its limit; nobody else notices; it misses nothing."""
    server = Server(lanes()[lane], ("--client-output-buffer-limit", "pubsub", str(LIMIT), "0", "0")).start()
    try:
        with (
            server.client() as client,
            StateManager(twin_id, url=server.url, history_length=10_000) as twin,
            Follower(mode, server.url, twin_id) as slow,
            Follower("sync" if mode == "async" else "async", server.url, twin_id) as other,
            Writers(server, twin_id, tmp_path, commits=COMMITS, size=MESSAGE) as writers,
        ):
            wait_until(lambda: len(client.client_list(_type="pubsub")) == 2)
            connection = min(int(one["id"]) for one in client.client_list(_type="pubsub"))  # the first that came
            slow.stop_reading()
            writers.begin(CALLS)
            most = 0
            last = 1 + Writers.COUNT * CALLS * COMMITS
            while twin.snapshot().version < last - 1:
                waiting = [int(one["omem"]) for one in client.client_list(_type="pubsub")]
                most = max([most, *waiting])
            writers.finish()
            newest = twin.snapshot().version
            assert newest * MESSAGE > 8 * LIMIT, "more than it could have held back"
            # One script may publish ten messages before the server looks at the limit.
            assert most < LIMIT + 2 * COMMITS * MESSAGE
            assert connection not in [int(one["id"]) for one in client.client_list(_type="pubsub")], "it was cut off"
            wait_until(lambda: other.versions and other.versions[-1] == newest)
            slow.go_on()
            wait_until(lambda: slow.versions and slow.versions[-1] == newest)
            for one in (slow, other):
                assert one.versions == list(range(one.versions[0], newest + 1))
                assert {event.kind for event in one.events} == {"commit"}
    finally:
        server.stop()
