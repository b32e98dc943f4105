"""lease.lua, and what commit.lua makes of its tokens."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest

from circman_redis.timestamps import parse_timestamp
from tests.lua.support import RawTwin
from tests.servers import wait_until

MINUTE = 60_000


def lease(
    raw: RawTwin, action: str, holder: str, ms: int = MINUTE, token: str = "", role: str = "line"
) -> list[object]:
    done, *texts = raw.call("lease", action, role, holder, ms, token)
    return [done, *(text.decode() for text in texts)]


def taken(raw: RawTwin, holder: str, ms: int = MINUTE) -> str:
    done, token, has_it, _ = lease(raw, "take", holder, ms)
    assert (done, has_it) == (1, holder)
    return str(token)


def test_one_has_it_at_a_time(raw: RawTwin) -> None:
    """Another is told who, with which token and until when."""
    token = taken(raw, "a")
    done, current, holder, until = lease(raw, "take", "b")
    assert (done, current, holder) == (0, token, "a")
    assert time.time() < int(str(until)) / 1e6 < time.time() + 61


def test_it_is_given_back(raw: RawTwin) -> None:
    """The token goes on all the same."""
    token = taken(raw, "a")
    assert lease(raw, "release", "a", token=token)[:3] == [1, token, ""]
    assert lease(raw, "keep", "a", token=token)[0] == 0
    assert int(taken(raw, "b")) > int(token)


def test_it_ends_by_itself_and_is_kept(raw: RawTwin) -> None:
    """Whoever keeps it has it for longer; late, too, as long as nobody else took it."""
    token = taken(raw, "a", ms=1)
    assert lease(raw, "keep", "a", 1, token)[:3] == [1, token, "a"]
    wait_until(lambda: lease(raw, "take", "b")[0] == 1)
    assert lease(raw, "keep", "a", MINUTE, token)[:3:2] == [0, "b"]
    assert lease(raw, "release", "a", MINUTE, token)[0] == 0


def test_who_takes_it_again_has_a_new_token(raw: RawTwin) -> None:
    """A worker that was started again under its name does not meet what it sent before."""
    first = taken(raw, "a")
    second = taken(raw, "a")
    assert int(second) > int(first)
    assert lease(raw, "keep", "a", token=first)[0] == 0


def test_tokens_rise_whatever_the_clock_does(raw: RawTwin) -> None:
    """One that was given in the future is followed by the next number."""
    later = 4_000_000_000_000_000
    until = "2026-01-01T00:00:00.000000Z"
    raw.client.hset(
        raw.keys.leases, "line", json.dumps({"token": later, "holder": "a", "until": until}, separators=(",", ":"))
    )
    assert taken(raw, "b") == str(later + 1)


def test_what_stands_there_can_be_read(raw: RawTwin) -> None:
    """JSON, for whoever looks from elsewhere."""
    token = taken(raw, "a")
    found = json.loads(raw.client.hget(raw.keys.leases, "line") or "")
    assert {"token": int(token), "holder": "a"} == {name: found[name] for name in ("token", "holder")}
    assert parse_timestamp(found["until"]) > datetime.now(UTC)


@pytest.mark.parametrize(
    "args",
    [
        ("x", "line", "a", 1, ""),
        ("take", "", "a", 1, ""),
        ("take", "line", "", 1, ""),
        ("take", "li ne", "a", 1, ""),
        ("take", "x" * 65, "a", 1, ""),
        ("take", "line", "x" * 129, 1, ""),
        ("take", "line", "a", 0, ""),
        ("take", "line", "a", "x", ""),
        ("take", "line", "a", 10**11, ""),
        ("keep", "line", "a", 1, ""),
        ("keep", "line", "a", 1, "x"),
    ],
)
def test_junk_is_refused(raw: RawTwin, args: tuple[object, ...]) -> None:
    """And changes nothing."""
    assert raw.error_of(lambda: raw.call("lease", *args)).startswith("CIRCMAN_BAD_JSON {")
    assert raw.client.exists(raw.keys.leases) == 0


@pytest.mark.parametrize("text", ["", "x", "{}", '{"token":1,"holder":"a","until":"soon"}'])
def test_what_something_else_wrote_is_named(raw: RawTwin, text: str) -> None:
    """Neither a lease nor a commit goes on from it."""
    raw.client.hset(raw.keys.leases, "line", text)
    for call in (lambda: lease(raw, "take", "a"), lambda: raw.set("{}", fence="line:1")):
        error = raw.error_of(call)
        assert error.startswith("CIRCMAN_CORRUPT {")
        assert "leases" in error


def test_a_key_of_another_type_is_named(raw: RawTwin) -> None:
    """As with every key of a twin."""
    raw.client.set(raw.keys.leases, "x")
    for call in (lambda: lease(raw, "take", "a"), lambda: raw.set("{}", fence="line:1")):
        assert "holds a string, not a hash" in raw.error_of(call)


# --- commits ---------------------------------------------------------------------------------------------------


def test_a_commit_of_the_holder(raw: RawTwin) -> None:
    """Even when its time is over, as long as nobody else was given the role."""
    token = taken(raw, "a", ms=1)
    assert raw.set("{}", fence=f"line:{token}").first == 1
    wait_until(lambda: lease(raw, "keep", "b", token=token)[2] == "")
    assert raw.merge("{}", fence=f"line:{token}").first == 2


@pytest.mark.parametrize("role", ["line", "line:2", "a:b:c"])
def test_a_commit_of_who_had_the_role_once(raw: RawTwin, role: str) -> None:
    """It is refused before anything else is looked at, and what it lacks is said."""
    raw.set('{"n":1}')
    token = str(lease(raw, "take", "a", 1, role=role)[1])
    assert raw.merge('{"n":2}', fence=f"{role}:{token}").first == 2
    wait_until(lambda: lease(raw, "take", "b", role=role)[0] == 1)
    with raw.refused("FENCED") as refusal:
        raw.merge('{"n":', fence=f"{role}:{token}")
    assert refusal.details["holder"] == "b"
    assert refusal.details["token"] == int(token) < refusal.details["current"]


def test_a_repeated_commit_is_recognised_all_the_same(raw: RawTwin) -> None:
    """It was made while the role was held."""
    token = taken(raw, "a")
    first = raw.set("{}", commit_id="x", fence=f"line:{token}")
    taken(raw, "a")
    assert raw.set("{}", commit_id="x", fence=f"line:{token}") == first._replace(duplicate=1)


@pytest.mark.parametrize("fence", ["line", "line:", ":1", "line:x", b"\xff:1", "x" * 129 + ":1"])
def test_a_fence_that_is_none(raw: RawTwin, fence: str | bytes) -> None:
    """Is bad input, and no role."""
    assert raw.error_of(lambda: raw.set("{}", fence=fence)).startswith("CIRCMAN_BAD_JSON {")
