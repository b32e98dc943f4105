"""clear.lua and delete.lua: what goes, what stays, and what the channel is told."""

from __future__ import annotations

import json

import pytest

from tests.lua.support import STORED, RawTwin

OTHER = "not-ours"


@pytest.fixture
def three(raw: RawTwin) -> RawTwin:
    """Versions 1 to 3 with rules, a schema and two generations of ids."""
    raw.constants["ID_WINDOW"] = 2
    raw.configure(model={"model": "M", "model_hash": "h", "checks": "server", "validation": "standard"})
    for n in range(1, 4):
        raw.set(f'{{"n":{n},"timestamp":"2026-01-01T00:00:0{n}Z"}}', commit_id=str(n))
    assert raw.client.exists(*(getattr(raw.keys, name) for name in STORED if name != "rules")) == 7
    return raw


def fields(pairs: list[bytes]) -> set[tuple[bytes, bytes]]:
    """What HGETALL said of a hash."""
    return set(pairs.items()) if isinstance(pairs, dict) else set(zip(pairs[::2], pairs[1::2], strict=True))


def test_clear_removes_the_history_and_nothing_else(three: RawTwin) -> None:
    """State, version, epoch, settings, model and ids stay as they are; the number of entries is returned."""
    before, _ = three.dump()
    assert three.call("clear", "") == 2
    after, _ = three.dump()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {three.keys.history, three.keys.times, three.keys.meta}
    # What meta says of the number of entries; all else in it stays.
    assert fields(before[three.keys.meta]) ^ fields(after[three.keys.meta]) == {(b"entries", b"2"), (b"entries", b"0")}
    assert three.client.exists(three.keys.history) == 0
    assert three.client.zrange(three.keys.times, 0, -1) == [b"3"]
    assert three.merge("{}").first == 4
    assert [entry["version"] for entry in three.history] == [3]


def test_clear_is_announced(three: RawTwin) -> None:
    """With the version that it happened at, who did it and when."""
    with three.listening() as events:
        three.call("clear", "operator é")
    (event,) = events
    committed_at = event.pop("committed_at")
    assert event == {
        "twin": three.keys.twin,
        "epoch": three.meta_of("epoch"),
        "version": 3,
        "op": "clear",
        "actor": "operator é",
    }
    assert committed_at >= json.loads(three.meta_of("head"))["committed_at"]


def test_clear_twice(three: RawTwin) -> None:
    """The second time there is nothing to remove; it is announced all the same."""
    three.call("clear", "")
    with three.listening() as events:
        assert three.call("clear", "") == 0
    assert (events[0]["op"], events[0]["actor"]) == ("clear", None)


def test_clear_without_a_state(raw: RawTwin) -> None:
    """There is nothing to clear, and nobody is told."""
    before = raw.dump()
    with raw.listening() as events:
        assert raw.call("clear", "") == 0
    assert events == []
    assert raw.dump() == before


def test_look_ups_after_a_clear(three: RawTwin) -> None:
    """Only the head is left, and what is committed from then on."""
    three.call("clear", "")
    assert three.lookup("version", 2) is None
    assert three.lookup("time", "2026-01-01T00:00:02Z") is None
    three.set('{"timestamp":"2026-01-01T00:00:09Z"}')
    found = [three.lookup("time", f"2026-01-01T00:00:0{second}Z") for second in (2, 3, 8, 9)]
    assert [one and one["version"] for one in found] == [None, 3, 3, 4]


def test_a_time_before_a_clear_that_comes_again(raw: RawTwin) -> None:
    """A later version with an earlier time than the cleared ones holds from its time on."""
    for second in (10, 20):
        raw.set(f'{{"timestamp":"2026-01-01T00:00:{second}Z"}}')
    raw.call("clear", "")
    raw.set('{"timestamp":"2026-01-01T00:00:05Z"}')
    found = [raw.lookup("time", f"2026-01-01T00:00:{second:02d}Z") for second in (4, 5, 15, 20)]
    assert [one and one["version"] for one in found] == [None, 3, 3, 3]


def test_delete_removes_every_key(three: RawTwin) -> None:
    """And no other twin's; the version that it had is returned."""
    three.client.hset(three.keys.rules, "", "{}")
    other = RawTwin(three.client)
    other.set("{}")
    kept = other.dump()[0]
    three.client.set(OTHER, "x")
    assert three.call("delete", "") == 3
    assert three.dump()[0].keys() == {getattr(three.keys, name) for name in STORED}
    assert not any(three.dump()[0].values())
    assert other.dump()[0] == kept
    assert three.client.get(OTHER) == b"x"


def test_delete_is_announced(three: RawTwin) -> None:
    """With the epoch and the version that ended."""
    epoch = three.meta_of("epoch")
    with three.listening() as events:
        three.call("delete", "operator")
    (event,) = events
    assert event.keys() == {"twin", "epoch", "version", "op", "actor", "committed_at"}
    assert (event["twin"], event["epoch"], event["version"]) == (three.keys.twin, epoch, 3)
    assert (event["op"], event["actor"]) == ("delete", "operator")


def test_delete_of_nothing(raw: RawTwin) -> None:
    """Returns 0, and nobody is told; settings alone are something."""
    raw.client.delete(raw.keys.meta)
    with raw.listening() as events:
        assert raw.call("delete", "") == 0
    assert events == []
    raw.meta(history_length=5)
    with raw.listening() as events:
        assert raw.call("delete", "") == 0
    assert (events[0]["op"], events[0]["version"], events[0]["epoch"]) == ("delete", 0, "")
    assert raw.client.exists(raw.keys.meta) == 0


JUNK_META = [
    {"version": "x", "epoch": "e", "committed": "1"},
    {"version": "3", "epoch": 'a"b\\\n{', "committed": "1"},
    {"version": "3", "epoch": "e", "committed": "x"},
    {"version": "nan", "epoch": "\0", "committed": "inf"},
    {"epoch": "e"},
    {"other": "x"},
]


@pytest.mark.parametrize("meta", JUNK_META, ids=str)
def test_delete_works_whatever_the_keys_hold(raw: RawTwin, meta: dict[str, str]) -> None:
    """A twin that is corrupt can be deleted, and the event is JSON."""
    for key in STORED:
        raw.client.delete(getattr(raw.keys, key))
        raw.client.sadd(getattr(raw.keys, key), "x")
    raw.client.delete(raw.keys.meta)
    raw.client.hset(raw.keys.meta, mapping=meta)
    with raw.listening() as events:
        raw.call("delete", "")
    assert [event["op"] for event in events] == ["delete"]
    assert not any(raw.dump()[0].values())
    raw.client.sadd(raw.keys.meta, "x")
    with raw.listening() as events:
        assert raw.call("delete", "") == 0
    assert len(events) == 1


@pytest.mark.parametrize("name", ["clear", "delete"])
@pytest.mark.parametrize("actor", ['"', "\\", "{}", "line\nend", "é😀", "\x00\x1f", "x" * 128], ids=ascii)
def test_actors_are_quoted(raw: RawTwin, name: str, actor: str) -> None:
    """Any text of 128 bytes reaches the subscribers as it was given."""
    raw.set("{}")
    with raw.listening() as events:
        raw.call(name, actor)
    assert events[0]["actor"] == actor


@pytest.mark.parametrize("name", ["clear", "delete"])
@pytest.mark.parametrize("actor", ["x" * 129, b"\xff", b"\xed\xa0\x80"], ids=ascii)
def test_an_actor_is_128_bytes_of_utf8(raw: RawTwin, name: str, actor: str | bytes) -> None:
    """As for a commit: an event has to be JSON."""
    raw.set("{}")
    with raw.refused("BAD_JSON"):
        raw.call(name, actor)


@pytest.mark.parametrize("name", ["clear", "delete"])
def test_the_time_of_a_notice_is_never_before_the_last_commit(raw: RawTwin, name: str) -> None:
    """Like that of a commit, it is after it."""
    raw.set("{}")
    raw.meta(committed=4_102_444_800_000_000)
    with raw.listening() as events:
        raw.call(name, "")
    assert events[0]["committed_at"] == "2100-01-01T00:00:00.000001Z"
