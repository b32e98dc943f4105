"""How much longer `circman-redis --help` takes than python's own start: medians of runs that take turns."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {"python -c pass": ["-c", "pass"], "circman-redis --help": ["-m", "circman_redis.cli", "--help"]}


def seconds(arguments: list[str]) -> float:
    """One run, from start to end."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Prints both medians, and the difference."""
    runs = [[seconds(arguments) for arguments in COMMANDS.values()] for _ in range(ROUNDS)]
    medians = [statistics.median(column) * 1000 for column in zip(*runs, strict=True)]
    for name, median in zip(COMMANDS, medians, strict=True):
        print(f"{name:24}{median:7.1f} ms")
    print(f"{'difference':24}{medians[1] - medians[0]:7.1f} ms")


if __name__ == "__main__":
    main()
