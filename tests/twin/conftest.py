"""What stands around the twins that the tests work on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from circman_redis import StateManager
from circman_redis.twin.domain import DomainEvents


@pytest.fixture
def events(twin: StateManager) -> Iterator[DomainEvents]:
    """The domain events of the test's twin."""
    with DomainEvents(twin) as one:
        yield one
