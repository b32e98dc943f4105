"""Pure: in which role this thread, or task, commits at the moment.

A worker that was paused for longer than its lease does not know that another has its role now. So each commit in a role
carries the fencing token of the lease, and the script refuses one that is not the newest (M. Kleppmann, "How to do
distributed locking", 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from circman_redis.keys import TwinKeys

_fences: ContextVar[Mapping[str, str]] = ContextVar("circman_redis_fences", default={})  # noqa: B039 - never changed


def of(keys: TwinKeys) -> str:
    """``role:token`` for commits to the twin; empty where this thread has no role on it."""
    return _fences.get().get(keys.leases, "")


@contextmanager
def committing_as(keys: TwinKeys, role: str, token: str) -> Iterator[None]:
    """Has every commit to the twin, within the block, be one of the role.

    Args:
        keys: the twin's.
        role: the role.
        token: the fencing token that goes with it.
    """
    before = _fences.set({**_fences.get(), keys.leases: f"{role}:{token}"})
    try:
        yield
    finally:
        _fences.reset(before)
