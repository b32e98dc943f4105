"""What a look-up by time or by version costs as the history grows: 100 entries, 1,000, 10,000.

On the bundled server, and on redis-server where there is one. Prints the median over rounds of the time that the
server spends on one call (INFO commandstats), of the whole call from Python, and their ratios to 100 entries.
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from circman_redis import StateManager
from tests.servers import Server, lanes, version_of

SIZES = (100, 1_000, 10_000)
ROUNDS, CALLS = 7, 200
START = datetime(2026, 1, 1, tzinfo=UTC)


def fill(twin: StateManager, entries: int) -> None:
    """A commit a second; each state is some 0.5 kB."""
    line = {"status": "running", "temperature": 22.5, "note": "x" * 380}
    updates = [
        {"n": n, "production_line": line, "timestamp": (START + timedelta(seconds=n)).isoformat()}
        for n in range(entries + 1)
    ]
    for first in range(0, len(updates), 500):
        twin.update_many(updates[first : first + 500])


def measure(twin: StateManager, how: str, entries: int) -> tuple[float, float]:
    """Microseconds of the server's, and of the whole, for one look-up."""
    places = [(entries * (2 * i + 1)) // (2 * CALLS) for i in range(CALLS)]
    twin.client.config_resetstat()
    begun = time.perf_counter()
    for place in places:
        if how == "time":
            found = twin.get_state_at_time(START + timedelta(seconds=place, milliseconds=500))
        else:
            found = twin.get_state_at_version(place + 1)
        assert found is not None
        assert found["n"] == place
    whole = (time.perf_counter() - begun) / CALLS * 1e6
    return twin.client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"], whole


def run(server: Server) -> None:
    """All sizes take turns, round by round."""
    twins = {size: StateManager(f"size-{size}", url=server.url, history_length=size) for size in SIZES}
    for size, twin in twins.items():
        fill(twin, size)
    for how in ("time", "version"):
        found = {size: [] for size in SIZES}
        for _ in range(ROUNDS):
            for size, twin in twins.items():
                found[size].append(measure(twin, how, size))
        base = [statistics.median(column) for column in zip(*found[SIZES[0]], strict=True)]
        for size in SIZES:
            on_server, whole = (statistics.median(column) for column in zip(*found[size], strict=True))
            print(
                f"  by {how:8}{size:7,} entries: server {on_server:6.1f} us ({on_server / base[0]:4.2f}x)   "
                f"whole call {whole:6.1f} us ({whole / base[1]:4.2f}x)"
            )
    for twin in twins.values():
        twin.close()


def main() -> None:
    """Every server at hand."""
    for lane, binary in lanes().items():
        print(f"{lane} {version_of(binary)}")
        server = Server(binary)
        try:
            run(server.start())
        finally:
            server.stop()


if __name__ == "__main__":
    main()
