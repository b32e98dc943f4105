"""The state's own timestamp, the server's stamp, and the order of commits in time."""

from __future__ import annotations

import json

import pytest

from circman_redis.timestamps import microseconds, parse_timestamp
from tests.lua.support import RawTwin

OWN = "2026-01-01T00:00:00+01:00"


@pytest.mark.parametrize("op", ["set", "import", "merge"])
def test_a_commit_without_a_timestamp_is_stamped(stamped: RawTwin, op: str) -> None:
    """With the time of the commit; it goes to the end, or to the place that a timestamp has."""
    reply = stamped.commit('{"a":1}', op=op)
    assert stamped.state == f'{{"a":1,"timestamp":"{reply.committed_at}"}}'
    assert reply.timestamps == (f'"{reply.committed_at}"',)
    reply = stamped.merge('{"b":2}')
    assert stamped.state == f'{{"a":1,"timestamp":"{reply.committed_at}","b":2}}'


def test_an_empty_commit_is_stamped_too(stamped: RawTwin) -> None:
    """A merge of nothing says: it is still so."""
    reply = stamped.set("{}")
    assert stamped.state == f'{{"timestamp":"{reply.committed_at}"}}'
    later = stamped.merge("{}")
    assert json.loads(stamped.state) == {"timestamp": later.committed_at}


def test_an_adjust_is_stamped(stamped: RawTwin) -> None:
    """Like any commit that names no time."""
    stamped.set(f'{{"timestamp":"{OWN}","a":1}}')
    reply = stamped.adjust(a="1")
    assert stamped.state == f'{{"timestamp":"{reply.committed_at}","a":2}}'


@pytest.mark.parametrize("op", ["set", "import", "merge"])
def test_an_own_timestamp_is_kept_as_it_was_written(stamped: RawTwin, op: str) -> None:
    """Text and all; the reply and the history have it too."""
    reply = stamped.commit(f'{{"timestamp":"{OWN}","a":1}}', op=op)
    assert stamped.state == f'{{"timestamp":"{OWN}","a":1}}'
    assert reply.timestamps == (f'"{OWN}"',)
    stamped.merge("{}")
    assert stamped.history[0]["timestamp"] == OWN
    assert stamped.history[0]["committed_at"] == reply.committed_at


@pytest.mark.parametrize("op", ["set", "merge"])
def test_a_null_timestamp_counts_as_none(stamped: RawTwin, op: str) -> None:
    """It is replaced, in its place."""
    reply = stamped.commit('{"timestamp":null,"a":{"b":null}}', op=op)
    rest = '{"b":null}' if op == "set" else "{}"
    assert stamped.state == f'{{"timestamp":"{reply.committed_at}","a":{rest}}}'
    reply = stamped.merge('{"timestamp":null}')
    assert json.loads(stamped.state)["timestamp"] == reply.committed_at


def test_only_the_roots_timestamp_counts(stamped: RawTwin) -> None:
    """One further down is a value like others."""
    reply = stamped.set(f'{{"a":{{"timestamp":"{OWN}"}}}}')
    assert stamped.state == f'{{"a":{{"timestamp":"{OWN}"}},"timestamp":"{reply.committed_at}"}}'
    assert stamped.meta_of("stamp") == stamped.meta_of("committed")


def test_an_escaped_name_is_the_same_name(stamped: RawTwin) -> None:
    """A timestamp that was written with escapes is not stamped over."""
    stamped.set(f'{{"\\u0074imestamp":"{OWN}"}}')
    assert stamped.state == f'{{"timestamp":"{OWN}"}}'


OTHERS = {
    "5": "5",
    "1740407422.123456": "1740407422.123456",
    "true": "true",
    '"yesterday"': '"yesterday"',
    '""': '""',
    '"\\u007b\\n"': '"\\u007b\\n"',
    "[]": "null",
    '["x"]': "null",
    "{}": "null",
    '{"at":"x"}': "null",
}


@pytest.mark.parametrize("text", OTHERS)
@pytest.mark.parametrize("op", ["set", "merge"])
def test_a_timestamp_that_names_no_time_is_kept(stamped: RawTwin, text: str, op: str) -> None:
    """Scalars are told as they are, others as null; for look-ups the commit's own time stands in."""
    reply = stamped.commit(f'{{"timestamp":{text}}}', op=op)
    assert stamped.state == f'{{"timestamp":{text}}}'
    assert reply.timestamps == (OTHERS[text],)
    assert stamped.meta_of("stamp") == stamped.meta_of("committed")
    stamped.set("{}")
    assert stamped.history[0]["timestamp"] == json.loads(OTHERS[text])
    assert stamped.history[0]["state"] == {"timestamp": json.loads(text)}


def test_without_auto_timestamp_nothing_is_stamped(raw: RawTwin) -> None:
    """A state may then have no time; a merge keeps the one that is there, and null removes it."""
    assert raw.set('{"a":1}').timestamps == ("null",)
    assert raw.merge(f'{{"timestamp":"{OWN}"}}').timestamps == (f'"{OWN}"',)
    assert raw.merge('{"b":1}').timestamps == (f'"{OWN}"',)
    assert raw.merge('{"timestamp":null}').timestamps == ("null",)
    assert raw.state == '{"a":1,"b":1}'
    assert raw.set('{"timestamp":null}').timestamps == ("null",)
    assert raw.state == '{"timestamp":null}'


def test_the_stamp_keeps_to_the_rules(stamped: RawTwin) -> None:
    """A model that knows no timestamp, at strict, refuses it."""
    stamped.bind({"": {"type": "object", "additionalProperties": False}, "/a": {}}, "strict")
    with stamped.refused("INVALID") as refusal:
        stamped.set('{"a":1}')
    assert refusal.violations == [("/timestamp", "additionalProperties")]


def test_one_time_for_a_whole_batch(stamped: RawTwin) -> None:
    """All commits of a call have the call's time."""
    reply = stamped.commit('{"a":1}', '{"a":2}', '{"a":3}')
    assert set(reply.timestamps) == {f'"{reply.committed_at}"'}
    assert {entry["committed_at"] for entry in stamped.history} == {reply.committed_at}


def test_committed_at_never_runs_backwards(stamped: RawTwin) -> None:
    """Where the server's clock is behind the last commit, each is a microsecond after the one before it."""
    stamped.set("{}")
    stamped.meta(committed=microseconds(parse_timestamp("2199-12-31T23:59:59.999997Z")))
    for expected in ("2199-12-31T23:59:59.999998Z", "2199-12-31T23:59:59.999999Z", "2200-01-01T00:00:00.000000Z"):
        reply = stamped.merge("{}")
        assert reply.committed_at == expected
        assert json.loads(stamped.state)["timestamp"] == expected
    stamped.call("clear", "")
    assert stamped.merge("{}").committed_at == "2200-01-01T00:00:00.000001Z"


def test_commits_are_in_the_order_of_their_times(stamped: RawTwin) -> None:
    """Each later than, or at, the one before."""
    times = [stamped.merge("{}").committed_at for _ in range(50)]
    assert times == sorted(times)


def test_a_deleted_twin_starts_with_the_servers_clock(stamped: RawTwin) -> None:
    """The order of time is that of an epoch."""
    stamped.set("{}")
    stamped.meta(committed=microseconds(parse_timestamp("2199-01-01T00:00:00Z")))
    stamped.call("delete", "")
    assert stamped.set("{}").committed_at < "2190"


TIMES = {
    "2026-11-22T13:00:00Z": "2026-11-22T13:00:00Z",
    "2026-11-22T14:00:00+01:00": "2026-11-22T13:00:00Z",
    "2026-11-22T14:00:00+0100": "2026-11-22T13:00:00Z",
    "2026-11-22T14:00:00+01": "2026-11-22T13:00:00Z",
    "2026-11-22 13:00:00": "2026-11-22T13:00:00Z",
    "2026-11-22T07:30:00.000001-05:30": "2026-11-22T13:00:00.000001Z",
    "2026-11-22T13:00:00.9999999999Z": "2026-11-22T13:00:00.999999Z",
    "2024-02-29T23:59:59-00:00": "2024-02-29T23:59:59Z",
    "2000-02-29T00:00:00Z": "2000-02-29T00:00:00Z",
    "2000-03-01T00:00:00Z": "2000-03-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z": "1969-12-31T23:59:59.999999Z",
    "1900-03-01T00:00:00Z": "1900-03-01T00:00:00Z",
}


@pytest.mark.parametrize("text", TIMES)
def test_how_times_are_read(stamped: RawTwin, text: str) -> None:
    """With an offset, without one (UTC), finer than a microsecond (cut off), before 1970."""
    stamped.set(json.dumps({"timestamp": text}))
    assert int(stamped.meta_of("stamp")) == microseconds(parse_timestamp(TIMES[text]))


NO_TIMES = [
    "1900-02-29",
    "2023-02-29",
    "2100-02-29",
    "2026-04-31",
    "2026-13-01",
    "2026-00-10",
    "2026-01-32",
    "0000-01-01",
]


@pytest.mark.parametrize("day", NO_TIMES)
def test_days_that_no_calendar_has(stamped: RawTwin, day: str) -> None:
    """Are no time: the commit's own stands in."""
    stamped.set(json.dumps({"timestamp": f"{day}T00:00:00Z"}))
    assert stamped.meta_of("stamp") == stamped.meta_of("committed")


OUT_OF_RANGE = ["9999-12-31T23:00:00-01:00", "0001-01-01T00:59:59+01:00", "9999-12-31T23:59:59.999999-00:01"]
LOWER_CASE = ["2026-01-01t00:00:00Z", "2026-01-01T00:00:00z"]
ENDS = {"9999-12-31T23:59:59Z": 253402300799000000, "0001-01-01T01:00:00+01:00": -62135596800000000}


@pytest.mark.parametrize("text", OUT_OF_RANGE + LOWER_CASE)
def test_what_python_does_not_read_as_a_time(stamped: RawTwin, text: str) -> None:
    """In UTC too a time lies within the years 1 to 9999; T and Z are upper case."""
    with pytest.raises(ValueError, match="Invalid timestamp"):
        parse_timestamp(text)
    stamped.set(json.dumps({"timestamp": text}))
    assert stamped.meta_of("stamp") == stamped.meta_of("committed")


@pytest.mark.parametrize("text", ENDS)
def test_the_first_and_the_last_second(stamped: RawTwin, text: str) -> None:
    """Are times."""
    stamped.set(json.dumps({"timestamp": text}))
    assert int(stamped.meta_of("stamp")) == ENDS[text]
