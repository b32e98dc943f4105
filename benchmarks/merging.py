"""What one commit costs the server: beside a cjson merge, the floor, a large model; and by the patch's shape."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import redis
from pydantic import BaseModel, create_model

from benchmarks.documents import (
    SHAPE_CALLS,
    SHAPES,
    SIZES,
    JSONObject,
    Patch,
    document,
    shapes_document,
    size_of,
    usual,
)
from benchmarks.measure import Line, Point, Report, Samples, Scale, ratio_line, take_turns
from benchmarks.rivals import HISTORY, Rival
from benchmarks.rivals.cjson import CjsonMerge
from benchmarks.rivals.floor import Floor
from benchmarks.rivals.load import Load
from benchmarks.rivals.ours import NAME, Ours
from circman_redis.rules import compile_model
from tests.servers import Server

CHART = "document size"
RULES_AT = "2 kB"

OVER_CJSON = {"0.5 kB": 1.0, "2 kB": 0.6, "10 kB": 0.3, "100 kB": 0.2}
OVER_FLOOR = {"0.5 kB": 3.5, "2 kB": 4.0, "10 kB": 4.0}
OVER_TEN_RULES = 1.1

PART_OF_CALLS = {"100 kB": 5, "1 MB": 60}
"""Of the scale's calls, at what is slow."""


class _Line(BaseModel):
    temperature: float


class _Air(BaseModel):
    temperature: float


class _Material(BaseModel):
    inventory: int


class TenRules(BaseModel):
    """Has a rule for each place that the usual patch touches, and for little else."""

    timestamp: datetime
    system_status: str
    production_line: _Line
    environment: _Air
    materials: dict[str, _Material]


def many_rules(count: int) -> type[BaseModel]:
    """TenRules, and more members until there are so many rules."""
    more = count - len(compile_model(TenRules).rules)
    members = {f"sensor_{n}": (float, 0.0) for n in range(more)}
    model: type[BaseModel] = create_model("ManyRules", __base__=TenRules, **members)  # type: ignore[call-overload]
    assert len(compile_model(model).rules) == count
    return model


@dataclass(frozen=True)
class Bench:
    """Where it is measured, and how much.

    Attributes:
        server: the server.
        client: of it.
        lane: its name.
        scale: how often.
    """

    server: Server
    client: redis.Redis
    lane: str
    scale: Scale


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Measures what the server spends on one call of the script, by the server's own account."""
    with server.client() as client:
        bench = Bench(server, client, lane, scale)
        for size in SIZES:
            samples = by_size(bench, size)
            report.lines += size_lines(lane, size, samples)
            report.points += size_points(lane, size, samples)
            client.flushall()
        report.lines.append(rules_line(bench))
        report.lines += [shape_line(bench, shape) for shape in SHAPES]


def by_size(bench: Bench, size: str) -> Samples:
    """Ours, the cjson merge and the floor on a document of one size."""
    url, connect = bench.server.url, bench.server.client
    rivals: list[Rival] = [Ours(url), CjsonMerge(connect()), Floor(url, connect())]
    return _on_full_histories(bench, rivals, document(size), max(bench.scale.calls // PART_OF_CALLS.get(size, 1), 3))


def size_lines(lane: str, size: str, samples: Samples) -> Iterator[Line]:
    """Ours over the others."""
    for below, targets in ((CjsonMerge.name, OVER_CJSON), (Floor.name, OVER_FLOOR)):
        what = f"server time of a commit over {below}, {size}"
        yield ratio_line(what, lane, samples, (NAME, below), "us", target=targets.get(size))


def size_points(lane: str, size: str, samples: Samples) -> Iterator[Point]:
    """One for each series."""
    for name, found in samples.items():
        yield Point(CHART, name, lane, size_of(document(size)), statistics.median(found))


def rules_line(bench: Bench) -> Line:
    """A model with 1,000 rules over one with 10, the same places touched."""
    ten = Ours(bench.server.url, "ten", TenRules, "10 rules")
    thousand = Ours(bench.server.url, "thousand", many_rules(1_000), "1,000 rules")
    samples = _on_full_histories(bench, [ten, thousand], document(RULES_AT), bench.scale.calls)
    what = f"server time of a commit with 1,000 rules in the model over 10, {RULES_AT}"
    return ratio_line(what, bench.lane, samples, (thousand.name, ten.name), "us", target=OVER_TEN_RULES)


def shape_line(bench: Bench, shape: str) -> Line:
    """One patch shape; each turn on a fresh document, as some patches cannot be made twice."""
    calls = min(bench.scale.calls, SHAPE_CALLS)

    def turn(load: Load) -> float:
        load.rival.put(shapes_document())
        load.done = 0
        return load.run_on_server(calls, bench.client)

    with _opened([Ours(bench.server.url), CjsonMerge(bench.server.client())], SHAPES[shape]) as loads:
        for load in loads:
            turn(load)
        samples = _take_turns(loads, turn, bench.scale.rounds)
    what = f"server time of a commit over {CjsonMerge.name}, 10 kB, patch: {shape}"
    return ratio_line(what, bench.lane, samples, (NAME, CjsonMerge.name), "us")


def _on_full_histories(bench: Bench, rivals: Sequence[Rival], state: JSONObject, calls: int) -> Samples:
    """Server microseconds of the usual patch, once every commit pushes an old state out."""
    with _opened(rivals, usual(state)) as loads:
        for load in loads:
            load.rival.put(state)
            load.run(HISTORY + 1)
        return _take_turns(loads, lambda load: load.run_on_server(calls, bench.client), bench.scale.rounds)


@contextmanager
def _opened(rivals: Sequence[Rival], patch: Patch) -> Iterator[list[Load]]:
    with ExitStack() as stack:
        for rival in rivals:
            stack.callback(rival.close)
            rival.open()
        yield [Load(rival, patch) for rival in rivals]


def _take_turns(loads: Sequence[Load], turn: Callable[[Load], float], rounds: int) -> Samples:
    return take_turns({load.rival.name: partial(turn, load) for load in loads}, rounds)
