"""OpenTelemetry (extra ``otel``): a span for each commit, and metrics; docs/metrics.md has them all.

::

    from circman_redis import telemetry

    telemetry.instrument()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from circman_redis import observing, protocol
from circman_redis._version import __version__
from circman_redis.errors import StateConflict, UsageError
from circman_redis.events import ForeignWrite, HistoryGap, StateRolledBack

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

NAME = "circman_redis"
"""Of the meter and of the tracer."""

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ENTRIES = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


def instrument(tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
    """Switches spans and metrics on, for all managers of this process, those that are open already included.

    Called again, it goes on with the providers of the last call.

    Args:
        tracer_provider: where spans go; None for the global one.
        meter_provider: where metrics go; None for the global one.

    Raises:
        UsageError: OpenTelemetry is not installed.
    """
    try:
        observing.observer = OpenTelemetry(tracer_provider, meter_provider)
    except ImportError as error:
        raise UsageError(f"OpenTelemetry is needed: pip install 'circman-redis[otel]' ({error})") from error


def uninstrument() -> None:
    """Switches them off again."""
    observing.observer = None


def is_instrumented() -> bool:
    """Whether they are on."""
    return observing.observer is not None


class OpenTelemetry(observing.Observer):
    """The `observing.Observer` that `instrument` makes.

    No metric has an attribute that names a twin: each new value of one is a time series more, kept for as long as the
    process lives. Spans, which are not kept, have it.

    Args:
        tracer_provider: where spans go; None for the global one.
        meter_provider: where metrics go; None for the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None) -> None:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - only those who use it have it

        self._trace = trace
        self._tracer = trace.get_tracer(NAME, __version__, tracer_provider)
        meter = metrics.get_meter(NAME, __version__, meter_provider)
        self._duration = meter.create_histogram(
            "circman.commit.duration",
            "s",
            "How long a call that commits takes, retries included.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        # A gauge of the twin that was looked at last would say nothing without its name. So: how long the histories
        # were that somebody looked at, as a distribution.
        self._history = meter.create_histogram(
            "circman.history.length",
            "{entry}",
            "How many past states a twin had, when a manager opened it or was asked.",
            explicit_bucket_boundaries_advisory=_ENTRIES,
        )

        def counter(name: str, unit: str, description: str) -> Callable[..., None]:
            return meter.create_counter(f"circman.{name}", unit, description).add

        self._commits = counter("commits", "{commit}", "Commits made.")
        self._duplicates = counter(
            "commit.duplicates", "{commit}", "Commits that were asked for again, and had been made before."
        )
        self._conflicts = counter("commit.conflicts", "{conflict}", "Commits refused, as somebody else was faster.")
        self._retries = counter("retries", "{retry}", "Calls that were sent again, as no answer came.")
        self._reconnects = counter("stream.reconnects", "{reconnect}", "Subscriptions that were connected again.")
        self._gaps = counter("stream.gaps", "{gap}", "Gaps that subscribers were told of.")
        self._lost = counter("stream.lost_versions", "{version}", "Versions in those gaps.")
        self._rollbacks = counter("stream.rollbacks", "{rollback}", "Rollbacks that subscribers were told of.")
        self._foreign = counter(
            "stream.foreign_writes", "{write}", "Changes by something else than a commit that subscribers were told of."
        )

    # --- calls -----------------------------------------------------------------------------------------------

    def watched(self, run: observing.Run, store: Any, twin: str) -> observing.Run:
        """The same way to make a call, observed."""

        def watching(call: Any) -> Any:
            if call.commit_id is None:
                return self._learned(call, run(call))
            with self._commit(call, store, twin) as span:
                return self._committed(span, call, run(call))

        return watching

    def watched_async(self, run: observing.AsyncRun, store: Any, twin: str) -> observing.AsyncRun:
        """The same for asyncio."""

        async def watching(call: Any) -> Any:
            if call.commit_id is None:
                return self._learned(call, await run(call))
            with self._commit(call, store, twin) as span:
                return self._committed(span, call, await run(call))

        return watching

    def counted(self, call: Any, send: Callable[[], Any]) -> Callable[[], Any]:
        """The same way to send a call once, counted."""
        retries = -1

        def sending() -> Any:
            nonlocal retries
            retries += 1
            if retries:
                self._retried(call, retries)
            return send()

        return sending

    def _retried(self, call: Any, retries: int) -> None:
        self._retries(1, {"circman.call": call.target})
        if call.commit_id is not None:
            self._trace.get_current_span().set_attribute("circman.retries", retries)

    @contextmanager
    def _commit(self, call: Any, store: Any, twin: str) -> Iterator[Span]:
        op = call.args[0]
        facts = {
            "db.system.name": "redis",
            "db.operation.name": "commit",
            "circman.twin": twin,
            "circman.op": op,
            "circman.commits": len(call.args) - protocol.FIRST_BODY,
            **_address(store),
        }
        told = {"circman.op": op}
        began = time.perf_counter()
        # Not the error's message, nor its trace: they quote what was to be committed.
        with self._tracer.start_as_current_span(
            "circman.commit",
            kind=self._trace.SpanKind.CLIENT,
            attributes=facts,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                told["error.type"] = type(error).__name__
                span.set_attribute("error.type", told["error.type"])
                span.set_status(self._trace.StatusCode.ERROR)
                if isinstance(error, StateConflict):
                    self._conflicts(1, {"circman.op": op})
                raise
            finally:
                self._duration.record(time.perf_counter() - began, told)

    def _committed(self, span: Span, call: Any, commits: list[Any]) -> list[Any]:
        duplicate = commits[-1].duplicate
        span.set_attributes({"circman.version": commits[-1].version, "circman.duplicate": duplicate})
        count = self._duplicates if duplicate else self._commits
        count(len(commits), {"circman.op": call.args[0]})
        return commits

    def _learned(self, call: Any, value: Any) -> Any:
        if call.target == "LLEN":
            self._history.record(value)
        return value

    # --- subscriptions ---------------------------------------------------------------------------------------

    def handed_out(self, event: Any) -> None:
        """A subscription hands out an event."""
        if isinstance(event, HistoryGap):
            self._gaps(1)
            self._lost(len(event.lost))
        elif isinstance(event, StateRolledBack):
            self._rollbacks(1)
        elif isinstance(event, ForeignWrite):
            self._foreign(1)

    def reconnected(self) -> None:
        """A subscription that had lost its connection has another one."""
        self._reconnects(1)


def _address(store: Any) -> dict[str, Any]:
    """Where a client connects to, as far as it knows: one of a cluster, or of Sentinel, has no address of its own."""
    facts = getattr(getattr(store.client, "connection_pool", None), "connection_kwargs", {})
    if "server" in facts:  # the embedded one
        return {"server.address": str(facts["server"].socket_path)}
    if "path" in facts:
        return {"server.address": facts["path"]}
    if "host" in facts:
        return {"server.address": facts["host"], "server.port": int(facts.get("port", 6379))}
    return {}
