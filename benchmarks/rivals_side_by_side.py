"""One patch, end to end, as a Python program sees it: every rival, at every document size."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from benchmarks.documents import SIZES, JSONObject, document, size_of, usual
from benchmarks.measure import Line, Point, Report, Samples, Scale, ratio_line, take_turns
from benchmarks.rivals import NotInstalledError, Rival
from benchmarks.rivals.cjson import CjsonMerge
from benchmarks.rivals.floor import Floor, RoundTrip
from benchmarks.rivals.load import Load
from benchmarks.rivals.nats_kv import NatsKeyValue
from benchmarks.rivals.ours import Ours
from benchmarks.rivals.postgres import Postgres
from benchmarks.rivals.seed import InProcess
from benchmarks.rivals.watch import WatchMultiExec
from tests.servers import Server

CHART = "document size, end to end"
OF_THE_TABLE = "2 kB"

PART_OF_CALLS = {"0.5 kB": 2, "2 kB": 2, "10 kB": 4, "100 kB": 15, "1 MB": 100}
"""Of the scale's calls: the slowest of them takes seconds at the largest document."""


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Times them in turns. NATS and PostgreSQL run beside the lane's server, and idle while another has its turn."""
    ours = Ours(server.url)
    others: list[Rival] = [
        InProcess(),
        WatchMultiExec(server.client()),
        CjsonMerge(server.client()),
        NatsKeyValue(),
        Postgres(),
        Floor(server.url, server.client()),
        RoundTrip(server.client()),
    ]
    with ExitStack() as stack:
        reasons = {rival.name: _open(stack, rival) for rival in (ours, *others)}
        there = [rival for rival in (ours, *others) if reasons[rival.name] is None]
        for size in SIZES:
            calls = max(scale.calls // PART_OF_CALLS[size], 3)
            samples = _samples(there, document(size), scale.rounds, calls)
            report.points += _points(lane, document(size), samples)
            if size == OF_THE_TABLE:
                report.lines += [_line(lane, ours, other, samples, reasons[other.name]) for other in others]


def _open(stack: ExitStack, rival: Rival) -> str | None:
    """Opens it; the reason where it is not installed."""
    stack.callback(rival.close)
    try:
        rival.open()
    except NotInstalledError as missing:
        return f"not installed: {missing}"
    return None


def _samples(rivals: Sequence[Rival], state: JSONObject, rounds: int, calls: int) -> Samples:
    loads = {rival.name: Load(rival, usual(state)) for rival in rivals}
    for load in loads.values():
        load.rival.put(state)
        load.run(calls)
    return take_turns({name: partial(load.run, calls) for name, load in loads.items()}, rounds)


def _points(lane: str, state: JSONObject, samples: Samples) -> list[Point]:
    return [Point(CHART, name, lane, size_of(state), statistics.median(found)) for name, found in samples.items()]


def _line(lane: str, ours: Rival, other: Rival, samples: Samples, reason: str | None) -> Line:
    what = f"update_state end to end over {other.name}, {OF_THE_TABLE}"
    if reason is not None:
        return Line(what, lane, None, note=reason)
    return ratio_line(what, lane, samples, (ours.name, other.name), "us")
