"""Signals end a loop, and afterwards do what they did before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from circman_redis.twin.stopping import SIGNALS, stopped_by_signals

LONG = 30.0


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of the test run, put back whatever happens."""
    before = {one: signal.getsignal(one) for one in SIGNALS}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def now() -> list[object]:
    return [signal.getsignal(one) for one in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_event(number: int) -> None:
    """And the next one does what it did before."""
    stop = threading.Event()
    before = now()
    with stopped_by_signals(stop):
        assert now() != before
        os.kill(os.getpid(), number)
        assert stop.wait(LONG)
        assert now() == before
    assert now() == before


def test_without_a_signal_nothing_is_left_behind() -> None:
    stop = threading.Event()
    before = now()
    with stopped_by_signals(stop):
        pass
    assert now() == before
    assert not stop.is_set()


def test_what_is_ignored_stays_ignored() -> None:
    """As SIGINT by what a shell runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    with stopped_by_signals(stop):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_change_nothing() -> None:
    """They could not."""
    before, seen = now(), []

    def run() -> None:
        with stopped_by_signals(threading.Event()):
            seen.append(now())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_handler_of_the_caller_gets_the_second_one() -> None:
    got: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        got.append(number)

    signal.signal(signal.SIGTERM, handler)
    stop = threading.Event()
    with stopped_by_signals(stop):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(LONG)
    assert got == [signal.SIGTERM]


def test_a_signal_may_come_while_the_event_is_being_waited_for() -> None:
    """At the very moment when the waiting thread has the event's lock, which it does not give to itself."""
    program = """
import os, signal, threading
from circman_redis.twin.stopping import stopped_by_signals

stop = threading.Event()
with stopped_by_signals(stop):
    with stop._cond:  # as Event.wait() has it, before it waits
        os.kill(os.getpid(), signal.SIGTERM)
    print(stop.wait())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "True\n", "")
