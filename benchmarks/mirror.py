"""Reads from a mirror, over the seed's way: a deep copy of the state, made under a lock."""

from __future__ import annotations

import copy
from collections.abc import Callable

from benchmarks.documents import document
from benchmarks.measure import Report, Scale, ratio_line, take_turns
from benchmarks.rivals.seed import InProcess
from benchmarks.timing import microseconds
from circman_redis import Mirror, StateManager
from tests.servers import Server

SIZE = "2 kB"
PLACE = "/production_line/temperature"
LINES = (
    ("mirror read of one value", ("mirror, one value", "seed, one value"), 0.05),
    ("mirror read of the whole state", ("mirror, whole state", "seed, whole state"), 0.3),
    ("copy.deepcopy of a mirror's state, for who wants to change it", ("mirror, a copy", "seed, whole state"), None),
)
"""What is measured, over what, and the target."""


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Adds what it takes to read one value, the whole state, and a copy of it."""
    seed = InProcess()
    seed.open()
    seed.put(document(SIZE))
    with StateManager("mirror", url=server.url) as twin:
        twin.set_state(document(SIZE))
        with twin.mirror() as mirror:
            reads = _reads(mirror, seed)
            variants = {name: lambda r=read: microseconds(lambda _: r(), range(scale.calls)) for name, read in reads}
            samples = take_turns(variants, scale.rounds)
    for what, over, target in LINES:
        report.lines.append(
            ratio_line(f"{what} over the seed's deepcopy, {SIZE}", lane, samples, over, "us", target=target)
        )


def _reads(mirror: Mirror, seed: InProcess) -> list[tuple[str, Callable[[], object]]]:
    return [
        ("mirror, one value", lambda: mirror.get(PLACE)),
        ("seed, one value", lambda: seed.get_current_state()["production_line"]["temperature"]),
        ("mirror, whole state", lambda: mirror.state),
        ("seed, whole state", seed.get_current_state),
        ("mirror, a copy", lambda: copy.deepcopy(mirror.state)),
    ]
