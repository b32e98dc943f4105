"""The way from a command to the parts around a twin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from circman_redis.cli._options import QUICK_RETRIES, Target
from circman_redis.manager import StateManager
from circman_redis.twin.domain import DomainEvents


@contextmanager
def around(target: Target) -> Iterator[tuple[StateManager, DomainEvents]]:
    """The twin's manager and its domain events, for as long as a command runs."""
    with managed(target) as manager, DomainEvents(manager) as events:
        yield manager, events


def managed(target: Target) -> StateManager:
    """The twin's manager."""
    quick = target.retries == QUICK_RETRIES and "CIRCMAN_RETRIES" not in os.environ
    return StateManager(
        target.twin,
        url=target.url,
        prefix=target.prefix,
        actor=target.actor,
        retries=QUICK_RETRIES if quick else None,
        username=target.user,
        password_file=target.password_file,
        ca_file=target.ca_file,
        cert_file=target.cert_file,
        key_file=target.key_file,
    )
