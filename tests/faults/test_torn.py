"""Row: server killed -9. An append-only file that ends in the middle of a commit, and goes on after that.

A redis-server 7.0 keeps such a torn transaction in its file, and carries it out with the next one when it loads the
file once more; Valkey cuts it off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from circman_redis import StateManager
from tests.servers import Server, lanes

KEPT = 4
COMMAND = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n")
Calls = dict[str, Callable[[StateManager], object]]
CALLS: Calls = {
    "a merge": lambda twin: twin.update_state({"n": 100, "pad": "x" * 3000}, commit_id="torn"),
    "three merges": lambda twin: twin.update_many([{"n": n, "pad": "x" * 3000} for n in range(3)], commit_id="torn"),
    "more than are kept": lambda twin: twin.update_many([{"n": n} for n in range(KEPT + 2)], commit_id="torn"),
    "a set": lambda twin: twin.set_state({"n": 100}, commit_id="torn"),
}
NEXT: Calls = {
    "three merges": CALLS["three merges"],
    "another": lambda twin: twin.update_many([{"m": n} for n in range(KEPT + 2)]),
}


@pytest.fixture
def lasting(lane: str) -> Iterator[Server]:
    one = Server(lanes()[lane], ("--appendonly", "yes", "--appendfsync", "always"))
    try:
        yield one.start()
    finally:
        one.stop()


def file_of(server: Server) -> Path:
    return max(server.folder.rglob("*.incr.aof"))


def torn_places(transaction: bytes) -> list[int]:
    """Within and between commands up to the LPUSH: in the few bytes behind it, all of it would stay."""
    commands = [(found.start(), found[1]) for found in COMMAND.finditer(transaction)]
    starts = [start for start, _ in commands[1 : [name for _, name in commands].index(b"LPUSH") + 1]]
    return [place for start in starts for place in (start, start + 9)]


@pytest.mark.parametrize("next_call", NEXT)
@pytest.mark.parametrize("call", CALLS)
def test_a_commit_that_the_file_has_half_of(lasting: Server, twin_id: str, call: str, next_call: str) -> None:
    """It was never made, whatever comes after it, and after how many restarts."""
    with StateManager(twin_id, url=lasting.url, history_length=KEPT) as twin:
        twin.update_many([{"n": -n} for n in range(KEPT + 3)])
        whole, before = file_of(lasting).read_bytes(), twin.snapshot()
        CALLS[call](twin)
        transaction = file_of(lasting).read_bytes()[len(whole) :]
    for place in torn_places(transaction):
        lasting.kill()
        file_of(lasting).write_bytes(whole + transaction[:place])
        lasting.start()
        with StateManager(twin_id, url=lasting.url) as twin:
            assert twin.snapshot() == before
            NEXT[next_call](twin)
            after, history = twin.snapshot(), twin.get_history()
        lasting.kill()
        lasting.start()
        with StateManager(twin_id, url=lasting.url) as twin:
            assert (twin.snapshot(), twin.get_history()) == (after, history)
            assert after.timestamp is not None
            assert twin.get_state_at_time(after.timestamp) == after.state
            assert twin.update_many([{"n": n} for n in range(KEPT + 2)])[0].version == after.version + 1
            assert twin.verify() == []
