"""Keys that something else wrote or removed: refused and named, never guessed at, and left as they are."""

from __future__ import annotations

import json
import random

import pytest

from tests.lua.support import RawTwin, Refusal

WRONG_TYPES = {
    "string": lambda client, key: client.set(key, "x"),
    "list": lambda client, key: client.rpush(key, "x"),
    "hash": lambda client, key: client.hset(key, "x", "y"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "set": lambda client, key: client.sadd(key, "x"),
    "stream": lambda client, key: client.xadd(key, {"x": "y"}),
}
TYPES = {
    "state": "string",
    "history": "list",
    "meta": "hash",
    "rules": "hash",
    "ids": "hash",
    "old_ids": "hash",
    "times": "zset",
}


def full(raw: RawTwin) -> RawTwin:
    """A twin all of whose keys are there, with the first commit's id in the older generation."""
    raw.constants["ID_WINDOW"] = 3
    raw.bind({"": {"type": "object"}, "/a": {"type": "integer"}})
    for n in range(5):
        raw.set(f'{{"a":{n}}}', commit_id=f"id{n}")
    assert raw.client.exists(*(getattr(raw.keys, key) for key in TYPES)) == len(TYPES)
    return raw


def assert_names(refusal: Refusal, raw: RawTwin, key: str) -> None:
    assert refusal.details["key"] == getattr(raw.keys, key)
    assert refusal.details["reason"]


@pytest.mark.parametrize("key", TYPES)
@pytest.mark.parametrize("twin", ["a full twin", "no state yet"])
def test_a_key_of_the_wrong_type_is_named_and_nothing_is_written(raw: RawTwin, key: str, twin: str) -> None:
    """Whichever key of the twin it is, whatever it holds, and whether there is a state or not."""
    if twin == "a full twin":
        full(raw)
    name = getattr(raw.keys, key)
    for wrong in WRONG_TYPES.keys() - {TYPES[key]}:
        raw.client.delete(name)
        WRONG_TYPES[wrong](raw.client, name)
        for op, bodies in (("merge", ["{}"]), ("set", ['{"a":1}', '{"a":2}', '{"a":3}'])):
            with raw.refused("CORRUPT") as refusal:
                raw.commit(*bodies, op=op, commit_id="new")
            assert_names(refusal, raw, key)


READERS = {
    "state": {"clear", "configure", "commits", "head"},
    "history": {"clear", "configure", "commits", "version"},
    "meta": {"clear", "configure", "commits", "head", "version"},
    "times": {"clear"},
}


@pytest.mark.parametrize("key", READERS)
def test_the_other_scripts_name_it_too(raw: RawTwin, key: str) -> None:
    """Each that reads the key."""
    full(raw)
    raw.client.delete(getattr(raw.keys, key))
    raw.client.sadd(getattr(raw.keys, key), "x")
    calls = {
        "clear": lambda: raw.call("clear", ""),
        "configure": lambda: raw.configure(settings='{"history_length":2}'),
        "commits": raw.commits,
        "head": lambda: raw.lookup("head"),
        "version": lambda: raw.lookup("version", 2),
    }
    for reader in READERS[key]:
        with raw.refused("CORRUPT") as refusal:
            calls[reader]()
        assert_names(refusal, raw, key)


def test_a_look_up_by_time_names_a_wrong_key(raw: RawTwin) -> None:
    """The times themselves, and the history that it leads to."""
    for n in range(3):
        raw.set(f'{{"timestamp":"2026-01-01T00:00:0{n}Z"}}')
    for key, second in (("history", 1), ("times", 1), ("state", 2)):
        kept = raw.client.dump(getattr(raw.keys, key))
        raw.client.delete(getattr(raw.keys, key))
        raw.client.sadd(getattr(raw.keys, key), "x")
        with raw.refused("CORRUPT") as refusal:
            raw.lookup("time", f"2026-01-01T00:00:0{second}Z")
        assert_names(refusal, raw, key)
        raw.client.restore(getattr(raw.keys, key), 0, kept, replace=True)


@pytest.mark.parametrize("key", ["rules", "schema"])
def test_configure_overwrites_no_key_of_another_kind(raw: RawTwin, key: str) -> None:
    """It would be somebody's data."""
    raw.set("{}")
    raw.client.sadd(getattr(raw.keys, key), "x")
    with raw.refused("CORRUPT") as refusal:
        raw.configure("force", model={"model": "M", "model_hash": "h", "checks": "server", "validation": "none"})
    assert_names(refusal, raw, key)


def every_call(raw: RawTwin) -> dict[str, object]:
    """All that reads or changes the twin's state."""
    return {
        "merge": lambda: raw.merge('{"a":1}'),
        "set": lambda: raw.set("{}"),
        "adjust": lambda: raw.adjust(a="1"),
        "clear": lambda: raw.call("clear", ""),
        "configure": lambda: raw.configure(settings='{"history_length":2}'),
        "commits": raw.commits,
        "lookup": lambda: raw.lookup("head"),
    }


def assert_all_refuse(raw: RawTwin, key: str) -> None:
    for call in every_call(raw).values():
        with raw.refused("CORRUPT") as refusal:
            call()
        assert_names(refusal, raw, key)


def test_a_state_without_its_meta(raw: RawTwin) -> None:
    """Meta is named, by every script that would have to guess; settings alone do not make a meta."""
    full(raw)
    raw.client.delete(raw.keys.meta)
    assert_all_refuse(raw, "meta")
    raw.meta(history_length=5)
    assert_all_refuse(raw, "meta")


def test_a_meta_without_its_state(raw: RawTwin) -> None:
    """The state is named."""
    full(raw)
    raw.client.delete(raw.keys.state)
    assert_all_refuse(raw, "state")


FOREIGN_STATES = {
    "longer": '{"a":4,"b":1}',
    "shorter": "{}",
    "empty": "",
    "no object": "[1,2,3]",
    "a number": "1234567",
    "no JSON": "xxxxxxx",
    "braces only at the ends": "{xxxxx}",
    "a space first": '{ "a":4',
    "spaces around it": ' {"a":4',
    "cut": '{"a":44',
    "a name without quotes": "{a:444}",
}


@pytest.mark.parametrize("case", FOREIGN_STATES)
def test_a_state_that_no_commit_wrote(raw: RawTwin, case: str) -> None:
    """Of another length, or what is no object at a glance: refused, whatever is to be done with it."""
    full(raw)
    assert raw.state == '{"a":4}'
    raw.client.set(raw.keys.state, FOREIGN_STATES[case])
    assert_all_refuse(raw, "state")


# States of the same length as the one that was committed, which are not in the stored form around what is touched.
SAME_LENGTH = {
    "space before the colon": ('{"a":11,"b":2}', '{"a" :1,"b":2}', '{"a":5}', False),
    "space before another colon": ('{"a":1,"bb":2}', '{"a":1,"b" :2}', '{"a":null}', True),
    "space after a colon": ('{"a":11,"b":2}', '{"a": 1,"b":2}', '{"a":5}', False),
    "space before a name": ('{"a":11,"b":2}', '{"a":1, "b":2}', '{"b":null}', False),
    "space before an object": ('{"a":{"b":11}}', '{"a": {"b":1}}', '{"a":5}', False),
    "space before an array": ('{"a":[1,22]}', '{"a": [1,2]}', '{"a":5}', False),
    "space before a string": ('{"a":"x,yy"}', '{"a": "x,y"}', '{"a":5}', False),
    "space behind a value": ('{"a":11,"b":2}', '{"a":1 ,"b":2}', '{"a":5}', False),
    "space behind an object": ('{"a":{"b":11}}', '{"a":{"b":1} }', '{"a":{"b":2}}', True),
    "a raw quote": ('{"a":"xxxx","b":1}', '{"a":"x\\"x","b":1}', '{"a":5}', False),
    "a raw brace in the value": ('{"a":"xx"}', '{"a":"x{"}', '{"a":null}', True),
    "a raw brace before": ('{"x":"xx","a":1}', '{"x":"x}","a":1}', '{"a":2}', True),
    "an open object": ('{"a":{"b":1}}', '{"a":{"b":11}', '{"a":5}', False),
    "an open array": ('{"a":[1,2]}', '{"a":[1,22}', '{"a":5}', False),
    "an open string": ('{"a":"xx"}', '{"a":"xxx}', '{"a":5}', False),
    "no value": ('{"a":1,"b":2}', '{"a":,"b":22}', '{"a":5}', False),
    "junk for a value": ('{"a":1,"b":2}', '{"a":?,"b":2}', '{"a":5}', False),
    "junk for a colon": ('{"x":{"b":1},"c":2,"b":3}', '{"x":{"b":1},"c"=2,"b":3}', '{"b":5}', False),
    "a missing comma": ('{"a":"x","b":22}', '{"a":"x""b":222}', '{"b":5}', False),
}


@pytest.mark.parametrize("case", SAME_LENGTH)
def test_a_state_of_the_same_length_is_never_merged_wrongly(raw: RawTwin, case: str) -> None:
    """What a merge touches has to be in the stored form: refused, or merged as JSON would be."""
    committed, foreign, patch, may_merge = SAME_LENGTH[case]
    assert len(committed) == len(foreign)
    raw.set(committed)
    raw.client.set(raw.keys.state, foreign)
    if not may_merge:
        with raw.refused("CORRUPT") as refusal:
            raw.merge(patch)
        assert_names(refusal, raw, "state")
        return
    raw.merge(patch)
    expected = json.loads(foreign) | json.loads(patch)
    assert json.loads(raw.state) == {name: value for name, value in expected.items() if value is not None}


FOREIGN_META = {
    "version": ["x", "", "-1", "1.5", "nan", "inf", "0", "6", "1e400"],
    "head": ["x", "", "{}", '{"version":4,'],
    "bytes": ["x", "", "6", "nan"],
    "stamp": ["x", "", "nan", "1.5"],
    "committed": ["x", "", "nan", "1.5", "inf"],
    "calls": ["x", "", "nan", "1.5"],
    "history_length": ["x", "", "0", "-1", "1.5", "nan", "inf"],
    "max_bytes": ["x", "", "nan", "1.5"],
}


@pytest.mark.parametrize("field", FOREIGN_META)
def test_a_field_of_meta_that_no_script_wrote(raw: RawTwin, field: str) -> None:
    """A commit is refused before it writes anything; also where the field is gone and cannot be done without."""
    full(raw)
    kept = raw.meta_of(field) if raw.client.hexists(raw.keys.meta, field) else None
    for value in FOREIGN_META[field]:
        raw.meta(**{field: value})
        with raw.refused("CORRUPT"):
            raw.merge("{}", commit_id="new")
    if field in {"version", "head", "bytes", "stamp"}:
        raw.client.hdel(raw.keys.meta, field)
        with raw.refused("CORRUPT"):
            raw.merge("{}", commit_id="new")
    if kept is not None:
        raw.meta(**{field: kept})
        raw.merge("{}", commit_id="new")


def test_a_meta_without_an_epoch(raw: RawTwin) -> None:
    """Every version has one."""
    full(raw)
    raw.client.hdel(raw.keys.meta, "epoch")
    with raw.refused("CORRUPT") as refusal:
        raw.merge("{}")
    assert_names(refusal, raw, "meta")
    with raw.refused("CORRUPT"):
        raw.lookup("head")


@pytest.mark.parametrize("key", ["history", "ids", "old_ids", "times"])
def test_leftovers_of_a_twin_without_a_state(raw: RawTwin, key: str) -> None:
    """A new epoch does not begin on the remains of another."""
    kind = WRONG_TYPES[TYPES[key]]
    kind(raw.client, getattr(raw.keys, key))
    with raw.refused("CORRUPT") as refusal:
        raw.set("{}", commit_id="new")
    assert_names(refusal, raw, key)
    raw.call("delete", "")
    assert raw.set("{}", commit_id="new").first == 1


@pytest.mark.parametrize("rule", ["", "x", "5", '"s"', "null", "[1", "{"])
def test_a_rule_that_is_no_json_object(raw: RawTwin, rule: str) -> None:
    """The rules are named; without validation they are not read."""
    raw.bind({"": {"type": "object"}})
    raw.client.hset(raw.keys.rules, "/a", rule)
    raw.set('{"b":1}')
    with raw.refused("CORRUPT") as refusal:
        raw.set('{"a":1}')
    assert_names(refusal, raw, "rules")
    raw.meta(validation="none")
    raw.set('{"a":1}')


def test_a_history_that_lost_entries_is_not_read_as_another_version(raw: RawTwin) -> None:
    """Entries stand in a row: what is not the version that was asked for is refused."""
    for n in range(1, 6):
        raw.set(f'{{"n":{n},"timestamp":"2026-01-01T00:00:0{n}Z"}}')
    raw.client.lpop(raw.keys.history)
    for call in (
        lambda: raw.lookup("version", 3),
        lambda: raw.lookup("time", "2026-01-01T00:00:03Z"),
        raw.commits,
        lambda: raw.commits(before=4),
    ):
        with raw.refused("CORRUPT") as refusal:
            call()
        assert_names(refusal, raw, "history")
    raw.client.delete(raw.keys.history)
    assert raw.lookup("version", 3) is None
    assert [entry["version"] for entry in raw.commits()] == [5]


# --- what something else removed -------------------------------------------------------------------------------------

MODEL = {"model": "M", "model_hash": "h", "checks": "server", "validation": "standard"}
BODIES = ('{"a":7}', '{"a":7,"b":1}', "{}", '{"timestamp":"2026-01-01T00:00:00Z"}', '{"a":7,"timestamp":null}')


def published(raw: RawTwin, **facts: str) -> RawTwin:
    """A twin with a model and three versions."""
    raw.configure("adopt", model=MODEL | facts, rules={"/a": {"type": "integer"}})
    for n in range(3):
        raw.set(f'{{"a":{n}}}')
    return raw


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_a_published_model_without_its_rules(raw: RawTwin, level: str) -> None:
    """No commit passes unchecked, whatever it touches and whichever way it takes."""
    published(raw, validation=level)
    raw.client.delete(raw.keys.rules)
    for op, bodies in [*(("merge", [body]) for body in BODIES), ("set", ['{"a":1}']), ("merge", ["{}", '{"a":2}'])]:
        with raw.refused("CORRUPT") as refusal:
            raw.commit(*bodies, op=op)
        assert_names(refusal, raw, "rules")
    with raw.refused("CORRUPT") as refusal:
        raw.adjust(a="1")
    assert_names(refusal, raw, "rules")
    raw.configure("publish", model=MODEL, rules={"/a": {"type": "integer"}})
    raw.merge('{"a":1}')


def test_rules_that_nobody_needs(raw: RawTwin) -> None:
    """A model that is not checked, and a twin that has none, go without."""
    published(raw, validation="none")
    raw.client.delete(raw.keys.rules)
    for body in BODIES:
        raw.merge(body)
    bare = RawTwin(raw.client)
    bare.set('{"a":1}')
    for body in BODIES:
        bare.merge(body)


SHORTENED = {
    "removed": lambda client, key: client.delete(key),
    "without its newest": lambda client, key: client.lpop(key),
    "without its oldest": lambda client, key: client.rpop(key),
    "trimmed": lambda client, key: client.ltrim(key, 0, 0),
    "longer at the new end": lambda client, key: client.lpush(key, "{}"),
    "longer at the old end": lambda client, key: client.rpush(key, "{}"),
}


@pytest.mark.parametrize("how", SHORTENED)
def test_a_history_that_lost_or_gained_entries(raw: RawTwin, how: str) -> None:
    """Named by every commit and by a change of settings; to clear it makes it well."""
    full(raw)
    SHORTENED[how](raw.client, raw.keys.history)
    calls = {**every_call(raw), "batch": lambda: raw.commit("{}", "{}")}
    for name in ("merge", "set", "adjust", "configure", "batch"):
        with raw.refused("CORRUPT") as refusal:
            calls[name]()
        assert_names(refusal, raw, "history")
    raw.call("clear", "")
    raw.merge("{}")
    assert len(raw.history) == 1


def test_a_repeated_call_is_answered_all_the_same(raw: RawTwin) -> None:
    """It changes nothing, and what it asks for was committed."""
    full(raw)
    raw.client.delete(raw.keys.history)
    assert raw.set('{"a":4}', commit_id="id4").duplicate == 1


def test_a_twin_whose_meta_does_not_count_its_entries(raw: RawTwin) -> None:
    """Its last commit was made before there was such a field: the next one says how many there are."""
    full(raw)
    raw.client.hdel(raw.keys.meta, "entries")
    raw.client.ltrim(raw.keys.history, 0, 1)
    raw.merge("{}")
    assert raw.meta_of("entries") == "3"
    raw.client.hdel(raw.keys.meta, "entries")
    raw.configure(settings='{"history_length":2}')
    assert raw.meta_of("entries") == "2"
    raw.client.rpop(raw.keys.history)
    with raw.refused("CORRUPT"):
        raw.merge("{}")


def test_whatever_trims_the_history_counts_it(raw: RawTwin) -> None:
    """Clears, settings and commits in any order."""
    choose = random.Random(7)
    raw.set("{}")
    for _ in range(200):
        action = choose.choice(["merge", "merge", "batch", "clear", "configure", "compact"])
        if action == "configure":
            raw.configure(settings=f'{{"history_length":{choose.randint(1, 9)}}}')
        elif action == "clear":
            raw.call("clear", "")
        elif action == "compact":
            raw.configure(settings=f'{{"history":"{choose.choice(["full", "compact"])}"}}')
        else:
            raw.commit(*['{"a":1}'] * (1 if action == "merge" else choose.randint(2, 12)))
        assert raw.meta_of("entries") == str(raw.client.llen(raw.keys.history)), action
