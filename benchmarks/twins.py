"""Many twins on one server, a commit per second each: how late the commits are, and what the server does meanwhile."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass

import redis

from benchmarks.crew import Ready, together
from benchmarks.documents import document, usual
from benchmarks.measure import Line, Point, Report, Scale
from circman_redis import StateManager
from tests.servers import Server

TWINS = (10, 100, 1_000)
PROCESSES = 4
SIZE = "2 kB"
ALLOWED = 50.0
"""Milliseconds that the 99th percentile of the commits may be late."""

SHORTEST = 5
"""Seconds; less says nothing about a 99th percentile."""


@dataclass(frozen=True)
class Load:
    """What came of a load.

    Attributes:
        late: milliseconds that each commit was late, when it was answered.
        core: the share of a core that the server used, in percent.
    """

    late: list[float]
    core: float

    @property
    def p99(self) -> float:
        """The 99th percentile of the lateness."""
        return statistics.quantiles(self.late, n=100, method="inclusive")[-1]


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Adds the lateness, and the server's share of a core, by the number of twins; the most of them for a minute."""
    for twins in TWINS:
        of_the_table = twins == TWINS[-1]
        seconds = max(SHORTEST, round(scale.seconds * (6 if of_the_table else 1)))
        load = _load(server, twins, seconds)
        report.points.append(Point("twins", "p99 lateness ms", lane, twins, load.p99))
        report.points.append(Point("twins", "server's core %", lane, twins, load.core))
        if of_the_table:
            report.lines.append(_line(twins, seconds, load, lane))


def _line(twins: int, seconds: int, load: Load, lane: str) -> Line:
    each = f"1 commit per second each, for {seconds} s, by {PROCESSES} processes on one server"
    return Line(
        f"{twins:,} twins, {each}: p99 lateness over {ALLOWED:g} ms",
        lane,
        load.p99 / ALLOWED,
        target=1.0,
        figures={
            "p50 lateness ms": statistics.median(load.late),
            "p99 lateness ms": load.p99,
            "worst lateness ms": max(load.late),
            "server's core %": load.core,
        },
        note=f"{len(load.late):,} commits, each late until it was answered; document of {SIZE}",
    )


def _load(server: Server, twins: int, seconds: int) -> Load:
    found = together(_commit_on_time, [(server.url, process, twins, seconds) for process in range(PROCESSES)])
    late = [one for load in found for one in load.late]
    if len(late) != twins * seconds:
        raise AssertionError(f"{len(late)} commits, not {twins * seconds}")
    return Load(late, statistics.median(load.core for load in found))


def _commit_on_time(ready: Ready, url: str, process: int, twins: int, seconds: int) -> Load:
    """One of the processes: each of its twins once a second, all of all processes spread evenly over that second."""
    late, state = [], document(SIZE)
    patch = usual(state)
    with ExitStack() as stack:
        mine = {n: stack.enter_context(StateManager(f"twin-{n}", url=url)) for n in range(process, twins, PROCESSES)}
        for twin in mine.values():
            twin.set_state(state)
        client = stack.enter_context(redis.Redis.from_url(url))
        client.ping()
        ready()
        busy, begun = _seconds_of_cpu(client), time.monotonic()
        for second in range(seconds):
            for n, twin in mine.items():
                due = begun + second + n / twins
                time.sleep(max(0.0, due - time.monotonic()))
                twin.update_state(patch(second))
                late.append((time.monotonic() - due) * 1000)
        core = (_seconds_of_cpu(client) - busy) / (time.monotonic() - begun) * 100
    return Load(late, core)


def _seconds_of_cpu(client: redis.Redis) -> float:
    used = client.info("cpu")
    return used["used_cpu_user"] + used["used_cpu_sys"]
