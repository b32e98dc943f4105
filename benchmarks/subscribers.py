"""What subscribers cost those who commit: commits per second by the number of subscribers on the twin."""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count, islice
from multiprocessing.connection import Connection

from benchmarks.crew import background
from benchmarks.documents import JSONObject, document, usual
from benchmarks.measure import Point, Report, Samples, Scale, ratio_line, take_turns
from benchmarks.timing import per_second
from circman_redis import StateManager
from circman_redis.keys import TwinKeys
from tests.servers import Server

BARE = {f"{n} subscribers": n for n in (0, 1, 10, 100, 500)}
OURS = {f"{n} of our subscriptions": n for n in (1, 10, 50)}
NONE, MOST, MOST_OF_OURS = next(iter(BARE)), list(BARE)[-1], list(OURS)[-1]
PROCESSES = 4
SIZE = "2 kB"
BUFFER = 65_536
PAUSE = 0.3
"""Seconds before each turn, in which the subscribers of the turn before have read what is left."""


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Adds the commits per second of one process, by the number of subscribers: bare connections, and ours."""
    with ExitStack() as stack:
        twins = {name: stack.enter_context(StateManager(_twin(name), url=server.url)) for name in [*BARE, *OURS]}
        state = document(SIZE)
        for twin in twins.values():
            twin.set_state(state)
        bare = [(str(server.socket), _share(BARE, process)) for process in range(PROCESSES)]
        ours = [(server.url, _share(OURS, process)) for process in range(PROCESSES)]
        stack.enter_context(background(_read_and_drop, bare))
        stack.enter_context(background(_follow, ours))
        patches = map(usual(state), count())
        variants = {name: partial(_rate, twin, patches, scale.calls) for name, twin in twins.items()}
        samples = take_turns(variants, scale.rounds)
    report.lines += [
        ratio_line(
            f"commits per second with {most} on a twin, over none, one process commits, {SIZE}",
            lane,
            samples,
            (most, NONE),
            "commits/s",
            note=f"they read in {PROCESSES} processes on the same machine",
        )
        for most in (MOST, MOST_OF_OURS)
    ]
    report.points += [*_points(samples, BARE, "bare connections", lane), *_points(samples, OURS, "ours", lane)]


def _rate(twin: StateManager, patches: Iterator[JSONObject], calls: int) -> float:
    time.sleep(PAUSE)
    return per_second(twin.update_state, islice(patches, calls))


def _points(samples: Samples, names: dict[str, int], series: str, lane: str) -> list[Point]:
    return [Point("subscribers", series, lane, n, statistics.median(samples[name])) for name, n in names.items()]


def _twin(name: str) -> str:
    return name.replace(" ", "-")


def _share(names: dict[str, int], process: int) -> list[str]:
    """The twins that one of the processes subscribes to, each as often as it does."""
    return [_twin(name) for name, n in names.items() for _ in range(process, n, PROCESSES)]


# --- who subscribes, in processes of their own -----------------------------------------------------------------


def _read_and_drop(pipe: Connection, path: str, twins: list[str]) -> None:
    """The cheapest subscriber that there can be, once for each of the twins."""
    selector = selectors.DefaultSelector()
    for twin in twins:
        subscriber = socket.socket(socket.AF_UNIX)
        subscriber.connect(path)
        subscriber.sendall(f"SUBSCRIBE {TwinKeys(twin).events}\r\n".encode())
        subscriber.recv(BUFFER)  # that it is subscribed
        selector.register(subscriber, selectors.EVENT_READ)
    pipe.send("subscribed")
    while True:
        for key, _ in selector.select():
            key.fileobj.recv(BUFFER)


def _follow(pipe: Connection, url: str, twins: list[str]) -> None:
    for twin in twins:
        StateManager(twin, url=url).on_change(lambda _: None)
    pipe.send("subscribed")
    pipe.recv()  # until the process is ended
