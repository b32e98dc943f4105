"""What tests of faults on one server share: both kinds of manager, and a look at what is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from circman_redis import retries
from tests.contract.conftest import manager, mode

__all__ = ["manager", "mode", "retried"]


@pytest.fixture
def retried(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """The errors after which calls were sent again, as they happen."""
    seen: list[Exception] = []
    rest = retries._Tries.rest

    def spied(tries: Any, error: Exception) -> float:
        seconds = rest(tries, error)
        seen.append(error)
        return seconds

    monkeypatch.setattr(retries._Tries, "rest", spied)
    return seen
