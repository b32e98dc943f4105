"""Processes that work at the same time, and say what came of it."""

from __future__ import annotations

import multiprocessing as mp
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

# Not forked from the process that measures, which has threads and connections; and nobody imports it all anew.
_processes = mp.get_context("forkserver")
_processes.set_forkserver_preload(["circman_redis.manager", "circman_redis.subscription", "circman_redis.mirror"])

PATIENCE = 120.0
"""Seconds that the members of a crew wait for one another."""

Ready = Callable[[], object]


def together(work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Has one process for each tuple of arguments do its work, all from the same moment on.

    Args:
        work: a module's function; called with ``ready`` and the arguments. When it has prepared itself it calls
            ``ready()``, which returns when all are.
        arguments: one tuple for each process.

    Returns:
        What they returned, in their order.

    Raises:
        RuntimeError: some failed; with what each of them said.
    """
    barrier = _processes.Barrier(len(arguments))
    with _started(_member, [(work, barrier, *some) for some in arguments]) as pipes:
        said = [pipe.recv() for pipe in pipes]
    failures = [what for fine, what in said if not fine]
    if failures:
        raise RuntimeError("; ".join(failures))
    return [what for _, what in said]


@contextmanager
def background(work: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> Iterator[list[Connection]]:
    """Has one process for each tuple of arguments work until the end of the with block, which ends it.

    Args:
        work: a module's function; called with a connection to the caller and the arguments. When it stands it sends
            anything, which is waited for here.
        arguments: one tuple for each process.

    Yields:
        The connections to them.
    """
    with _started(work, arguments) as pipes:
        for pipe in pipes:
            pipe.recv()
        yield pipes


@contextmanager
def _started(work: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> Iterator[list[Connection]]:
    pipes, processes = [], []
    try:
        for some in arguments:
            here, there = _processes.Pipe()
            process = _processes.Process(target=work, args=(there, *some), daemon=True)
            process.start()
            there.close()  # so that its end is the end of the pipe
            pipes.append(here)
            processes.append(process)
        yield pipes
    finally:
        for process in processes:
            process.kill()
            process.join()


def _member(pipe: Connection, work: Callable[..., Any], barrier: Any, *arguments: Any) -> None:
    try:
        pipe.send((True, work(lambda: barrier.wait(PATIENCE), *arguments)))
    except BaseException as error:
        barrier.abort()
        pipe.send((False, f"process {os.getpid()}: {error!r}"))
        raise
