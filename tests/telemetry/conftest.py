"""The real SDK, which keeps in memory what it was told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from circman_redis import telemetry

ALLOWED = {"circman.op", "circman.call", "error.type"}
"""What a metric may have as attributes: each of few values."""


class Told:
    """What was recorded since `telemetry.instrument`."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader])
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that ended, in that order."""
        return list(self._exporter.get_finished_spans())

    @property
    def metrics(self) -> dict[str, Any]:
        """By name, as the SDK has them."""
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else []
        scopes = [scope for resource in resources for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        return list(self.metrics[name].data.data_points) if name in self.metrics else []

    def total(self, name: str, **attributes: str) -> float:
        """A counter's value, or how many values a histogram has; of the points that have these attributes."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        found = [point for point in self.points(name) if wanted.items() <= dict(point.attributes).items()]
        return sum(point.value if hasattr(point, "value") else point.count for point in found)

    def close(self) -> None:
        self.meters.shutdown()
        self.traces.shutdown()


@pytest.fixture
def told(twin_id: str) -> Iterator[Told]:
    """Instrumented, until the test is over; whatever it did, no metric knows of a twin."""
    one = Told()
    telemetry.instrument(one.traces, one.meters)
    try:
        yield one
        for name in one.metrics:
            for point in one.points(name):
                assert set(point.attributes) <= ALLOWED, name
                assert not [value for value in point.attributes.values() if twin_id in str(value)], name
    finally:
        telemetry.uninstrument()
        one.close()
