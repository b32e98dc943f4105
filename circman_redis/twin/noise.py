"""The noise of a simulation: the same for the same seed, run and quantity, whatever else is simulated beside."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from circman_redis.twin._numpy import np
from circman_redis.twin.physics import Values


class Noise:
    """The draws of an ensemble; those of a quantity are made when they are first asked for.

    Each run and quantity has a stream of its own. So run 0 of an ensemble is the run of that seed by itself, a longer
    run begins as the shorter one does, and two what-ifs with one seed differ by what they change and not by luck.

    Args:
        seed: not negative.
        steps: how many there will be.
        runs: in the ensemble.
        on: without it all factors are 1 and all normal draws 0.
    """

    def __init__(self, seed: int, steps: int, runs: int, *, on: bool) -> None:
        self._seed = seed
        self._steps = steps
        self._runs = runs
        self._on = on

    def factors(self, spread: float) -> Values:
        """The n = 1 + U(-s, s) of each step, of shape (steps, runs)."""
        if not self._on:
            return np.ones((self._steps, self._runs))
        drawn = [self._stream("", run).uniform(-1.0, 1.0, self._steps) for run in range(self._runs)]
        return 1 + spread * np.stack(drawn, axis=1)

    def normal(self, places: Sequence[str]) -> Values:
        """Standard normal draws for each step and place, of shape (steps, places, runs).

        Args:
            places: JSON Pointers of the quantities.
        """
        drawn = np.zeros((self._steps, len(places), self._runs))
        if self._on:
            for row, place in enumerate(places):
                for run in range(self._runs):
                    drawn[:, row, run] = self._stream(place, run).standard_normal(self._steps)
        return drawn

    def _stream(self, name: str, run: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(run, crc32(name.encode()))))
