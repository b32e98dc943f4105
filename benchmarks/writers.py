"""Processes that update one twin at the same time: with us, and with redis-py's WATCH / MULTI / EXEC."""

from __future__ import annotations

import statistics
import time
from functools import partial

import orjson
import redis

from benchmarks.crew import Ready, together
from benchmarks.documents import JSONObject, document, usual
from benchmarks.measure import Point, Report, Scale, ratio_line, take_turns
from benchmarks.rivals import Rival
from benchmarks.rivals.ours import Ours
from benchmarks.rivals.watch import WatchMultiExec
from tests.servers import Server

SIZE = "2 kB"
PROCESSES = (1, 2, 4, 8, 16)
OF_THE_TABLE = 8
OURS, WATCH = "circman_redis", WatchMultiExec.name

Done = tuple[int, float]
"""How many updates a process made, and in how many seconds."""


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Adds the updates per second, by the number of processes."""
    for processes in PROCESSES:
        of_the_table = processes == OF_THE_TABLE
        variants = {name: partial(turn, server, processes, scale.seconds / 5) for name, turn in TURNS.items()}
        samples = take_turns(variants, scale.rounds if of_the_table else max(scale.rounds // 3, 1))
        for name, found in samples.items():
            report.points.append(Point("writers", name, lane, processes, statistics.median(found)))
        if of_the_table:
            what = f"{processes} processes on one twin, throughput over {WATCH}, {SIZE}"
            note = "no update lost: each process's count of its own is in the state, and the versions are their sum"
            line = ratio_line(what, lane, samples, (OURS, WATCH), "updates/s", target=6, at_least=True, note=note)
            report.lines.append(line)


def _ours(server: Server, processes: int, seconds: float) -> float:
    rival = Ours(server.url, "writers")
    rival.open()
    with rival.manager as twin:
        twin.delete()
        rival.put(document(SIZE))
        done = together(_our_worker, [(server.url, process, seconds) for process in range(processes)])
        snapshot, disagreements = twin.snapshot(), twin.verify()
    if disagreements:
        raise AssertionError(f"{OURS}: {disagreements}")
    return _throughput(OURS, done, snapshot.state, snapshot.version - 1)


def _our_worker(ready: Ready, url: str, process: int, seconds: float) -> Done:
    rival = Ours(url, "writers")
    rival.open()
    return _work(ready, rival, process, seconds)


def _watch(server: Server, processes: int, seconds: float) -> float:
    with server.client() as client:
        client.delete("watch:state", "watch:history", "watch:meta")
        WatchMultiExec(client).put(document(SIZE))
        done = together(_watch_worker, [(server.url, process, seconds) for process in range(processes)])
        state, commits = orjson.loads(client.get("watch:state")), int(client.hget("watch:meta", "version"))
    return _throughput(WATCH, done, state, commits)


def _watch_worker(ready: Ready, url: str, process: int, seconds: float) -> Done:
    return _work(ready, WatchMultiExec(redis.Redis.from_url(url)), process, seconds)


TURNS = {OURS: _ours, WATCH: _watch}


def _work(ready: Ready, rival: Rival, process: int, seconds: float) -> Done:
    """Updates for so many seconds, and keeps count of it in the state."""
    patch = usual(document(SIZE))
    ready()
    done, begun = 0, time.monotonic()
    while (worked := time.monotonic() - begun) < seconds:
        done += 1
        # Without its timestamp: those of several processes would not rise.
        updates = {name: value for name, value in patch(done).items() if name != "timestamp"}
        rival.apply(updates | {"updates": {_name(process): done}})
    return done, worked


def _name(process: int) -> str:
    return f"process {process}"


def _throughput(name: str, found: list[Done], state: JSONObject, commits: int) -> float:
    """Updates per second of all processes together.

    Raises:
        AssertionError: an update was lost.
    """
    made = {_name(process): done for process, (done, _) in enumerate(found) if done}
    if state["updates"] != made or commits != sum(made.values()):
        raise AssertionError(f"{name}: an update was lost: made {made}, found {state['updates']} in {commits} commits")
    return commits / max(worked for _, worked in found)
