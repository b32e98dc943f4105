"""What a commit publishes, in the shape of docs/wire.md."""

from __future__ import annotations

import json

import pytest

from tests.lua.support import RawTwin

MOST = 32 * 1024


def test_a_merge_publishes_its_patch(raw: RawTwin) -> None:
    """The contract's members, no others."""
    raw.set('{"a":1}')
    with raw.listening() as events:
        reply = raw.merge('{"a":null,"timestamp":"2026-01-01T00:00:00Z"}', actor="worker-3", commit_id="c1")
    assert events == [
        {
            "twin": raw.keys.twin,
            "epoch": reply.epoch,
            "version": 2,
            "op": "merge",
            "actor": "worker-3",
            "id": "c1",
            "timestamp": "2026-01-01T00:00:00Z",
            "committed_at": reply.committed_at,
            "patch": {"a": None, "timestamp": "2026-01-01T00:00:00Z"},
        }
    ]


@pytest.mark.parametrize("op", ["set", "import"])
def test_a_set_publishes_its_state(raw: RawTwin, op: str) -> None:
    """In the place of the patch; without an actor and an id these are null."""
    with raw.listening() as events:
        raw.commit('{"a":[1.50]}', op=op)
    (event,) = events
    assert event["state"] == {"a": [1.50]}
    assert "patch" not in event
    assert (event["op"], event["version"], event["actor"], event["id"]) == (op, 1, None, None)
    assert event["timestamp"] is None


def test_an_adjust_publishes_the_patch_with_the_sums(raw: RawTwin) -> None:
    """So that a subscriber needs no arithmetic."""
    raw.set('{"a":{"n":1}}')
    with raw.listening() as events:
        raw.commit('{"/a/n":2}', op="adjust")
    assert (events[0]["op"], events[0]["patch"]) == ("adjust", {"a": {"n": 3}})


def test_the_stamp_is_part_of_the_patch(stamped: RawTwin) -> None:
    """A subscriber that applies the patches has the server's timestamps too."""
    stamped.set("{}")
    with stamped.listening() as events:
        reply = stamped.merge('{"a":1}')
    assert events[0]["patch"] == {"a": 1, "timestamp": reply.committed_at}
    assert events[0]["timestamp"] == reply.committed_at


def test_a_batch_publishes_one_event_per_commit(raw: RawTwin) -> None:
    """In the order of the versions, each with its own id."""
    with raw.listening() as events:
        raw.commit('{"n":1}', '{"n":2}', '{"n":3}', commit_id="b")
    assert [(event["version"], event["id"], event["patch"]) for event in events] == [
        (1, "b#1", {"n": 1}),
        (2, "b#2", {"n": 2}),
        (3, "b#3", {"n": 3}),
    ]


def test_a_refused_commit_publishes_nothing(raw: RawTwin) -> None:
    """Nor does any part of a refused batch."""
    with raw.listening() as events, raw.refused("BAD_JSON"):
        raw.commit('{"n":1}', "{", '{"n":3}')
    assert events == []


@pytest.mark.parametrize("op", ["set", "merge"])
def test_a_message_over_32_kib_leaves_its_body_out(raw: RawTwin, op: str) -> None:
    """One of exactly 32 KiB has it; one byte more, and it says that it has none."""
    with raw.listening() as events:
        raw.commit('{"a":""}', op=op)
    room = MOST - events[0].size
    for text, has_body in (("x" * room, True), ("x" * (room + 1), False), ("é" * (room // 2 + 1), False)):
        raw.call("delete", "")
        raw.meta(auto_timestamp="0")
        with raw.listening() as events:
            raw.commit('{"a":"' + text + '"}', op=op)
        (event,) = events
        assert (("state" if op == "set" else "patch") in event) == has_body
        assert event.get("body") == (None if has_body else "omitted")
        assert event["version"] == 1
        if has_body:
            assert event.size == MOST
        else:
            assert "state" not in event
            assert "patch" not in event
            assert event.size < 1024


def test_large_and_small_events_of_a_batch(raw: RawTwin) -> None:
    """Each message is judged by itself."""
    big = json.dumps({"b": "x" * MOST})
    with raw.listening() as events:
        raw.commit('{"a":1}', big, '{"c":1}')
    assert [event.get("body") for event in events] == [None, "omitted", None]


def test_events_carry_the_stored_text(raw: RawTwin) -> None:
    """Digits and empty arrays reach the subscribers as they were written."""
    with raw.client.pubsub() as channel:
        channel.subscribe(raw.keys.events)
        channel.get_message(timeout=10)
        raw.set('{ "n" : 1.50, "e" : [], "o" : {}, "big" : 12345678901234567890 }')
        message = channel.get_message(timeout=10)["data"]
    assert message.endswith(b',"state":{"n":1.50,"e":[],"o":{},"big":12345678901234567890}}')
