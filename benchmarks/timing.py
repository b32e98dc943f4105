"""How long calls take, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def microseconds(call: Callable[[T], object], inputs: Iterable[T]) -> float:
    """Microseconds of one call, the mean over the inputs, which are made before."""
    given = list(inputs)
    begun = time.perf_counter()
    for one in given:
        call(one)
    return (time.perf_counter() - begun) / len(given) * 1e6


def per_second(call: Callable[[T], object], inputs: Iterable[T]) -> float:
    """Calls per second."""
    return 1e6 / microseconds(call, inputs)
