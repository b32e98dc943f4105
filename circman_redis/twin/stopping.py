"""A loop that ends cleanly when its process is told to."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set the event, within the block; afterwards they do what they did before.

    They also do so from the first of them on: whoever presses Ctrl-C twice does not want to wait. Signals that the
    process ignores it goes on to ignore. Other threads than the main one cannot change what signals do, and do not.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN}

    def put_back() -> None:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)  # None: not one of Python's

    def end(_number: int, _frame: FrameType | None) -> None:
        put_back()
        # The handler interrupts whatever this thread does, which may be waiting for this very event, and have its lock.
        _thread.start_new_thread(stop.set, ())

    for one in before:
        signal.signal(one, end)
    try:
        yield
    finally:
        put_back()
