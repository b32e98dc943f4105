"""A clock for a server that the test sets: gettimeofday and its like, off by what a file says."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *offset;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    offset = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
}
int clock_gettime(clockid_t id, struct timespec *ts) {
    int said = syscall(SYS_clock_gettime, id, ts);
    if (offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) ts->tv_sec += *offset;
    return said;
}
int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec ts;
    int said = clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return said;
}
time_t time(time_t *to) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (to) *to = ts.tv_sec;
    return ts.tv_sec;
}
"""


class Clock:
    """Of every server that is run `within` it; skips the test where no C compiler makes it.

    The kernel's clock is the machine's, also in namespaces: so the C library's functions are replaced (LD_PRELOAD).
    """

    def __init__(self, seconds: int = 0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cr-"))
        self._library, self._file = self.folder / "clock.so", self.folder / "offset"
        self._first = seconds

    @property
    def within(self) -> tuple[str, ...]:
        """What runs a command by this clock; it becomes that command, so its process id stays."""
        return ("env", f"LD_PRELOAD={self._library}", f"CLOCK_OFFSET={self._file}")

    def set(self, seconds: int) -> None:
        """So far it is ahead of the machine's from now on; below 0, behind."""
        self._offset[:] = struct.pack("l", seconds)

    def start(self) -> Self:
        if not shutil.which("cc"):
            self.stop()
            pytest.skip("a server's clock is set by a library that has to be made: no C compiler (cc) here")
        (self.folder / "clock.c").write_text(SOURCE)
        made = ["cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(self.folder / "clock.c")]
        subprocess.run(made, check=True, capture_output=True)
        self._file.write_bytes(struct.pack("l", self._first))
        file = os.open(self._file, os.O_RDWR)
        self._offset = mmap.mmap(file, 0)
        os.close(file)
        return self

    def stop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
