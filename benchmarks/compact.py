"""What a compact history costs beside a full one: its memory, a commit, a look-up, pages, the whole past.

On the bundled server, and on redis-server where there is one. States of 0.5, 2 and 10 kB; each commit changes three
numbers and the timestamp. Prints the bytes of the history over those of the states in it (MEMORY USAGE), and the
microseconds that the server spends on one call (INFO commandstats), the two forms taking turns.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.measure import take_turns
from circman_redis import StateManager
from tests.servers import Server, lanes, version_of

SIZES = (500, 2_000, 10_000)
FORMS = ("full", "compact")
ENTRIES, ROUNDS, CALLS = 1_000, 9, 100


def document(size: int) -> dict[str, Any]:
    """A state of about so many bytes."""
    materials: dict[str, Any] = {}
    state = {"line": {"temperature": 22.5, "efficiency": 0.91}, "air": {"humidity": 40}, "materials": materials}
    while len(json.dumps(state, separators=(",", ":"))) < size - 44:  # the stamp
        materials[f"material {len(materials)}"] = {"inventory": 1000 + len(materials), "unit": "kg"}
    return state


def patch(n: int) -> dict[str, Any]:
    """Three numbers at two places."""
    return {"line": {"temperature": 20 + n % 997 / 8, "efficiency": n % 89 / 100}, "air": {"humidity": n % 97}}


def filled(url: str, form: str, size: int) -> StateManager:
    """A twin with its history full."""
    twin = StateManager(f"{form}-{size}", url=url, history=form, history_length=ENTRIES)
    twin.set_state(document(size))
    for first in range(0, ENTRIES + 200, 200):
        twin.update_many([patch(n) for n in range(first, first + 200)])
    return twin


def memory(twin: StateManager) -> float:
    """Bytes of the history over the bytes of the states in it."""
    states = sum(len(json.dumps(state, separators=(",", ":"))) for state in twin.get_history())
    return float(twin.client.memory_usage(twin.keys.history, samples=0)) / states


def on_server(twin: StateManager, call: Callable[[StateManager, int], object], times: int) -> Callable[[], float]:
    """Measures what the server spends on one call, whichever script or command it is."""

    def measure() -> float:
        twin.client.config_resetstat()
        for n in range(times):
            call(twin, n)
        stats = twin.client.info("commandstats")
        found = stats.get("cmdstat_evalsha") or stats.get("cmdstat_evalsha_ro") or stats["cmdstat_lrange"]
        return float(found["usec_per_call"])

    return measure


def calls(newest: int) -> dict[str, tuple[Callable[[StateManager, int], object], int]]:
    """What is measured, and how often; versions below ``newest``."""
    return {
        "the newest state": (lambda twin, _: twin.snapshot(), CALLS),
        "a state of the past": (lambda twin, n: twin.get_state_at_version(newest - 1 - 9 * n), CALLS),
        "10 commits": (lambda twin, n: twin.get_commits(10, before=newest - 9 * n), CALLS),
        "100 commits": (lambda twin, n: twin.get_commits(100, before=newest - 9 * n), CALLS),
        "all past states": (lambda twin, _: twin.get_history(), 5),
        "commit": (lambda twin, n: twin.update_state(patch(n)), CALLS),  # last: it moves the others
    }


def run(server: Server, size: int) -> None:
    """Both forms take turns."""
    twins = {form: filled(server.url, form, size) for form in FORMS}
    ratios = {form: memory(twin) for form, twin in twins.items()}
    print(
        f"  {size:6,} bytes: memory over the states' bytes: full {ratios['full']:.2f}, compact {ratios['compact']:.2f}"
    )
    newest = twins["full"].snapshot().version
    for what, (call, times) in calls(newest).items():
        samples = take_turns({form: on_server(twin, call, times) for form, twin in twins.items()}, ROUNDS)
        full, compact = (statistics.median(samples[form]) for form in FORMS)
        ratio = statistics.median(b / a for a, b in zip(samples["full"], samples["compact"], strict=True))
        print(f"    {what:20} full {full:9.1f} us   compact {compact:9.1f} us   {ratio:5.2f}x")
    for twin in twins.values():
        twin.close()


def main() -> None:
    """Every server at hand."""
    for lane, binary in lanes().items():
        print(f"{lane} {version_of(binary)}")
        server = Server(binary)
        try:
            server.start()
            for size in SIZES:
                run(server, size)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
