"""Single calls end to end, over what a bare client takes for the same commands; and many calls at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count, islice

import orjson
import redis

from benchmarks.bare import BareCommits
from benchmarks.documents import document, usual
from benchmarks.measure import Line, Report, Samples, Scale, ratio_line, take_turns
from benchmarks.timing import microseconds, per_second
from circman_redis import AsyncStateManager, StateManager
from tests.servers import Server

SIZES = ("0.5 kB", "2 kB")
OF_MANY = "2 kB"
BATCH = 100
TASKS = 100


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Adds what calls cost: one by one, a hundred in one go, and by a hundred tasks."""
    for size in SIZES:
        with StateManager(f"calls-{size.replace(' ', '-')}", url=server.url) as twin, server.client() as bare:
            samples = _one_by_one(twin, bare, size, scale)
            report.lines += _lines(samples, size, lane)
    with StateManager("calls-batch", url=server.url) as twin:
        report.lines.append(_in_one_go(twin, lane, scale))
    with asyncio.Runner() as runner:
        report.lines += _by_tasks(runner, server, lane, scale)


def _one_by_one(twin: StateManager, bare: redis.Redis, size: str, scale: Scale) -> Samples:
    """Ours and the bare client speak with the same twin: the same script, keys and bytes, each call its own patch."""
    state, key, calls = document(size), twin.keys.state, scale.calls
    twin.set_state(state)
    commits, patches = BareCommits(bare, twin), map(usual(state), count())
    variants = {
        "update_state": lambda: microseconds(twin.update_state, islice(patches, calls)),
        "bare EVALSHA": lambda: microseconds(commits.send, map(commits.arguments, islice(patches, calls))),
        "get_current_state": lambda: microseconds(lambda _: twin.get_current_state(), range(calls)),
        "bare GET": lambda: microseconds(lambda _: orjson.loads(bare.get(key)), range(calls)),
    }
    return take_turns(variants, scale.rounds)


def _lines(samples: Samples, size: str, lane: str) -> Iterator[Line]:
    for ours, bare, words in (
        ("update_state", "bare EVALSHA", "end to end over a bare redis-py EVALSHA of the same script and arguments"),
        ("get_current_state", "bare GET", "over a bare GET and orjson.loads"),
    ):
        yield ratio_line(f"{ours} {words}, {size}", lane, samples, (ours, bare), "us", target=1.15)


def _in_one_go(twin: StateManager, lane: str, scale: Scale) -> Line:
    state = document(OF_MANY)
    twin.set_state(state)
    patches = map(usual(state), count())
    names = (f"update_many of {BATCH}", "update_state")

    def many() -> float:
        batches = [list(islice(patches, BATCH)) for _ in range(max(scale.calls // BATCH, 1))]
        return per_second(twin.update_many, batches) * BATCH

    def single() -> float:
        return per_second(twin.update_state, islice(patches, scale.calls))

    samples = take_turns(dict(zip(names, (many, single), strict=True)), scale.rounds)
    what = f"throughput of update_many of {BATCH}, per update, over single calls, one process, {OF_MANY}"
    return ratio_line(what, lane, samples, names, "updates/s", target=10, at_least=True)


def _by_tasks(runner: asyncio.Runner, server: Server, lane: str, scale: Scale) -> Iterator[Line]:
    state = document(OF_MANY)
    patches = map(usual(state), count())
    steady, in_step, single = f"{TASKS} tasks", f"{TASKS} tasks in step", "one at a time"

    async def opened() -> AsyncStateManager:
        twin = AsyncStateManager("calls-tasks", url=server.url)
        await twin.set_state(state)
        return twin

    async def each(tasks: int) -> float:
        """Every task makes its next commit when its last one is made."""
        shared = islice(patches, max(scale.calls, 10 * tasks))

        async def work() -> int:
            made = 0
            for patch in shared:
                await twin.update_state(patch)
                made += 1
            return made

        begun = time.perf_counter()
        made = await asyncio.gather(*(work() for _ in range(tasks)))
        return sum(made) / (time.perf_counter() - begun)

    async def together() -> float:
        """All commits are waited for before the next are begun."""
        groups = [list(islice(patches, TASKS)) for _ in range(max(scale.calls // TASKS, 1))]
        begun = time.perf_counter()
        for group in groups:
            await asyncio.gather(*map(twin.update_state, group))
        return TASKS * len(groups) / (time.perf_counter() - begun)

    twin = runner.run(opened())
    variants = {
        steady: lambda: runner.run(each(TASKS)),
        in_step: lambda: runner.run(together()),
        single: lambda: runner.run(each(1)),
    }
    samples = take_turns(variants, scale.rounds)
    runner.run(twin.close())
    what = f"async throughput of update_state, {TASKS} tasks in one process, {{}}over one at a time, {OF_MANY}"
    yield ratio_line(what.format(""), lane, samples, (steady, single), "updates/s", target=4, at_least=True)
    yield ratio_line(
        what.format("all waited for before the next hundred, "), lane, samples, (in_step, single), "updates/s"
    )
