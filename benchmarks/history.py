"""What a history costs: look-ups by time and by version as it grows, and its memory."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from benchmarks.documents import document, usual
from benchmarks.measure import Line, Point, Report, Samples, Scale, ratio_line, take_turns
from benchmarks.timing import microseconds
from circman_redis import StateManager, UsageError
from tests.servers import Server

LENGTHS = (100, 1_000, 10_000)
START = datetime(2026, 1, 1, tzinfo=UTC)
ENTRIES = 1_000
FORMS = {"full": 1.2, "compact": 0.4}


def run(server: Server, lane: str, scale: Scale, report: Report) -> None:
    """Adds the look-ups by the length of the history, and the memory of 1,000 entries of 2 kB in each form."""
    with ExitStack() as stack:
        twins = {length: stack.enter_context(_filled(server, length)) for length in LENGTHS}
        for how in ("time", "version"):
            whole, on_server = _measured(twins, how, scale)
            report.points += _points(whole, how, lane)
            report.lines += _lines(whole, on_server, how, lane)
    report.lines += [_memory(server, form, target, lane) for form, target in FORMS.items()]


# --- look-ups --------------------------------------------------------------------------------------------------


def _filled(server: Server, length: int) -> StateManager:
    """A twin with a commit a second, of some 0.5 kB each."""
    twin = StateManager(f"history-{length}", url=server.url, history_length=length)
    state = document("0.5 kB")
    updates = [state | {"n": n, "timestamp": (START + timedelta(seconds=n)).isoformat()} for n in range(length + 1)]
    for first in range(0, len(updates), 500):
        twin.update_many(updates[first : first + 500])
    return twin


def _measured(twins: dict[int, StateManager], how: str, scale: Scale) -> tuple[Samples, Samples]:
    """Microseconds of a whole call, and of the server's part of it, by length."""
    on_server: Samples = {str(length): [] for length in twins}

    def turn(length: int) -> float:
        twin = twins[length]
        places = [(length * (2 * i + 1)) // (2 * scale.calls) for i in range(scale.calls)]
        twin.client.config_resetstat()
        whole = microseconds(partial(_look_up, twin, how), places)
        on_server[str(length)].append(twin.client.info("commandstats")["cmdstat_evalsha_ro"]["usec_per_call"])
        return whole

    return take_turns({str(length): partial(turn, length) for length in twins}, scale.rounds), on_server


def _look_up(twin: StateManager, how: str, place: int) -> None:
    if how == "time":
        found = twin.get_state_at_time(START + timedelta(seconds=place, milliseconds=500))
    else:
        found = twin.get_state_at_version(place + 1)
    if found is None or found["n"] != place:
        raise AssertionError(f"by {how}, at {place}: {found}")


def _points(whole: Samples, how: str, lane: str) -> list[Point]:
    return [
        Point("history length", f"by {how}", lane, int(length), statistics.median(found))
        for length, found in whole.items()
    ]


def _lines(whole: Samples, on_server: Samples, how: str, lane: str) -> list[Line]:
    shortest, longest = str(LENGTHS[0]), str(LENGTHS[-1])
    what = f"look-up by {how} at {LENGTHS[-1]:,} entries over {LENGTHS[0]}"
    target = 2 if how == "time" else None
    return [
        ratio_line(f"{what}, end to end", lane, whole, (longest, shortest), "entries us", target=target),
        ratio_line(f"{what}, server's time", lane, on_server, (longest, shortest), "entries us"),
    ]


# --- memory ----------------------------------------------------------------------------------------------------


def _memory(server: Server, form: str, target: float, lane: str) -> Line:
    """The bytes of the history's key, over those of the states that it gives back."""
    what = f"memory of {ENTRIES:,} entries of 2 kB by MEMORY USAGE, {form} history, over the bytes of the states"
    try:
        twin = StateManager(f"memory-{form}", url=server.url, **_options(form))
    except (TypeError, UsageError) as error:
        return Line(what, lane, None, target=target, note=f"not to be had: {error}")
    with twin:
        states = _commit(twin)
        used = twin.client.memory_usage(twin.keys.history, samples=0)
        kept = twin.client.llen(twin.keys.history)
    if kept != ENTRIES:
        raise AssertionError(f"{kept} entries, not {ENTRIES}")
    figures = {"history kB": used / 1000, "states kB": states / 1000, "bytes per state": states / ENTRIES}
    return Line(what, lane, used / states, target=target, figures=figures)


def _options(form: str) -> dict[str, Any]:
    # Without the word for what is the default, so that it runs on versions that know no other.
    return {"history_length": ENTRIES} | ({} if form == "full" else {"history": form})


def _commit(twin: StateManager) -> int:
    """Commits so much that the history is full; returns the bytes of the states that are past."""
    state = document("2 kB")
    twin.set_state(state)
    past = 0
    for updates in map(usual(state), range(ENTRIES)):
        past += twin.client.strlen(twin.keys.state)
        twin.update_state(updates)
    return past
