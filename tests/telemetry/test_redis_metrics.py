"""redis-py's own metrics know of our commands, where the application has switched them on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from circman_redis import redis_metrics
from tests.servers import Server

ROOT = Path(__file__).parents[2]

# In a process of its own: OpenTelemetry's provider, which redis-py goes by, is set once in a process.
BEGIN = """
import asyncio, json, sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.observability import MetricGroup, OTelConfig, get_observability_instance
from circman_redis import AsyncStateManager, StateConflict, StateManager

reader = InMemoryMetricReader()
url = sys.argv[1]
"""

ON = """
metrics.set_meter_provider(MeterProvider([reader]))
groups = [MetricGroup.COMMAND, MetricGroup.RESILIENCY, MetricGroup.PUBSUB, MetricGroup.CONNECTION_BASIC]
get_observability_instance().init(OTelConfig(metric_groups=groups, hide_pubsub_channel_names=True))
"""

THREADS = """
with StateManager("t", url=url) as twin:
    {on}
    twin.set_state({{"n": 1}})
    with twin.subscribe() as events:
        twin.update_many([{{"n": 2}}, {{"n": 3}}])
        assert [next(events).version for _ in range(2)] == [2, 3]
    twin.get_current_state()
    try:
        twin.set_state({{}}, expected_version=9)
    except StateConflict:
        pass
"""

TASKS = """
async def main():
    async with AsyncStateManager("t", url=url) as twin:
        {on}
        await twin.set_state({{"n": 1}})
        async with twin.subscribe() as events:
            await asyncio.gather(*(twin.adjust({{"/n": 1}}) for _ in range(2)))
            assert [(await anext(events)).version for _ in range(2)] == [2, 3]
        await twin.get_current_state()
        try:
            await twin.set_state({{}}, expected_version=9)
        except StateConflict:
            pass

asyncio.run(main())
"""

END = """
data = reader.get_metrics_data()
found = [scope for resource in (data.resource_metrics if data else []) for scope in resource.scope_metrics]
told = {}
for metric in [metric for scope in found for metric in scope.metrics]:
    told[metric.name] = [
        (dict(point.attributes), point.value if hasattr(point, "value") else point.count)
        for point in metric.data.data_points
    ]
print(json.dumps(told))
"""


def run(program: str, on: str, server: Server) -> dict[str, list[Any]]:
    indent = "\n        " if "async def" in program else "\n    "
    text = BEGIN + program.format(on=on.strip().replace("\n", indent) or "pass") + END
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", text, server.url], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, list[Any]] = json.loads(done.stdout)
    return told


def count(points: list[Any], **attributes: str) -> int:
    wanted = {name.replace("__", "."): value for name, value in attributes.items()}
    return sum(number for found, number in points if wanted.items() <= found.items())


@pytest.mark.parametrize("program", [THREADS, TASKS], ids=["threads", "tasks"])
def test_commands_are_in_redis_pys_metrics(server: Server, program: str) -> None:
    """Those of a manager that was opened before, too; and as redis-py names them."""
    told = run(program, ON, server)
    durations = told["db.client.operation.duration"]
    assert count(durations, db__operation__name="GET") == 1
    # One to find out that there is no model yet, then what makes commits and what the subscription reads.
    assert count(durations, db__operation__name="EVALSHA") >= 4
    assert count(durations, db__operation__name="EVALSHA", error__type="ResponseError") >= 1
    assert count(told["redis.client.errors"], error__type="ResponseError") >= 1
    assert count(told["redis.client.pubsub.messages"], redis__client__pubsub__message__direction="receive") == 2
    assert "db.client.connection.count" in told
    assert "{t}" not in json.dumps(told)


@pytest.mark.parametrize("program", [THREADS, TASKS], ids=["threads", "tasks"])
def test_nothing_is_recorded_where_nobody_asked(server: Server, program: str) -> None:
    assert run(program, "", server) == {}


def test_they_are_off_to_begin_with() -> None:
    assert not redis_metrics.are_on()
