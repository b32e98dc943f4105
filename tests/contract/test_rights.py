"""A user who lacks a right is refused before anything is written, and told which."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from circman_redis import StateManager, StoreError
from tests.contract.conftest import Managers
from tests.servers import Server, contents

RARE = {"RENAME", "UNLINK", "ZREMRANGEBYSCORE"}
WRITER = ["+@all", "~circman:*", "&circman:*"]


@pytest.fixture
def manager_of(manager: Managers, server: Server, twin_id: str) -> Managers:
    """Makes managers whose user has the rights that are named."""

    def make(*rules: str) -> StateManager:
        with server.client() as admin:
            admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rules)
        return manager(twin_id, client=server.client(username="limited", password="secret"))

    return make


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (["resetchannels"], "PUBLISH"),
        (["-publish"], "PUBLISH"),
        (["-zadd"], "ZADD"),
        (["-rename"], "RENAME"),
        (["-unlink"], "UNLINK"),
        (["-ltrim"], "LTRIM"),
        (["-set"], "SET"),
        (["-hset"], "HSET"),
        (["-zremrangebyscore"], "ZREMRANGEBYSCORE"),
    ],
)
def test_a_commit_needs_all_its_rights_before_it_writes(
    manager_of: Managers, open_twin: Managers, raw: redis.Redis, missing: list[str], named: str
) -> None:
    """Redis does not roll back a script: one that failed half-way would leave half a commit.

    What only few merges need is looked at with whatever is no merge, and with the merge that needs it.
    """
    with open_twin() as twin:
        twin.update_many([{"n": n} for n in range(3)])
        before = contents(raw)
        with manager_of(*WRITER, *missing) as limited:
            past = {"n": 5, "timestamp": "2020-01-01T00:00:00Z"}
            writes: list[Any] = [lambda: limited.update_state(past), lambda: limited.set_state({"n": 5})]
            writes += [lambda: limited.update_state({"n": 5})] if named not in RARE else []
            writes += [limited.clear_history, limited.delete] if named == "PUBLISH" else []
            for write in writes:
                with pytest.raises(StoreError, match=named):
                    write()
        assert contents(raw) == before


def test_whoever_may_only_read_reads(manager_of: Managers, open_twin: Managers) -> None:
    """Opening and reading need no right to write; committing is refused."""
    with open_twin() as twin:
        twin.update_many([{"n": n} for n in range(3)])
        reader = ["+@read", "+@scripting", "+@connection", "~circman:*"]
        with manager_of(*reader) as limited:
            assert limited.get_current_state()["n"] == 2
            assert [state["n"] for state in limited.get_history()] == [0, 1]
            assert limited.snapshot().version == 3
            assert limited.get_state_at_version(1) == twin.get_state_at_version(1)
            with pytest.raises(StoreError, match=r"may not|no permissions|can't run"):
                limited.update_state({"n": 5})
        assert twin.snapshot().version == 3
