"""fork.lua: a branch begins with a state of its twin, byte for byte, and goes its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lua.support import BRANCH, RawTwin

RULES = {"": {"type": "object"}, "/n": {"minimum": 0}}


@pytest.fixture
def branch(raw: RawTwin) -> RawTwin:
    """The branch of the twin, which is not there yet."""
    return RawTwin(raw.client, stamped=True, keys=raw.keys.branch(BRANCH))


def forked(raw: RawTwin, version: Any = "", commit_id: str = "fork", actor: str = "me") -> list[Any]:
    epoch, duplicate, committed_at, first, timestamp = raw.call(
        "fork", version, commit_id, actor, raw.client.get(raw.keys.schema) or ""
    )
    return [epoch.decode(), duplicate, committed_at.decode(), first, timestamp.decode()]


def test_the_newest_state(raw: RawTwin, branch: RawTwin) -> None:
    """Byte for byte, with its own timestamp, as version 1 of an epoch of its own."""
    raw.set('{"n":22.0,"big":12345678901234567890,"list":[],"timestamp":"2026-03-01T12:00:00Z"}')
    epoch, duplicate, committed_at, first, timestamp = forked(raw)
    assert branch.state == raw.state
    assert (duplicate, first, timestamp) == (0, 1, '"2026-03-01T12:00:00Z"')
    head = branch.lookup("head")
    assert head is not None
    assert (head["version"], head["op"], head["actor"], head["id"], head["patch"]) == (1, "import", "me", "fork", None)
    assert (head["committed_at"], head["timestamp"]) == (committed_at, "2026-03-01T12:00:00Z")
    assert epoch != raw.meta_of("epoch")
    assert branch.lookup("time", "2026-03-01T12:00:00Z") == head
    assert branch.lookup("time", "2026-03-01T11:59:59Z") is None


@pytest.mark.parametrize("form", ["full", "compact"])
def test_a_state_of_the_past(raw: RawTwin, branch: RawTwin, form: str) -> None:
    """Of any version that the history has, in both forms of it."""
    raw.configure(settings=f'{{"history":"{form}"}}')
    for n in range(5):
        raw.merge(f'{{"n":{n}.0,"pad":"{"x" * 50}"}}')
    forked(raw, 3)
    assert json.loads(branch.state) == {"n": 2.0, "pad": "x" * 50}
    origin = json.loads(raw.client.get(branch.keys.origin) or "")
    assert (origin["twin"], origin["epoch"], origin["version"]) == (raw.keys.twin, raw.meta_of("epoch"), 3)
    assert origin["state"] == {"n": 2.0, "pad": "x" * 50}
    assert origin["committed_at"] == raw.lookup("version", 3)["committed_at"]  # type: ignore[index]


def test_it_is_a_twin_of_its_own(raw: RawTwin, branch: RawTwin) -> None:
    """Commits to one change nothing of the other; the branch has the settings, the model and the rules."""
    model = {"model": "M", "model_hash": "h", "checks": "server", "validation": "standard"}
    raw.configure("publish", settings='{"history_length":7,"max_bytes":5000}', model=model, rules=RULES)
    raw.set('{"n":1}', model="h")
    forked(raw)
    before = raw.dump()
    branch.merge('{"n":2}', model="h")
    with branch.refused("INVALID"):
        branch.merge('{"n":-1}', model="h")
    assert (branch.meta_of("history_length"), branch.meta_of("max_bytes")) == ("7", "5000")
    assert branch.client.get(branch.keys.schema) == raw.client.get(raw.keys.schema)
    assert [entry["version"] for entry in branch.commits()] == [2, 1]
    assert raw.dump()[0] == before[0]
    raw.merge('{"n":3}', model="h")
    assert json.loads(branch.state)["n"] == 2


def test_it_is_announced_on_the_channel_of_the_branch(raw: RawTwin, branch: RawTwin) -> None:
    """As an import, under the branch's name; a large state is left out."""
    raw.set('{"n":1}')
    with branch.listening() as events, raw.listening() as others:
        forked(raw)
    assert others == []
    (event,) = events
    assert (event["twin"], event["version"], event["op"]) == (f"{raw.keys.twin}@{BRANCH}", 1, "import")
    assert event["state"] == {"n": 1}


def test_a_large_state_is_left_out_of_the_event(raw: RawTwin, branch: RawTwin) -> None:
    raw.set(json.dumps({"pad": "x" * 40_000}))
    with branch.listening() as events:
        forked(raw)
    assert events[0]["body"] == "omitted"
    assert "state" not in events[0]


def test_said_again_it_returns_the_same(raw: RawTwin, branch: RawTwin) -> None:
    """Whatever became of the branch meanwhile."""
    raw.set('{"n":1}')
    first = forked(raw)
    branch.merge('{"n":2}')
    assert forked(raw) == [first[0], 1, *first[2:]]
    assert json.loads(branch.state) == {"n": 2}


def test_there_is_one_already(raw: RawTwin, branch: RawTwin) -> None:
    """It stays as it is; so does whatever else stands in one of its keys."""
    raw.set('{"n":1}')
    forked(raw)
    with branch.refused("CONFLICT") as refusal:
        forked(raw, commit_id="other")
    assert refusal.details == {"expected": 0, "actual": 1}
    raw.client.delete(*branch.keys.stored.values())
    with branch.refused("CONFLICT"):
        forked(raw, commit_id="other")


@pytest.mark.parametrize("version", ["", "1", "4", "9"])
def test_no_state_to_begin_with(raw: RawTwin, branch: RawTwin, version: str) -> None:
    """There is no twin; or that version never was, or has left the history."""
    if version:
        raw.configure(settings='{"history_length":1}')
        for n in range(3):
            raw.set(f'{{"n":{n}}}')
    with branch.refused("NO_STATE"):
        forked(raw, version)


@pytest.mark.parametrize(
    "args",
    [
        ("x", "id", "", ""),
        ("0", "id", "", ""),
        ("-1", "id", "", ""),
        ("1" * 16, "id", "", ""),
        ("", "", "", ""),
        ("", "x" * 129, "", ""),
        ("", "id", b"\xff", ""),
        ("", "id", "", "{"),
    ],
)
def test_junk_is_refused(raw: RawTwin, branch: RawTwin, args: tuple[Any, ...]) -> None:
    raw.set("{}")
    with branch.refused("BAD_JSON"):
        raw.call("fork", *args)


def test_a_damaged_twin_has_no_branches(raw: RawTwin, branch: RawTwin) -> None:
    raw.set('{"n":1}')
    raw.client.set(raw.keys.state, "junk")
    with branch.refused("CORRUPT"):
        forked(raw)


def test_deleting_the_branch_leaves_nothing(raw: RawTwin, branch: RawTwin) -> None:
    """And the twin as it is."""
    raw.set('{"n":1}')
    before = raw.dump()
    forked(raw)
    assert branch.call("delete", "") == 1
    assert raw.dump() == before
