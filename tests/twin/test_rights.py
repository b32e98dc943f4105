"""Branches and roles, by users with the rules that `circman-redis acl` prints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from circman_redis import NotPermitted, StateManager, acl
from circman_redis.acl import Role
from circman_redis.twin.branches import branches, fork
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.leases import Lease, holders
from circman_redis.twin.presence import Presence, workers
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.thresholds import Thresholds
from tests.servers import Server, contents

HOT = ThresholdRule(name="hot", pointer="/t", comparison="greater_than", value=80.0)


@pytest.fixture
def made(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as twin:
        twin.set_state({"n": 0})
        yield twin


def as_user(server: Server, role: Role, twin: str) -> StateManager:
    with server.client() as admin:
        admin.execute_command(*acl.line(f"{role}-{twin}", acl.rules(role, twin=twin)).split(), ">secret")
    return StateManager(twin, url=f"unix://{role}-{twin}:secret@{server.socket}")


def test_a_writer_forks_merges_back_and_deletes(server: Server, made: StateManager) -> None:
    """With the model that the twin has."""
    with as_user(server, "writer", made.twin) as twin:
        branch = fork(twin, "b")
        with branch.manager as manager:
            manager.adjust({"/n": 5})
            assert branch.merge_back() is not None
            assert manager.schema == made.schema
            manager.delete()
    assert made.get_current_state()["n"] == 5


def test_a_deletion_that_fails_in_between_is_said_again(server: Server, made: StateManager) -> None:
    """Branches go first: as long as one is there, so is the twin."""
    for name in ("a", "b"):
        fork(made, name).manager.close()
    with as_user(server, "admin", made.twin) as twin, server.client() as admin:
        user, keys = f"admin-{made.twin}", twin.keys
        admin.execute_command(
            "ACL",
            "SETUSER",
            user,
            "resetkeys",
            f"~{keys.state.removesuffix('state')}*",
            f"~{keys.branch('a').state.removesuffix('state')}*",
        )
        with pytest.raises(NotPermitted):
            twin.delete()
        assert branches(made) == [f"{made.twin}@b"]
        assert made.snapshot().version == 1
        admin.execute_command("ACL", "SETUSER", user, *acl.rules("admin", twin=made.twin))
        assert twin.delete() == 1
    assert branches(made) == []


def test_a_writer_takes_a_role(server: Server, made: StateManager) -> None:
    with as_user(server, "writer", made.twin) as twin, Lease(twin, "line", "a"):
        twin.adjust({"/n": 1})
        assert holders(twin)[0].holder == "a"


def test_a_writer_says_and_decides(server: Server, made: StateManager) -> None:
    """Once an admin began; and is there."""
    with as_user(server, "writer", made.twin) as twin, DomainEvents(twin) as events:
        assert events.get_events() == []
        with pytest.raises(NotPermitted, match="have an admin do it"):
            events.publish("error", {})
    with DomainEvents(made) as events:
        events.publish("error", {})
    with as_user(server, "writer", made.twin) as twin, DomainEvents(twin) as events:
        Thresholds(twin, events).set(HOT)
        with Presence(twin, events, "line-1", ttl=1):
            assert [one.name for one in workers(twin, events)] == ["line-1"]
        with as_user(server, "reader", made.twin) as reader, DomainEvents(reader) as seen:
            assert [one.kind for one in seen.get_events()] == ["error", "worker_joined", "worker_left"]
            assert Thresholds(reader, seen).get()[0].rule == HOT
            assert workers(reader, seen) == []
            with pytest.raises(NotPermitted):
                seen.publish("error", {})
            with pytest.raises(NotPermitted):
                Presence(reader, seen, "line-2").__enter__()


def test_a_reader_does_neither(server: Server, made: StateManager) -> None:
    """It sees both."""
    with fork(made, "b").manager, Lease(made, "line", "a"), server.client() as client:
        before = contents(client)
        with as_user(server, "reader", made.twin) as twin:
            with pytest.raises(NotPermitted):
                fork(twin, "c")
            with pytest.raises(NotPermitted):
                Lease(twin, "line", "b").take()
            with twin.branch("b") as branch:
                assert branch.get_current_state()["n"] == 0
                with pytest.raises(NotPermitted):
                    branch.adjust({"/n": 1})
            assert holders(twin)[0].holder == "a"
        assert contents(client) == before


def test_a_writer_of_one_twin_cannot_reach_the_branches_of_another(server: Server, made: StateManager) -> None:
    """Nor its roles."""
    with StateManager(f"{made.twin}-other", url=server.url) as other:
        other.set_state({"n": 0})
        with fork(other, "b").manager, as_user(server, "writer", made.twin) as twin:
            url = f"unix://writer-{made.twin}:secret@{server.socket}"
            with pytest.raises(NotPermitted), StateManager(f"{other.twin}@b", url=url) as branch:
                branch.get_current_state()
            assert twin.get_current_state()["n"] == 0
