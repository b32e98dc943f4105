"""A commit id makes a call safe to repeat: recognised, bounded, and honest when it no longer can tell."""

from __future__ import annotations

import json

import pytest

from circman_redis.timestamps import microseconds, parse_timestamp
from tests.lua.support import RawTwin, Reply

SECOND = 1_000_000


def assert_recognised(raw: RawTwin, first: Reply, *bodies: str, **how: object) -> None:
    """The call returns what the first one returned, changes nothing, and publishes nothing."""
    before = raw.dump()
    with raw.listening() as events:
        assert raw.commit(*bodies, **how) == first._replace(duplicate=1)
    assert raw.dump() == before
    assert events == []


@pytest.mark.parametrize("op", ["set", "import", "merge", "adjust"])
def test_a_repeated_call_returns_the_first_ones_result(raw: RawTwin, op: str) -> None:
    """Whatever the operation; the first call's time, version and timestamp, and not a byte is changed."""
    raw.set('{"a":1,"timestamp":"2026-01-01T00:00:00Z"}')
    body = '{"/a":1}' if op == "adjust" else '{"a":2}'
    first = raw.commit(body, op=op, commit_id="x")
    assert (first.duplicate, first.first) == (0, 2)
    assert_recognised(raw, first, body, op=op, commit_id="x")
    raw.merge('{"a":5,"timestamp":"2027-01-01T00:00:00Z"}', commit_id="y")
    assert_recognised(raw, first, body, op=op, commit_id="x")


def test_the_first_commit_of_a_twin_is_recognised(raw: RawTwin) -> None:
    """Also with the expected version that it had."""
    first = raw.set("{}", commit_id="x", expected=0)
    assert_recognised(raw, first, "{}", op="set", commit_id="x", expected=0)


def test_a_retry_is_recognised_before_anything_else_is_checked(raw: RawTwin) -> None:
    """A version that has passed, another model, rules, a body that is no JSON: the first result all the same."""
    first = raw.set('{"a":1}', commit_id="x")
    raw.bind({"": {"type": "object", "required": ["b"]}}, "strict")
    raw.meta(model_hash="h", checks="python", max_bytes=1)
    for how in ({"expected": 7}, {"expected": "junk"}, {"model": "other"}, {"age": 10**9}, {"op": "adjust"}):
        assert_recognised(raw, first, '{"a":1}', commit_id="x", **how)
    assert_recognised(raw, first, "{", commit_id="x")


def test_a_batch_is_recognised_as_a_whole(raw: RawTwin) -> None:
    """All its timestamps come back, and they may be any JSON."""
    odd = ['"a\\nb"', "5", "null", "true", '"é"', '"\\u0022,\\u005c"', "1.50"]
    first = raw.commit(*[f'{{"timestamp":{text}}}' for text in odd], op="set", commit_id="b")
    assert list(first.timestamps) == odd
    assert_recognised(raw, first, "{}", commit_id="b")
    assert raw.commit("{}", commit_id="b#1").duplicate == 0


def test_an_empty_id_is_not_remembered(raw: RawTwin) -> None:
    """A call without one commits again, and leaves no trace of ids."""
    assert [raw.set("{}").first for _ in range(3)] == [1, 2, 3]
    assert raw.client.exists(raw.keys.ids, raw.keys.old_ids) == 0


def test_a_refused_call_leaves_its_id_free(raw: RawTwin) -> None:
    """What was not committed is not remembered."""
    with raw.refused("BAD_JSON"):
        raw.set("{", commit_id="x")
    assert raw.set("{}", commit_id="x").duplicate == 0


def test_ids_are_those_of_one_twin(raw: RawTwin) -> None:
    """The same id on another twin is another commit, and a deleted twin has forgotten all."""
    raw.set("{}", commit_id="x")
    assert RawTwin(raw.client).set("{}", commit_id="x").duplicate == 0
    raw.call("delete", "")
    assert raw.set("{}", commit_id="x").duplicate == 0


def test_clearing_the_history_keeps_the_ids(raw: RawTwin) -> None:
    """A retry after a clear is still one."""
    first = raw.set("{}", commit_id="x")
    raw.call("clear", "")
    assert_recognised(raw, first, "{}", commit_id="x")


def test_an_id_is_remembered_for_one_to_two_windows(raw: RawTwin) -> None:
    """With a window of 4 calls: each of the last 4 is known at every moment, and never more than 8."""
    raw.constants["ID_WINDOW"] = 4
    replies = [raw.merge("{}", commit_id="0")]
    for n in range(1, 30):
        replies.append(raw.merge("{}", commit_id=str(n)))
        for known in range(max(0, n - 4), n + 1):
            assert raw.merge("{}", commit_id=str(known)) == replies[known]._replace(duplicate=1)
        assert raw.client.hlen(raw.keys.ids) + raw.client.hlen(raw.keys.old_ids) <= 8
    assert raw.version == 30


def test_duplicates_do_not_move_the_window(raw: RawTwin) -> None:
    """Only calls that commit count."""
    raw.constants["ID_WINDOW"] = 4
    first = raw.merge("{}", commit_id="x")
    for _ in range(20):
        assert raw.merge("{}", commit_id="x") == first._replace(duplicate=1)


def test_calls_without_ids_do_not_wipe_what_is_remembered(raw: RawTwin) -> None:
    """A window without ids drops nothing but the window itself: the ids before it are kept until new ones come."""
    raw.constants["ID_WINDOW"] = 4
    first = raw.merge("{}", commit_id="x")
    for _ in range(40):
        raw.merge("{}")
    assert raw.merge("{}", commit_id="x") == first._replace(duplicate=1)


def test_the_window_is_2048_calls(raw: RawTwin) -> None:
    """At the 2048th call the generations change; at the 4096th the first is forgotten."""
    raw.merge("{}", commit_id="first")
    raw.meta(calls=2046)
    raw.merge("{}", commit_id="before")
    assert raw.client.exists(raw.keys.old_ids) == 0
    raw.merge("{}", commit_id="rotates")
    assert raw.client.hkeys(raw.keys.old_ids) == [b"first", b"before"]
    assert raw.client.hkeys(raw.keys.ids) == [b"rotates"]
    raw.meta(calls=4095)
    raw.merge("{}", commit_id="again")
    assert raw.client.hkeys(raw.keys.old_ids) == [b"rotates"]
    assert raw.merge("{}", commit_id="first").duplicate == 0


def test_before_anything_was_forgotten_any_age_is_fine(raw: RawTwin) -> None:
    """A retry of a call that was never applied is applied, however old, while every id is still remembered."""
    raw.constants["ID_WINDOW"] = 4
    for n in range(7):  # one rotation: all ids are still there
        raw.merge("{}", commit_id=str(n))
    assert raw.merge("{}", commit_id="late", age=10**10).duplicate == 0


def test_a_retry_from_before_the_window_is_refused(raw: RawTwin) -> None:
    """It cannot be told whether it was applied: the error says since when that could be told."""
    raw.constants["ID_WINDOW"] = 4
    replies = [raw.merge("{}", commit_id=str(n)) for n in range(9)]  # rotates at the 4th and the 8th call
    with raw.refused("EXPIRED") as refusal:
        raw.merge("{}", commit_id="0", age=10_000)
    newest = microseconds(parse_timestamp(replies[8].committed_at))
    since = replies[3].committed_at
    assert refusal.details == {"id": "0", "remembered_since": since, "age": 10_000, "committed": newest}
    assert raw.merge("{}", commit_id="3", age=10_000) == replies[3]._replace(duplicate=1)


def test_the_age_is_what_decides(raw: RawTwin) -> None:
    """Younger than what is remembered: applied. Older: refused. Sent for the first time: applied."""
    seconds, _ = raw.client.time()
    raw.meta(ids_since=(seconds - 100) * SECOND)
    raw.merge("{}")
    assert raw.merge("{}", commit_id="young", age=90_000).duplicate == 0
    with raw.refused("EXPIRED"):
        raw.merge("{}", commit_id="old", age=110_000)
    assert raw.merge("{}", commit_id="new", age=0).duplicate == 0
    assert raw.merge("{}", commit_id="", age=110_000).duplicate == 0


def test_a_retry_that_was_refused_stays_refused(raw: RawTwin) -> None:
    """The attempt before it may arrive late, and meet another state: its caller was told that it was not made."""
    raw.bind({"/n": {"minimum": 0}})
    raw.set('{"n":1}')
    first = raw.error_of(lambda: raw.commit('{"/n":-2}', op="adjust", commit_id="late", age=5000))
    assert first.startswith("CIRCMAN_INVALID ")
    raw.set('{"n":9}')
    for age in (0, 6000):
        assert raw.error_of(lambda age=age: raw.commit('{"/n":-2}', op="adjust", commit_id="late", age=age)) == first
    conflict = raw.error_of(lambda: raw.merge("{}", commit_id="early", expected=5, age=1))
    for _ in range(3):
        raw.merge("{}")
    assert raw.error_of(lambda: raw.merge("{}", commit_id="early", expected=5)) == conflict
    assert (json.loads(raw.state)["n"], raw.version) == (9, 5)


def test_a_first_call_that_was_refused_may_be_made_later(raw: RawTwin) -> None:
    """Nothing of it is under way; of a retry neither, after a while."""
    raw.constants["LATE"] = 0
    raw.bind({"/n": {"minimum": 0}})
    raw.set('{"n":1}')
    with raw.refused("INVALID"):
        raw.commit('{"/n":-2}', op="adjust", commit_id="first")
    raw.error_of(lambda: raw.commit('{"/n":-2}', op="adjust", commit_id="again", age=1))
    raw.set('{"n":9}')
    assert raw.commit('{"/n":-2}', op="adjust", commit_id="first").duplicate == 0
    assert raw.commit('{"/n":-2}', op="adjust", commit_id="again", age=2).duplicate == 0


def test_an_id_says_when_it_was_made(raw: RawTwin) -> None:
    """So a retry from another process, which cannot say its age, is refused too; and a new id is not."""
    raw.constants["ID_WINDOW"] = 4
    replies = [raw.merge("{}", commit_id=f"c.{0:013x}.{n}") for n in range(7)]
    raw.merge("{}", commit_id="c.0000000000000.7")
    since, newest = (microseconds(parse_timestamp(replies[n].committed_at)) for n in (3, 6))
    for made in (0, since):
        with raw.refused("EXPIRED") as refusal:
            raw.merge("{}", commit_id=f"c.{made:013x}.new")
        assert refusal.details["age"] == 0
    assert raw.merge("{}", commit_id=f"c.{newest:013x}.new").duplicate == 0
    assert raw.merge("{}", commit_id="c.0000000000000.3").duplicate == 1
    assert raw.merge("{}", commit_id="c.of.mine").duplicate == 0


def test_a_clock_that_went_back_does_not_let_old_retries_in(raw: RawTwin) -> None:
    """The twin's time hardly moves then: a retry that is not recognised is too old to tell."""
    raw.constants["ID_WINDOW"] = 2
    far = 4_000_000_000 * SECOND
    raw.merge("{}", commit_id="a")
    raw.meta(committed=far)
    replies = [raw.merge("{}", commit_id=str(n)) for n in range(6)]
    assert [microseconds(parse_timestamp(reply.committed_at)) - far for reply in replies] == [1, 2, 3, 4, 5, 6]
    with raw.refused("EXPIRED"):
        raw.merge("{}", commit_id="a", age=1)


def test_a_clock_that_went_back_lets_new_ids_in(raw: RawTwin) -> None:
    """However many commits are made before it comes up to where it was."""
    raw.constants["ID_WINDOW"] = 2
    newest = 4_000_000_000 * SECOND
    raw.merge("{}")
    raw.meta(committed=newest)
    for n in range(12):
        reply = raw.merge("{}", commit_id=f"c.{newest:013x}.{n}")
        assert reply.duplicate == 0
        newest = microseconds(parse_timestamp(reply.committed_at))
