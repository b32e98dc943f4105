"""From a commit until its handler runs in another process, over a bare publish and listen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count
from multiprocessing.connection import Connection

import redis

from benchmarks.bare import BareCommits
from benchmarks.crew import background
from benchmarks.documents import JSONObject, document, usual
from benchmarks.measure import Line, Report, Samples, Scale, ratio_line, take_turns
from circman_redis import StateManager
from circman_redis.keys import TwinKeys
from tests.servers import Server

SIZE = "2 kB"
PAUSE = 0.001
"""Seconds before each send, so that it finds everybody idle."""

CALLBACK = "on_change"
LOOP = "for event in subscription"
PUBLISH = "bare publish"
EVALSHA = "bare EVALSHA"
TWINS = {CALLBACK: "events-callback", LOOP: "events-loop", EVALSHA: "events-bare"}
CHANNELS = {PUBLISH: "bare", EVALSHA: TwinKeys(TWINS[EVALSHA]).events}

Handler = Callable[[object], None]
Send = Callable[[], Callable[[], object]]
"""Prepares what is sent next, and returns what sends it."""


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Adds the time from before the call until the handler runs, its median and its 99th percentile."""
    with ExitStack() as stack:
        client = stack.enter_context(server.client())
        twins = {how: stack.enter_context(StateManager(name, url=server.url)) for how, name in TWINS.items()}
        sends = _sends(client, twins)
        arguments = [(how, server.url, scale.calls) for how in sends]
        listeners = dict(zip(sends, stack.enter_context(background(_listener, arguments)), strict=True))
        p50, p99 = _measured(sends, listeners, scale)
    for samples, part in ((p50, "p50"), (p99, "p99")):
        report.lines += _lines(samples, part, lane)


def _lines(samples: Samples, part: str, lane: str) -> list[Line]:
    publishing, committing = "a bare redis-py publish and listen", "a bare EVALSHA of the same commits and listen"
    compared = (
        (CALLBACK, PUBLISH, publishing, 1.5),
        (LOOP, PUBLISH, publishing, 1.5),
        (CALLBACK, EVALSHA, committing, None),
    )
    return [
        ratio_line(
            f"commit to handler ({ours}), {part}, over {words}", lane, samples, (ours, bare), "us", target=target
        )
        for ours, bare, words, target in compared
    ]


def _measured(sends: dict[str, Send], listeners: dict[str, Connection], scale: Scale) -> tuple[Samples, Samples]:
    p99: Samples = {how: [] for how in sends}

    def turn(how: str) -> float:
        delays = _delays(sends[how], listeners[how], scale.calls)
        p99[how].append(statistics.quantiles(delays, n=100, method="inclusive")[-1])
        return statistics.median(delays)

    return take_turns({how: lambda how=how: turn(how) for how in sends}, scale.rounds), p99


def _delays(prepare: Send, listener: Connection, calls: int) -> list[float]:
    """Microseconds from before each send until its handler ran."""
    sent = []
    for _ in range(calls):
        send = prepare()
        time.sleep(PAUSE)
        sent.append(time.monotonic())
        send()
    return [(there - here) * 1e6 for here, there in zip(sent, listener.recv(), strict=True)]


# --- who sends -------------------------------------------------------------------------------------------------


def _sends(client: redis.Redis, twins: dict[str, StateManager]) -> dict[str, Send]:
    state = document(SIZE)
    for twin in twins.values():
        twin.set_state(state)
    patches = map(usual(state), count())
    commits, message = BareCommits(client, twins[EVALSHA]), _message(client, twins[EVALSHA], next(patches))

    def evalsha() -> Callable[[], object]:
        return partial(commits.send, commits.arguments(next(patches)))

    return {
        CALLBACK: lambda: partial(twins[CALLBACK].update_state, next(patches)),
        LOOP: lambda: partial(twins[LOOP].update_state, next(patches)),
        PUBLISH: lambda: partial(client.publish, CHANNELS[PUBLISH], message),
        EVALSHA: evalsha,
    }


def _message(client: redis.Redis, twin: StateManager, updates: JSONObject) -> bytes:
    """What is published for the updates, so that the bare message is as long."""
    with client.pubsub() as pubsub:
        pubsub.subscribe(twin.keys.events)
        messages = pubsub.listen()
        next(messages)
        twin.update_state(updates)
        return next(messages)["data"]


# --- who listens, each in a process of its own -----------------------------------------------------------------


def _listener(pipe: Connection, how: str, url: str, calls: int) -> None:
    """Tells when its handler ran, after every so many calls of it."""
    ran: list[float] = []

    def handler(_: object) -> None:
        ran.append(time.monotonic())
        if len(ran) == calls:
            pipe.send(ran)
            ran.clear()

    if how in CHANNELS:
        _listen(pipe, url, CHANNELS[how], handler)
    else:
        _follow(pipe, url, how, handler)


def _listen(pipe: Connection, url: str, channel: str, handler: Handler) -> None:
    with redis.Redis.from_url(url) as client, client.pubsub() as pubsub:
        pubsub.subscribe(channel)
        messages = pubsub.listen()
        next(messages)  # that it is subscribed
        pipe.send("listening")
        for message in messages:
            handler(message)


def _follow(pipe: Connection, url: str, how: str, handler: Handler) -> None:
    with StateManager(TWINS[how], url=url) as twin:
        if how == CALLBACK:
            twin.on_change(handler)
            pipe.send("listening")
            pipe.recv()  # until the process is ended
        events = twin.subscribe()
        pipe.send("listening")
        for event in events:
            handler(event)
