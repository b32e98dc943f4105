"""What a commit makes: versions, epochs, the head's facts, the history; and what it is refused for."""

from __future__ import annotations

import json
import re

import pytest

from circman_redis.timestamps import parse_timestamp
from tests.lua.support import RawTwin

ODD_NAMES = [
    'a "quoted" one',
    "back\\slash",
    "{[]}",
    "line\nend\r\t\x00\x1f\x7f",
    "é😀\u2028",
    "x" * 128,
    "é" * 64,
    "a#b",
    "%s%d",
    "null",
    "CIRCMAN_CONFLICT {}",
]


def test_versions_are_contiguous_and_the_epoch_stays(raw: RawTwin) -> None:
    """1, 2, 3 ... whatever the operation."""
    replies = [
        raw.set('{"a":1}'),
        raw.merge('{"a":2}'),
        raw.adjust(a="1"),
        raw.commit('{"a":9}', op="import"),
        raw.merge("{}"),
    ]
    assert [reply.first for reply in replies] == [1, 2, 3, 4, 5]
    assert len({reply.epoch for reply in replies}) == 1
    assert re.fullmatch(r"[0-9A-Za-z]{12,32}", replies[0].epoch)
    assert [reply.duplicate for reply in replies] == [0] * 5
    assert raw.meta_of("epoch") == replies[0].epoch
    assert raw.version == 5


def test_a_twin_made_again_has_another_epoch(raw: RawTwin) -> None:
    """Also with the same commit id, state and name."""
    epochs = set()
    for _ in range(5):
        epochs.add(raw.set("{}", commit_id="same").epoch)
        raw.call("delete", "")
    assert len(epochs) == 5


def test_twins_have_different_epochs(raw: RawTwin) -> None:
    """Two twins made at the same time too."""
    other = RawTwin(raw.client)
    assert raw.set("{}").epoch != other.set("{}").epoch


def test_expected_version(raw: RawTwin) -> None:
    """0 is 'no state yet'; the right one passes; the others are refused with both numbers."""
    with raw.refused("CONFLICT") as refusal:
        raw.set("{}", expected=1)
    assert refusal.details == {"expected": 1, "actual": 0}
    raw.set("{}", expected=0)
    raw.merge("{}", expected=1)
    for wrong in (0, 1, 3, 2**53, 10**30):
        with raw.refused("CONFLICT") as refusal:
            raw.merge("{}", expected=wrong)
        assert refusal.details == {"expected": wrong, "actual": 2}
    raw.merge("{}", expected=2)


JUNK_VERSIONS = [
    "x",
    "-1",
    "1.0",
    "1.5",
    "0x1",
    " 1",
    "1 ",
    "1e0",
    "01",
    "+1",
    "nan",
    "inf",
    "-inf",
    '"',
    "1\n",
    "é",
    "{}",
]


@pytest.mark.parametrize("junk", JUNK_VERSIONS)
def test_an_expected_version_that_is_no_version_is_a_conflict(raw: RawTwin, junk: str) -> None:
    """No text but the version's own digits passes for it, and the error is JSON."""
    raw.set("{}")
    with raw.refused("CONFLICT") as refusal:
        raw.merge("{}", expected=junk)
    assert str(refusal.details["expected"]) == junk
    assert refusal.details["actual"] == 1


def test_a_history_entry_has_the_facts_of_its_commit(raw: RawTwin) -> None:
    """Each with its own author, id, time, patch and state: the wire format's members, in its order."""
    first = raw.set('{"a":1,"timestamp":"2026-01-01T00:00:00Z"}', actor="anna", commit_id="i1")
    second = raw.merge('{"a":2}', actor="ben", commit_id="i2")
    raw.commit('{"/a":1}', op="adjust")
    newest, oldest = raw.client.lrange(raw.keys.history, 0, -1)
    assert json.loads(oldest) == {
        "version": 1,
        "timestamp": "2026-01-01T00:00:00Z",
        "committed_at": first.committed_at,
        "op": "set",
        "actor": "anna",
        "id": "i1",
        "patch": None,
        "state": {"a": 1, "timestamp": "2026-01-01T00:00:00Z"},
    }
    assert newest.decode() == (
        '{"version":2,"timestamp":"2026-01-01T00:00:00Z","committed_at":"' + second.committed_at + '",'
        '"op":"merge","actor":"ben","id":"i2","patch":{"a":2},'
        '"state":{"a":2,"timestamp":"2026-01-01T00:00:00Z"}}'
    )
    head = json.loads(raw.meta_of("head"))
    assert (head["version"], head["op"], head["actor"], head["id"]) == (3, "adjust", None, None)
    assert head["patch"] == {"a": 3}


def test_states_in_the_history_keep_their_bytes(raw: RawTwin) -> None:
    """A superseded state is the text that it was."""
    odd = r'{"n":1.50,"big":12345678901234567890,"e":[],"o":{},"s":"\u0022\u007b","neg":-0.0}'
    raw.set(odd)
    raw.set("{}")
    assert raw.client.lindex(raw.keys.history, 0).decode().endswith(',"state":' + odd + "}")


def test_the_history_is_capped(raw: RawTwin) -> None:
    """It keeps the newest of the superseded commits, as many as history_length says."""
    raw.meta(history_length=3)
    for n in range(1, 8):
        raw.set(f'{{"n":{n}}}')
        kept = [entry["version"] for entry in raw.history]
        assert kept == list(range(n - 1, max(0, n - 4), -1))
        assert [entry["state"]["n"] for entry in raw.history] == kept


def test_the_history_is_a_thousand_entries_unless_configured(raw: RawTwin) -> None:
    """The thousand-and-first pushes the oldest out."""
    for _ in range(2):
        raw.commit(*["{}"] * 600)
    assert raw.client.llen(raw.keys.history) == 1000
    assert [raw.history[0]["version"], raw.history[-1]["version"]] == [1199, 200]


def test_meta_describes_the_head(raw: RawTwin) -> None:
    """What read-only programs may rely on."""
    reply = raw.set('{"timestamp":"1970-01-01T00:00:01Z"}', actor="a")
    assert raw.meta_of("version") == "1"
    assert raw.meta_of("epoch") == reply.epoch
    assert raw.meta_of("bytes") == str(len(raw.state))
    assert raw.meta_of("stamp") == "1000000"
    assert raw.meta_of("calls") == "1"
    assert json.loads(raw.meta_of("head"))["committed_at"] == reply.committed_at


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_actor_and_id_are_kept_to_the_byte(raw: RawTwin, name: str) -> None:
    """Whatever characters they have; in the head, the history, the event, and when the id comes again."""
    with raw.listening() as events:
        reply = raw.set("{}", actor=name, commit_id=name)
    raw.merge("{}")
    assert (raw.history[0]["actor"], raw.history[0]["id"]) == (name, name)
    assert (events[0]["actor"], events[0]["id"]) == (name, name)
    assert raw.set("{}", commit_id=name) == reply._replace(duplicate=1)


@pytest.mark.parametrize("name", ["x" * 129, "é" * 65, b"\xff", b"a\xc3", b"\xed\xa0\x80"], ids=ascii)
@pytest.mark.parametrize("place", ["actor", "commit_id"])
def test_actor_and_id_are_128_bytes_of_utf8(raw: RawTwin, name: str | bytes, place: str) -> None:
    """Longer ones, and other bytes, are refused."""
    with raw.refused("BAD_JSON"):
        raw.set("{}", **{place: name})


@pytest.mark.parametrize("op", ["", "SET", "patch", "set ", 'a"b', "é"])
def test_an_unknown_op_is_refused(raw: RawTwin, op: str) -> None:
    """The error names it."""
    with raw.refused("BAD_JSON") as refusal:
        raw.commit("{}", op=op)
    assert op in refusal.details["reason"]


@pytest.mark.parametrize("age", ["", "x", "-1", "1.5", "1e3", "nan", "0x1", " 1"])
def test_an_age_that_is_no_number_of_milliseconds_is_refused(raw: RawTwin, age: str) -> None:
    """Before anything is looked at."""
    with raw.refused("BAD_JSON"):
        raw.set("{}", age=age, commit_id="a")


def test_a_call_without_a_body_is_refused(raw: RawTwin) -> None:
    """And one with more bodies than a call may have; a thousand are fine."""
    with raw.refused("TOO_LARGE") as refusal:
        raw.commit()
    assert refusal.details == {"commits": 0, "most": 1000}
    with raw.refused("TOO_LARGE") as refusal:
        raw.commit(*["{}"] * 1001)
    assert refusal.details == {"commits": 1001, "most": 1000}
    assert len(raw.commit(*["{}"] * 1000).timestamps) == 1000


def test_a_call_without_arguments_is_refused(raw: RawTwin) -> None:
    """An error that names what is missing, as for any other call without a body."""
    with raw.refused("BAD_JSON"):
        raw.call("commit")
    with raw.refused("BAD_JSON"):
        raw.call("commit", "merge", "", "")
    with raw.refused("TOO_LARGE"):
        raw.call("commit", "merge", "", "", "", "", 0, "")


def test_a_batch_is_one_commit_per_body(raw: RawTwin) -> None:
    """Versions in a row, each with its own state, id and place in the history; one reply."""
    raw.set('{"n":0}')
    reply = raw.commit('{"n":1,"timestamp":"2026-01-01T00:00:01Z"}', '{"m":2}', '{"n":null}', commit_id="batch")
    assert reply.first == 2
    assert reply.timestamps == ('"2026-01-01T00:00:01Z"',) * 3
    assert raw.version == 4
    assert [entry["version"] for entry in raw.history] == [3, 2, 1]
    assert [entry["id"] for entry in raw.history] == ["batch#2", "batch#1", None]
    assert [entry["patch"] for entry in raw.history] == [
        {"m": 2},
        {"n": 1, "timestamp": "2026-01-01T00:00:01Z"},
        None,
    ]
    assert [entry["state"].get("n") for entry in raw.history] == [1, 1, 0]
    assert json.loads(raw.state) == {"timestamp": "2026-01-01T00:00:01Z", "m": 2}
    assert json.loads(raw.meta_of("head"))["id"] == "batch#3"


def test_a_batch_without_an_id_has_none(raw: RawTwin) -> None:
    """And a batch of one has the id itself."""
    raw.commit("{}", "{}", "{}")
    assert [entry["id"] for entry in raw.history] == [None, None]
    raw.commit("{}", commit_id="one")
    assert json.loads(raw.meta_of("head"))["id"] == "one"


@pytest.mark.parametrize("op", ["set", "import", "merge"])
def test_a_first_batch_makes_the_twin(raw: RawTwin, op: str) -> None:
    """Version 1 is the first body's."""
    assert raw.commit('{"a":1}', '{"b":2}', op=op).first == 1
    assert [entry["state"] for entry in raw.history] == [{"a": 1}]
    assert json.loads(raw.state) == ({"a": 1, "b": 2} if op == "merge" else {"b": 2})


def test_a_batch_is_longer_than_the_history(raw: RawTwin) -> None:
    """The newest of it stay."""
    raw.meta(history_length=2)
    raw.commit(*[f'{{"n":{n}}}' for n in range(1, 11)])
    assert [entry["version"] for entry in raw.history] == [9, 8]


BAD_THIRDS = {
    "BAD_JSON": "{",
    "INVALID": '{"a":"x"}',
    "TOO_LARGE": '{"b":"' + "x" * 100 + '"}',
}


@pytest.mark.parametrize("code", BAD_THIRDS)
@pytest.mark.parametrize("made", [True, False], ids=["a twin", "no twin yet"])
def test_a_batch_is_all_or_none(raw: RawTwin, code: str, made: bool) -> None:
    """The third of five is refused: none of the five is committed, not even remembered."""
    raw.meta(max_bytes=90)
    raw.bind({"": {"type": "object"}, "/a": {"type": "integer"}})
    if made:
        raw.set('{"a":0}')
    with raw.refused(code):
        raw.commit('{"a":1}', '{"a":2}', BAD_THIRDS[code], '{"a":4}', '{"a":5}', commit_id="b")
    assert raw.commit('{"a":1}', commit_id="b").duplicate == 0


def test_a_batch_that_breaks_rules_on_the_way_is_refused(raw: RawTwin) -> None:
    """Each commit of a batch keeps to the rules, not only the last."""
    raw.bind({"": {"type": "object"}, "/a": {"maximum": 5}})
    with raw.refused("INVALID"):
        raw.commit('{"a":6}', '{"a":5}')


def test_committed_at_is_the_servers_clock(raw: RawTwin) -> None:
    """UTC with microseconds and Z, between two looks at the clock."""
    before = raw.client.time()
    reply = raw.set("{}")
    after = raw.client.time()
    moment = parse_timestamp(reply.committed_at)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", reply.committed_at)
    us = int(raw.meta_of("committed"))
    assert before[0] * 1_000_000 + before[1] <= us <= after[0] * 1_000_000 + after[1]
    assert int(moment.timestamp()) == us // 1_000_000
    assert moment.microsecond == us % 1_000_000
