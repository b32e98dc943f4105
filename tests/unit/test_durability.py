"""What a commit is confirmed by, and what a server says of itself."""

from __future__ import annotations

import pytest
import redis

from circman_redis.durability import NONE, Durability, ServerFacts, read_info
from circman_redis.errors import UsageError


@pytest.mark.parametrize(
    ("text", "command"),
    [("replicas:1", ("WAIT", 1, 1500)), ("replicas:12", ("WAIT", 12, 1500)), ("fsync", ("WAITAOF", 1, 0, 1500))],
)
def test_what_is_asked_for(text: str, command: tuple[object, ...]) -> None:
    """Its last part is the time in milliseconds."""
    assert Durability.of(text).command(1.5) == command


def test_no_time_is_not_for_ever() -> None:
    """A WAIT with 0 would never end."""
    assert Durability.of("replicas:1").command(-3)[-1] == 1


@pytest.mark.parametrize("text", ["", "all", "replicas", "replicas:0", "replicas:01", "replicas:-1", "FSYNC", "none "])
def test_what_is_no_durability(text: str) -> None:
    with pytest.raises(UsageError, match="replicas:N"):
        Durability.of(text)


@pytest.mark.parametrize(
    ("text", "reply", "confirmed"),
    [
        ("replicas:2", 2, True),
        ("replicas:2", 3, True),
        ("replicas:2", 1, False),
        ("replicas:1", redis.ResponseError("no"), False),
        ("fsync", [1, 0], True),
        ("fsync", [0, 5], False),
        ("fsync", [], False),
        ("fsync", redis.ResponseError("no"), False),
    ],
)
def test_what_confirms(text: str, reply: object, confirmed: bool) -> None:
    """And what does not is said."""
    assert Durability.of(text).is_confirmed(reply) is confirmed
    assert confirmed or Durability.of(text).missing(reply)


def test_none_is_the_least() -> None:
    assert Durability.of("none") == NONE


@pytest.mark.parametrize(
    ("info", "facts"),
    [
        ("", ServerFacts(None, None, "Redis 0.0")),
        ("redis_version:7.0.15\r\naof_enabled:1\r\n", ServerFacts(None, False, "Redis 7.0.15")),
        ("redis_version:7.2.0\r\naof_enabled:1\r\n", ServerFacts(None, True, "Redis 7.2.0")),
        ("redis_version:10.0.1\r\naof_enabled:0\r\n", ServerFacts(None, False, "Redis 10.0.1")),
        ("redis_version:7.2.4\r\nvalkey_version:9.1.2\r\naof_enabled:1", ServerFacts(None, True, "Valkey 9.1.2")),
        ("redis_version:8.0.0\r\nmaxmemory_policy:allkeys-lru", ServerFacts("allkeys-lru", None, "Redis 8.0.0")),
        ("redis_version:8.0.0\r\ncluster_enabled:1", ServerFacts(None, None, "Redis 8.0.0", is_node=True)),
    ],
)
def test_what_a_server_says_of_itself(info: str, facts: ServerFacts) -> None:
    assert read_info(info) == facts


@pytest.mark.parametrize(
    ("policy", "may"), [("noeviction", False), ("volatile-lru", False), ("allkeys-lfu", True), (None, False)]
)
def test_which_policies_reach_a_state(policy: str | None, may: bool) -> None:
    """A state has no time to live: only those that look at all keys evict it."""
    assert ServerFacts(policy).may_evict is may
