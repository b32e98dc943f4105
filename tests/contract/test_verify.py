"""What verify says of a twin: nothing while commits alone write, and what is wrong where something else did."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from circman_redis import StateManager
from circman_redis.connection import adopt
from circman_redis.driver import Driver
from circman_redis.keys import TwinKeys
from circman_redis.results import Disagreement
from circman_redis.verify import verify
from tests.lua.support import RawTwin
from tests.servers import Server

Look = Callable[[TwinKeys], list[Disagreement]]


@pytest.fixture
def bytes_client(server: Server) -> Iterator[redis.Redis]:
    with server.client() as one:
        yield one


@pytest.fixture
def look(bytes_client: redis.Redis) -> Look:
    return lambda keys: Driver(adopt(bytes_client), keys).drive(verify(keys))


@pytest.fixture
def raw(bytes_client: redis.Redis) -> RawTwin:
    """A twin of seven versions: 1 and 4 set, 3 adjusted, the others merged; each a second after the one before."""
    raw = RawTwin(bytes_client)
    raw.set(body(1, x="[]{}"))
    raw.merge(body(2, y={"z": [1, 2.50]}))
    raw.adjust(n="1")
    raw.set(body(4, x={"patch": {"state": None}}))
    raw.merge(body(5, x={"patch": 1, "state": {"state": {}}}))
    raw.merge(body(6, a=None))
    raw.merge(body(7))
    return raw


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}Z"


def body(n: int, **more: Any) -> str:
    return json.dumps({"n": n, "timestamp": at(n), **more})


def swap(raw: RawTwin, old: str, new: str) -> None:
    """Puts another text of the same length into the state."""
    text = raw.state
    assert len(old) == len(new)
    assert old in text
    raw.client.set(raw.keys.state, text.replace(old, new))


def entry_of(raw: RawTwin, version: int) -> tuple[int, str]:
    index = raw.version - 1 - version
    return index, raw.client.lindex(raw.keys.history, index).decode()


def edit(raw: RawTwin, version: int, old: str, new: str) -> None:
    """Changes the last place in an entry that says ``old``."""
    index, text = entry_of(raw, version)
    before, found, behind = text.rpartition(old)
    assert found
    raw.client.lset(raw.keys.history, index, before + new + behind)


def remove(raw: RawTwin, *versions: int) -> None:
    for text in [entry_of(raw, version)[1] for version in versions]:
        assert raw.client.lrem(raw.keys.history, 1, text) == 1


def replace_key(raw: RawTwin, key: str) -> None:
    raw.client.delete(getattr(raw.keys, key))
    raw.client.xadd(getattr(raw.keys, key), {"x": "y"})


def newest_again(raw: RawTwin) -> None:
    raw.client.lpush(raw.keys.history, entry_of(raw, 6)[1].replace('"version":6', '"version":7'))


def twice(raw: RawTwin) -> None:
    text = entry_of(raw, 5)[1]
    raw.client.linsert(raw.keys.history, "AFTER", text, text)


def set_and_swap(raw: RawTwin) -> None:
    raw.set(body(8))
    swap(raw, '"n":8', '"n":9')


def set_and_space(raw: RawTwin) -> None:
    raw.set(body(10))
    swap(raw, '"n":10', '"n": 1')


def swapped_and_merged(raw: RawTwin) -> None:
    swap(raw, '"n":7', '"n":9')
    raw.merge('{"b":1}')


def overtaken(raw: RawTwin) -> None:
    raw.merge(body(3))
    assert raw.client.zrange(raw.keys.times, 0, -1) == [b"1", b"3", b"8"]
    raw.client.zadd(raw.keys.times, {"1": 10})


def overtaken_again(raw: RawTwin) -> None:
    raw.merge(body(3))
    raw.client.zadd(raw.keys.times, {"5": 1767225605000000})


CASES: dict[str, tuple[Callable[[RawTwin], object], list[tuple[str, int | None, str]]]] = {
    "nothing": (lambda raw: None, []),
    "a SET of another length": (
        lambda raw: raw.client.set(raw.keys.state, '{"n":7}'),
        [("state", 7, "is not what the last commit wrote: something else wrote it (7 bytes, and the commit wrote 79)")],
    ),
    "a SET of the same length after a merge": (
        lambda raw: swap(raw, '"n":7', '"n":9'),
        [
            (
                "state",
                7,
                "is not what the commit of version 7 wrote: its patch on the state of version 6 gives another one",
            )
        ],
    ),
    "a SET of the same length, with another time": (
        lambda raw: swap(raw, at(7), at(8)),
        [("state", 7, f"has the timestamp '{at(8)}', and its commit said '{at(7)}': something else wrote it")],
    ),
    "a SET of the same length after a set": (
        set_and_swap,
        [("state", 8, "is not what the commit of version 8 wrote (its SHA-1 is another): something else wrote it")],
    ),
    "a SET of the same length with a space": (
        set_and_space,
        [("state", 8, "is not in the form that commits store: something else wrote it")],
    ),
    "a SET of the same length that is no JSON": (
        lambda raw: swap(raw, '"n":7', '"n"=7'),
        [("state", 7, "is not valid: its JSON, line 1, column 5")],
    ),
    "a SET of the same length that is no text": (
        lambda raw: raw.client.setrange(raw.keys.state, 6, b"\xff"),
        [("state", 7, "is not valid: ")],
    ),
    "a SET of the same length without braces": (
        lambda raw: raw.client.set(raw.keys.state, "x" * len(raw.state)),
        [("state", 7, "something else wrote it (it is not valid")],
    ),
    "a SET that commits went on from": (
        swapped_and_merged,
        [("history", 7, "at version 7 has another state than was committed: its patch on the state of version")],
    ),
    "no state": (
        lambda raw: raw.client.delete(raw.keys.state),
        [("state", 7, "is missing, while meta says that there is a state")],
    ),
    "no meta": (
        lambda raw: raw.client.delete(raw.keys.meta),
        [("meta", None, "is missing, while there is a state: something else wrote it")],
    ),
    "no meta, and no entry": (
        lambda raw: (raw.client.delete(raw.keys.meta), raw.client.lset(raw.keys.history, 0, "x")),
        [
            ("meta", None, "is missing, while there is a state: something else wrote it"),
            ("history", None, "holds what no commit wrote: something else wrote it"),
        ],
    ),
    "settings for a meta": (
        lambda raw: (raw.client.delete(raw.keys.meta), raw.meta(history_length=5)),
        [
            ("meta", None, "is missing, while there is a state: something else wrote it"),
            ("history", None, "has 6 entries, over its length of 5"),
        ],
    ),
    "neither": (
        lambda raw: raw.client.delete(raw.keys.state, raw.keys.meta),
        [(key, None, "is left over from a twin that has no state") for key in ("history", "times")],
    ),
    **{
        f"a stream for {key}": (
            lambda raw, key=key: replace_key(raw, key),
            [(key, None, f"holds a stream, not a {kind}: something else wrote it")],
        )
        for key, kind in {
            "state": "string",
            "schema": "string",
            "meta": "hash",
            "rules": "hash",
            "ids": "hash",
            "old_ids": "hash",
            "history": "list",
            "times": "zset",
        }.items()
    },
    "another version in meta": (
        lambda raw: raw.meta(version=9),
        [("meta", 9, "says version 9, while its head commit is that of version 7")],
    ),
    "no version in meta": (
        lambda raw: raw.client.hdel(raw.keys.meta, "version", "stamp"),
        [("meta", None, "has no version and no stamp any more: something else wrote it")],
    ),
    "no epoch": (
        lambda raw: raw.client.hdel(raw.keys.meta, "epoch"),
        [("meta", None, "has no epoch any more: something else wrote it")],
    ),
    "no number": (
        lambda raw: raw.meta(version="seven"),
        [("meta", None, "has 'seven' as its version: something else wrote it")],
    ),
    "no number of bytes": (
        lambda raw: raw.meta(bytes="many"),
        [("meta", None, "has 'many' as its bytes: something else wrote it")],
    ),
    "another head": (
        lambda raw: raw.meta(head="{}"),
        [("meta", 7, "holds no record of the commit of version 7: something else wrote it")],
    ),
    "another stamp": (
        lambda raw: raw.meta(stamp=5),
        [("meta", 7, "has '5' as its stamp, while its head commit says 1767225607000000")],
    ),
    "another time of the last commit": (
        lambda raw: raw.meta(committed=5),
        [("meta", 7, "has '5' as its committed, while its head commit says ")],
    ),
    "a shorter history": (
        lambda raw: raw.meta(history_length=5),
        [("history", None, "has 6 entries, over its length of 5")],
    ),
    "an entry's state": (
        lambda raw: edit(raw, 5, '"state":{}', '"state":[]'),
        [
            (
                "history",
                5,
                "at version 5 has another state than was committed: neither its own patch nor the next one fits it",
            )
        ],
    ),
    "the newest entry's state": (
        lambda raw: edit(raw, 6, '"state":{}', '"state":[]'),
        [("history", 6, "neither its own patch nor the next one fits it")],
    ),
    "the state of the newest set": (
        lambda raw: edit(raw, 4, '"n":4', '"m":4,"n":4'),
        [("history", 4, "at version 4 is not what the commit of version 4 wrote (its SHA-1 is another)")],
    ),
    "an entry's patch": (
        lambda raw: edit(raw, 6, '"a":null', '"b":null'),
        [],
    ),
    "an entry's patch that matters": (
        lambda raw: edit(raw, 6, '"a":null', '"a":1'),
        [("history", 6, "at version 6 has another state than was committed: its patch on the state of version")],
    ),
    "the first commit's patch": (
        lambda raw: edit(
            raw, 1, '"op":"set","actor":null,"id":null,"patch":null', '"op":"merge","actor":null,"id":null,"patch":{}'
        ),
        [
            (
                "history",
                1,
                "at version 1 has another state than was committed: its patch on an empty state gives another one",
            )
        ],
    ),
    "an entry's time": (
        lambda raw: edit(raw, 5, at(5), at(6)),
        [("history", 5, f"at version 5 has the timestamp '{at(6)}', and its commit said '{at(5)}': something else")],
    ),
    "an entry with a space": (
        lambda raw: edit(raw, 1, '"n":1', '"n": 1'),
        [("history", 1, "at version 1 is not in the form that commits store: something else wrote it")],
    ),
    "an entry with a state that is no object": (
        lambda raw: edit(raw, 1, entry_of(raw, 1)[1].split(',"state":')[1], "[]}"),
        [("history", 1, "at version 1 is not a JSON object: something else wrote it")],
    ),
    "an entry with a state that is no JSON": (
        lambda raw: edit(raw, 2, '"n":2', '"n"=2'),
        [("history", 2, "at version 2 is not a JSON object: something else wrote it")],
    ),
    "an entry with a name twice": (
        lambda raw: edit(raw, 1, '"n":1', '"n":1,"n":1'),
        [("history", 1, "at version 1 is not valid: its JSON at /n: a duplicate key")],
    ),
    "an entry that was stored later": (
        lambda raw: edit(raw, 3, '"committed_at":"20', '"committed_at":"21'),
        [("history", 4, "has version 4 committed before version 3: something else wrote it")],
    ),
    "no entry": (
        lambda raw: raw.client.lset(raw.keys.history, 1, "x"),
        [("history", 5, "holds what no commit wrote where version 5 should be: something else wrote it")],
    ),
    "another entry": (
        lambda raw: raw.client.lset(raw.keys.history, 1, entry_of(raw, 3)[1]),
        [("history", 5, "holds version 3 where version 5 should be: something else wrote it")],
    ),
    "another entry at the beginning": (
        lambda raw: edit(raw, 6, '"version":6', '"version":66'),
        [("history", 6, "holds version 66 where version 6 should be: something else wrote it")],
    ),
    "an entry removed": (
        lambda raw: remove(raw, 5),
        [("history", 5, "lacks version 5: something else removed it")],
    ),
    "two entries removed": (
        lambda raw: remove(raw, 4, 5),
        [("history", 5, "lacks versions 4 to 5: something else removed it")],
    ),
    "the newest entry removed": (
        lambda raw: raw.client.lpop(raw.keys.history),
        [("history", 6, "lacks version 6: something else removed it")],
    ),
    "an entry twice": (
        twice,
        [("history", 4, "holds version 5 where version 4 should be: something else wrote it")],
    ),
    "an entry of the head": (
        newest_again,
        [("history", 7, "holds version 7, while the newest commit is that of version 7: something else wrote it")],
    ),
    "something below version 1": (
        lambda raw: raw.client.rpush(raw.keys.history, "x", entry_of(raw, 1)[1]),
        [
            ("history", 0, "holds what no commit wrote where nothing should be: something else wrote it"),
            ("history", 0, "holds version 1 where nothing should be: something else wrote it"),
        ],
    ),
    "the oldest entries removed": (
        lambda raw: raw.client.ltrim(raw.keys.history, 0, 3),
        [("history", None, "has 4 entries, and commits left 6: something else removed or added some")],
    ),
    "another number of entries in meta": (
        lambda raw: raw.meta(entries=5),
        [("history", None, "has 6 entries, and commits left 5: something else removed or added some")],
    ),
    "no number of entries in meta": (lambda raw: raw.client.hdel(raw.keys.meta, "entries"), []),
    "a model, and no rules": (
        lambda raw: raw.meta(model_hash="h"),
        [("rules", None, "is missing, while meta says that a model is published: something else removed it")],
    ),
    "a time removed": (
        lambda raw: raw.client.zrem(raw.keys.times, "5"),
        [("times", 5, "does not lead to version 5: look-ups by time miss it")],
    ),
    "the head's time removed": (
        lambda raw: raw.client.zrem(raw.keys.times, "7"),
        [("times", 7, "does not lead to version 7: look-ups by time miss it")],
    ),
    "a time moved": (
        lambda raw: raw.client.zadd(raw.keys.times, {"5": 1767225605500000}),
        [("times", 5, "has version 5 at 2026-01-01T00:00:05.500000Z, while its time is 2026-01-01T00:00:05.000000Z")],
    ),
    "a time moved out of all times": (
        lambda raw: raw.client.zadd(raw.keys.times, {"5": 10**20}),
        [("times", 5, "has version 5 at 100000000000000000000, while its time is 2026-01-01T00:00:05.000000Z")],
    ),
    "a time that was overtaken moved": (overtaken, [("times", 1, "has version 1 at 1970-01-01T00:00:00.000010Z")]),
    "a time that was overtaken": (
        overtaken_again,
        [("times", 5, "leads to version 5, which a later one of an earlier time overtook: something else wrote it")],
    ),
    "the time of no version": (
        lambda raw: raw.client.zadd(raw.keys.times, {"9": 10**18}),
        [("times", 9, "leads to version 9, which there is not: something else wrote it")],
    ),
    "no version in the times": (
        lambda raw: raw.client.zadd(raw.keys.times, {"x": 0}),
        [("times", None, "holds 'x', which is no version: something else wrote it")],
    ),
    "no times": (
        lambda raw: raw.client.delete(raw.keys.times),
        [("times", None, "is missing, while there is a state: look-ups by time find nothing")],
    ),
}


def assert_found(found: list[Disagreement], keys: TwinKeys, expected: list[tuple[str, int | None, str]]) -> None:
    assert [(one.key, one.version) for one in found] == [
        (getattr(keys, key), version) for key, version, _ in expected
    ], list(map(str, found))
    for one, (_, _, says) in zip(found, expected, strict=True):
        assert says in one.says


@pytest.mark.parametrize("case", CASES)
def test_what_something_else_did_is_named(look: Look, raw: RawTwin, case: str) -> None:
    """Each kind of tampering by itself gives one disagreement, on the key and the version that it is about."""
    assert look(raw.keys) == []
    tamper, expected = CASES[case]
    tamper(raw)
    before = raw.dump()
    assert_found(look(raw.keys), raw.keys, expected)
    assert raw.dump() == before


def test_of_no_twin_there_is_nothing_to_say(look: Look, bytes_client: redis.Redis) -> None:
    """Also where it has settings, or a model, and no state yet."""
    keys = TwinKeys("nobody")
    assert look(keys) == []
    bytes_client.hset(keys.meta, mapping={"history_length": 5})
    assert look(keys) == []


def test_ids_that_are_left_over(look: Look, bytes_client: redis.Redis) -> None:
    """The next commit would be refused for them. What is of a wrong type is said once."""
    raw = RawTwin(bytes_client)
    raw.client.hset(raw.keys.ids, "a", "b")
    assert_found(look(raw.keys), raw.keys, [("ids", None, "is left over from a twin that has no state")])
    replace_key(raw, "ids")
    assert_found(look(raw.keys), raw.keys, [("ids", None, "holds a stream, not a hash")])


def test_a_twin_from_before_there_was_a_digest(look: Look, raw: RawTwin) -> None:
    """No claim is made where there is nothing to make it by."""
    set_and_swap(raw)
    assert len(look(raw.keys)) == 1
    raw.client.hdel(raw.keys.meta, "digest")
    assert look(raw.keys) == []


def test_only_a_commit_without_a_patch_leaves_a_digest(raw: RawTwin) -> None:
    """A merge pays for none."""
    digests = []
    for op, text in (("set", body(8)), ("merge", body(9)), ("import", body(10)), ("adjust", '{"/n":1}')):
        raw.commit(text, op=op)
        digests.append(raw.meta_of("digest").partition(":")[0] == raw.meta_of("version"))
    assert digests == [True, False, True, False]


def test_what_cannot_be_checked_any_more_is_left_out(look: Look, raw: RawTwin) -> None:
    """The history was cleared: the state before the head is gone, and so is what its patch could tell."""
    raw.call("clear", "")
    assert look(raw.keys) == []
    swap(raw, '"n":7', '"n":9')
    assert look(raw.keys) == []
    raw.merge(body(8))
    assert look(raw.keys) == []


def test_a_long_history_is_read_to_its_end(look: Look, bytes_client: redis.Redis) -> None:
    """Page by page, and every entry once."""
    raw = RawTwin(bytes_client)
    raw.commit(*[f'{{"n":{n}}}' for n in range(1, 701)])
    assert look(raw.keys) == []
    for version in (3, 300, 692, 699):
        edit(raw, version, f'"n":{version}', f'"n":{version + 1}')
    remove(raw, 250)
    expected = [("history", version, "") for version in (699, 692, 300, 250, 3)]
    assert_found(look(raw.keys), raw.keys, expected)


def test_it_stops_where_nothing_is_right(look: Look, bytes_client: redis.Redis) -> None:
    """A hundred disagreements say enough."""
    raw = RawTwin(bytes_client)
    raw.commit(*[f'{{"n":{n}}}' for n in range(1, 701)])
    for index in range(699):
        raw.client.lset(raw.keys.history, index, "" if index % 2 else "{}")
    assert 100 <= len(look(raw.keys)) <= 228


# --- while others write ------------------------------------------------------------------------------------------


@pytest.fixture
def compact(bytes_client: redis.Redis) -> RawTwin:
    """A twin of forty versions, a second apart, that all are merges but the first; its history is compact."""
    raw = RawTwin(bytes_client)
    raw.configure(settings='{"history":"compact"}')
    raw.set(body(0, x="x" * 200, y=0))
    for n in range(1, 40):
        raw.merge(body(n, **({"y": n} if n % 5 == 0 else {})))
    assert sum("inverse" in entry for entry in raw.history) == 37
    return raw


def foreign(raw: RawTwin) -> None:
    swap(raw, '"x":"xx', '"x":"yx')


COMPACT_DAMAGE: dict[str, tuple[Callable[[RawTwin], object], list[tuple[str, int | None, str]]]] = {
    "a state that something else wrote": (foreign, [("history", 33, "gives another one")]),
    "an inverse that is none": (
        lambda raw: edit(raw, 20, '"inverse":{', '"inverse":{{'),
        [("history", 20, "does not lead back from the version after it")],
    ),
    "an inverse of another value": (
        lambda raw: edit(raw, 25, '"y":20', '"y":21'),
        [("history", 21, "or what it is rebuilt from was changed")],
    ),
    "an inverse of another time": (
        lambda raw: edit(raw, 24, at(23), at(22)),
        [("history", 24, "has the timestamp")],
    ),
    "a full one": (
        lambda raw: edit(raw, 16, '"x":"xx', '"x":"yx'),
        [("history", 17, "or version 16 was changed"), ("history", 1, "its SHA-1 is another")],
    ),
    "one that is gone": (lambda raw: remove(raw, 20), [("history", 20, "lacks version 20")]),
    "a patch": (
        lambda raw: edit(raw, 20, '"n":19,"timestamp"', '"n":18,"timestamp"'),
        [("history", 20, "another one")],
    ),
}


@pytest.mark.parametrize("case", COMPACT_DAMAGE)
def test_what_is_wrong_with_a_compact_history_is_found(compact: RawTwin, look: Look, case: str) -> None:
    """Down to the next full entry at the latest; below an entry that is lost nothing can be said up to there."""
    assert look(compact.keys) == []
    damage, expected = COMPACT_DAMAGE[case]
    damage(compact)
    found = look(compact.keys)
    assert [(one.key, one.version) for one in found] == [(getattr(compact.keys, key), n) for key, n, _ in expected]
    assert all(says in one.says for one, (*_, says) in zip(found, expected, strict=True))


class Life:
    """All that can happen to a twin, in a random order."""

    def __init__(self, raw: RawTwin, seed: int) -> None:
        self.raw = raw
        self.random = random.Random(seed)

    def step(self) -> None:
        """One thing more."""
        kind = self.random.choices(
            [self.merge, self.set, self.adjust, self.many, self.clear, self.length, self.form], [8, 3, 3, 2, 1, 1, 1]
        )
        kind[0]()

    def text(self, **more: Any) -> str:
        """Some document: strange names and values, a time that may go back or be none."""
        values = [0, 1.50, 'a]}"b\\', None, {"patch": {"state": []}}, {"b": {"c": None}}, [], [{"a": 1}], True, "é\n"]
        document = {key: self.random.choice(values) for key in self.random.sample(["a", "b", 'c"{', "state", "é"], 3)}
        times = [
            None,
            "",
            "never",
            5,
            {"a": 1},
            "2026-01-01 00:00:00",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
        ]
        if self.random.random() < 0.7:
            document["timestamp"] = self.random.choice([*times, *map(at, range(20))])
        return json.dumps(document | more)

    def merge(self) -> None:
        self.raw.merge(self.text(), commit_id=f"id {self.random.random()}", actor='a"{}')

    def set(self) -> None:
        self.raw.commit(self.text(n=1), op=self.random.choice(["set", "import"]))

    def adjust(self) -> None:
        self.raw.error_of(lambda: self.raw.adjust(n="0.1"))

    def many(self) -> None:
        self.raw.commit(*[self.text(n=n) for n in range(self.random.randint(1, 30))], op="merge")

    def clear(self) -> None:
        self.raw.call("clear", "")

    def form(self) -> None:
        """From now on entries are kept in this form."""
        self.raw.configure(settings=self.random.choice(['{"history":"full"}', '{"history":"compact"}']))

    def length(self) -> None:
        self.raw.configure(settings=f'{{"history_length":{self.random.choice([1, 2, 5, 40, 1000])}}}')

    def delete(self) -> None:
        self.raw.call("delete", "")


@pytest.mark.parametrize("stamped", [True, False])
def test_what_commits_make_agrees_at_every_step(look: Look, bytes_client: redis.Redis, stamped: bool) -> None:
    """Whatever they are."""
    raw = RawTwin(bytes_client, stamped=stamped)
    life = Life(raw, seed=7)
    for _ in range(250):
        life.step()
        assert look(raw.keys) == []
    assert raw.version > 300


def test_a_manager_leaves_what_agrees(look: Look, twin: StateManager) -> None:
    """With its model and its stamps."""
    steps: list[Callable[[], object]] = [
        lambda: twin.set_state({"production_line": {"temperature": 22.10}}),
        lambda: twin.update_state({"production_line": {"status": "running"}}),
        lambda: twin.update_many([{"count": n} for n in range(20)]),
        lambda: twin.adjust({"/count": 2}),
        lambda: twin.modify(lambda state: state | {"count": 0}),
        lambda: setattr(twin, "history_length", 5),
        twin.clear_history,
        lambda: twin.update_state({"timestamp": "2026-01-01T00:00:00Z"}),
        twin.delete,
    ]
    for step in steps:
        step()
        assert look(twin.keys) == []


def between_calls(client: redis.Redis, keys: TwinKeys, happens: Callable[[], object]) -> list[Disagreement]:
    """Looks, and lets something happen before each of its calls."""
    driver, flow = Driver(adopt(client), keys), verify(keys)
    try:
        call = next(flow)
        while True:
            happens()
            call = flow.send(driver.run(call))
    except StopIteration as done:
        found: list[Disagreement] = done.value
        return found


@pytest.mark.parametrize("seed", range(12))
def test_commits_between_any_two_calls_do_no_harm(bytes_client: redis.Redis, seed: int) -> None:
    """Entries come, leave the history, and take each other's place in the times."""
    raw = RawTwin(bytes_client)
    life = Life(raw, seed)
    for _ in range(40):
        life.step()
    for _ in range(5):
        found = between_calls(bytes_client, raw.keys, lambda: [life.step() for _ in range(life.random.randint(0, 3))])
        assert found == []


@pytest.mark.parametrize("seed", range(6))
def test_a_twin_that_is_made_again_meanwhile_is_another(bytes_client: redis.Redis, seed: int) -> None:
    """However often that happens."""
    raw = RawTwin(bytes_client)
    life = Life(raw, seed)
    for often in (0.05, 0.3, 1.0):

        def happens(often: float = often) -> None:
            if life.random.random() < often:
                life.delete()
            if life.random.random() < 2 * often:
                life.many()

        for _ in range(5):
            assert between_calls(bytes_client, raw.keys, happens) == []


def test_what_is_wrong_is_found_while_others_write(bytes_client: redis.Redis, raw: RawTwin) -> None:
    """An entry that was changed, wherever it moves to meanwhile."""
    raw.commit(*[body(n % 60) for n in range(30)])
    edit(raw, 20, '"state":{}', '"state":[]')
    found = between_calls(bytes_client, raw.keys, lambda: raw.commit(*[body(n) for n in range(3)]))
    assert_found(found, raw.keys, [("history", 20, "neither its own patch nor the next one fits it")])


def test_four_threads_write_and_it_agrees_all_the_while(server: Server, look: Look) -> None:
    """With a short history, so that entries leave it under the reader's hands."""
    keys, stop, failures = TwinKeys("busy"), threading.Event(), []

    def write(seed: int) -> None:
        with server.client() as client:
            life = Life(RawTwin(client, keys=keys), seed)
            try:
                while not stop.is_set():
                    life.step()
            except redis.RedisError as error:  # pragma: no cover - is asserted below
                failures.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        found = [look(keys) for _ in range(40)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert found == [[]] * 40
    assert failures == []
    assert look(keys) == []
    with server.client() as client:
        assert int(client.hget(keys.meta, "version")) > 40
