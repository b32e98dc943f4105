"""resume.lua: what came after a version, oldest first, page by page. It writes nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from circman_redis import patch, protocol, refusals
from circman_redis.codec import decode
from circman_redis.errors import CorruptTwin
from tests.lua.support import RawTwin
from tests.property.model import Entry, page_of
from tests.servers import Server

ODD = ['q"q', "back\\slash", "[{}]", '","patch":{"a":1},"state":{', "é😀\x7f", "\n\t\0"]
FAR = 10**6


class Told(list[Entry]):
    """A twin's commits from the first one on, as meta and the state key told of each when it was the newest."""

    def __init__(self, raw: RawTwin) -> None:
        super().__init__()
        self.raw = raw

    def __call__(self, *bodies: str, **how: Any) -> None:
        for body in bodies:
            self.raw.commit(body, **how)
            self.append(Entry(self.raw.meta_of("head").encode(), self.raw.state_bytes or b""))

    @property
    def oldest(self) -> int:
        """The oldest version that is still there; it stands there as it was told."""
        there = self.raw.client.lrange(self.raw.keys.history, 0, -1)
        assert there == [entry.text for entry in self[-2 : -2 - len(there) : -1]]
        return len(self) - len(there)

    def assert_resumed(self, last: int | None, *, state_known: bool) -> None:
        """The reply is the reference's, to the byte."""
        page = [(self.raw.meta_of("epoch").encode()), len(self), *page_of(self, self.oldest, last, state_known)]
        assert resumed(self.raw, last, state_known) == page


def resumed(raw: RawTwin, last: int | None, state_known: bool = False, **how: Any) -> list[Any]:
    return raw.call("resume", "" if last is None else last, int(state_known), **how)


@pytest.fixture
def told(raw: RawTwin) -> Told:
    return Told(raw)


def assert_all_resumed(told: Told) -> None:
    """From every version that there was or could be, its state known or not."""
    ends = {0, 1, told.oldest - 1, told.oldest, told.oldest + 1, len(told) - 1, len(told), len(told) + 1, FAR, None}
    for last, state_known in itertools.product(ends, (False, True)):
        if last is None or last >= 0:
            told.assert_resumed(last, state_known=state_known)


COMMITS: list[tuple[str, str]] = [
    ("set", '{"n":1,"a":{"b":[1,{"c":null}],"state":{"x":1}}}'),
    ("merge", '{"patch":{"patch":{"state":1}},"state":{"patch":null}}'),
    ("adjust", '{"/n":2.5}'),
    ("merge", "{}"),
    ("import", '{"n":1.50,"patch":null,"state":[{"patch":{}}]}'),
    ("merge", '{"a":null,"deep":{"state":{"state":{"patch":"\\",\\"patch\\":{"}}}}'),
    ("merge", '{"state":"}","patch":"{"}'),
]


@pytest.mark.parametrize("length", [1, 2, 3, 10])
@pytest.mark.parametrize("commits", [1, 2, 3, 7])
def test_every_version_every_history_every_op(told: Told, length: int, commits: int) -> None:
    """The facts and the patch of each, and the state only where it cannot be made of the one before."""
    told.raw.meta(history_length=length)
    for op, body in COMMITS[:commits]:
        told(body, op=op)
    assert_all_resumed(told)


def test_the_first_commit_may_be_a_merge(told: Told) -> None:
    """It has a patch, and from version 0 its state is known."""
    told('{"a":null,"b":{"c":null}}')
    assert_all_resumed(told)
    assert resumed(told.raw, 0, True)[3] == told[0].record


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_names_ids_and_actors_as_they_may_be(told: Told, odd: str) -> None:
    """Nothing in them is taken for the end of the facts or of the patch."""
    name = json.dumps(odd)
    for op in ("set", "merge", "merge"):
        told(f'{{{name}:{name},"patch":{{{name}:[{name}]}}}}', op=op, actor=odd, commit_id=f"{odd}{len(told)}")
    told(f'{{"timestamp":{name}}}')
    assert_all_resumed(told)
    assert json.loads(resumed(told.raw, 1, True)[3])["actor"] == odd


def test_timestamps_of_every_kind(told: Told) -> None:
    """The server's, the state's own, and what is none."""
    for time in ('"2026-01-01T00:00:00Z"', "1740407422.123456", "null", "true", "[1]", '{"patch":{}}', '"}"'):
        told(f'{{"timestamp":{time}}}')
    told.raw.meta(auto_timestamp="1")
    told("{}", '{"timestamp":null}')
    assert_all_resumed(told)


def test_digits_and_order_stay(told: Told) -> None:
    """The reply is text out of Redis; nothing was decoded on the way."""
    told('{"z":1.50,"a":12345678901234567890}')
    told('{"a":1E5,"e":[],"o":{}}')
    assert resumed(told.raw, 1, True)[3].endswith(b',"patch":{"a":1E5,"e":[],"o":{}}}')
    assert resumed(told.raw, None)[2].endswith(b',"state":{"z":1.50,"a":1E5,"e":[],"o":{}}}')


@pytest.mark.parametrize("more", [0, 1, 3])
def test_after_the_history_was_cleared(told: Told, more: int) -> None:
    """What was before is gone; what came since is there."""
    told(*["{}"] * 5)
    told.raw.call("clear", "")
    told(*['{"a":1}'] * more)
    assert told.oldest == 5
    assert_all_resumed(told)


def test_a_batch_is_many_commits(told: Told) -> None:
    """Each with its own facts."""
    told('{"n":0}')
    told.raw.commit('{"n":1}', '{"n":2}', '{"n":3}', commit_id="b")
    assert [json.loads(text)["id"] for text in resumed(told.raw, 1)[3:]] == ["b#1", "b#2", "b#3"]


@pytest.mark.parametrize("state_known", [False, True])
@pytest.mark.parametrize("last", ["", 0, 1, FAR])
def test_no_twin(raw: RawTwin, last: Any, state_known: bool) -> None:
    """Nil: before the first commit, and after a delete."""
    assert raw.call("resume", last, int(state_known)) is None
    raw.set("{}")
    raw.call("delete", "")
    assert raw.call("resume", last, int(state_known)) is None


# --- pages ----------------------------------------------------------------------------------------------------


def all_pages(raw: RawTwin, last: int, state_known: bool) -> list[list[bytes]]:
    """Page after page, as a subscriber turns them: each begins after the last version of the one before."""
    pages = []
    while True:
        _, newest, _, *commits = resumed(raw, last, state_known)
        if commits:
            pages.append(commits)
            last, state_known = json.loads(commits[-1])["version"], True
        assert commits or last == newest, "no progress"
        if last == newest:
            return pages


def assert_pages_are_whole(raw: RawTwin, last: int, pages: list[list[bytes]]) -> None:
    """All commits, each once, in order; and their states are the head's in the end."""
    commits = [decode(text) for page in pages for text in page]
    newest = raw.version
    assert [commit["version"] for commit in commits] == list(range(last + 1, newest + 1))
    state: Any = raw.lookup("version", last)["state"] if last else {}  # type: ignore[index]
    for commit in commits:
        state = commit["state"] if "state" in commit else patch.merge(state, commit["patch"])
    assert patch.same(state, decode(raw.state))


@pytest.mark.parametrize("last", [0, 1, 700])
def test_more_commits_than_one_page(raw: RawTwin, last: int) -> None:
    """Small ones: hundreds to a page, and a bounded number."""
    raw.meta(history_length=3000)
    for start in range(0, 1600, 400):
        raw.commit(*(f'{{"n":{n}}}' for n in range(start, start + 400)))
    pages = all_pages(raw, last, True)
    assert_pages_are_whole(raw, last, pages)
    assert len(pages) > 1
    assert all(400 < len(page) < 600 for page in pages[:-1])


@pytest.mark.parametrize("op", ["set", "merge"])
def test_states_that_fill_a_page_alone(raw: RawTwin, op: str) -> None:
    """Large ones: at least one to a page, and no reply of many times a page."""
    raw.meta(history_length=100)
    blob = "x" * 700_000
    raw.set(f'{{"blob":"{blob}"}}')
    for n in range(5):
        raw.commit(f'{{"n":{n},"blob":"{blob}"}}' if op == "set" else f'{{"n":{n}}}', op=op)
    for last in (0, 1):
        pages = all_pages(raw, last, True)
        assert_pages_are_whole(raw, last, pages)
        assert len(pages) > 1
        assert all(sum(map(len, page)) < 3_000_000 for page in pages)


def test_a_state_larger_than_a_page(raw: RawTwin) -> None:
    """A twin may be configured so: a page is one commit then."""
    raw.meta(max_bytes=4_000_000)
    for n in range(4):
        raw.set(f'{{"n":{n},"blob":"{"x" * 2_000_000}"}}')
    pages = all_pages(raw, 0, True)
    assert_pages_are_whole(raw, 0, pages)
    assert [len(page) for page in pages] == [1, 1, 1, 1]


def test_large_states_of_the_past(raw: RawTwin) -> None:
    """The head is small, what was before it is not: a reply is not many times a page all the same."""
    blob = "x" * 500_000
    for n in range(20):
        raw.set(f'{{"n":{n},"blob":"{blob}"}}')
    raw.set("{}")
    pages = all_pages(raw, 0, True)
    assert_pages_are_whole(raw, 0, pages)
    assert all(sum(map(len, page)) < 3_000_000 for page in pages)


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["x", "-1", "1.0", "0x1", " 1", "1e0", "nan", "inf", "+1", "1\n", "é", '"'], ids=ascii)
def test_what_is_no_version_is_refused(told: Told, last: str) -> None:
    """The error tells what was given."""
    told("{}", "{}")
    with told.raw.refused("BAD_JSON") as refusal:
        told.raw.call("resume", last, 1)
    assert last in refusal.details["reason"]


@pytest.mark.parametrize("last", ["00", "0002", "99999999999999999999", "1" + "0" * 400])
def test_odd_ways_to_write_a_version(told: Told, last: str) -> None:
    """Digits are a number, however many."""
    told("{}", "{}", "{}")
    number = min(int(last), FAR)
    for state_known in (False, True):
        expected = page_of(told, 1, number, state_known)
        assert told.raw.call("resume", last, int(state_known))[2:] == expected


@pytest.mark.parametrize("state_known", ["", "0", "2", "true", "x", "é"])
def test_only_1_says_that_the_state_is_known(told: Told, state_known: str) -> None:
    """Anything else leaves nothing out that may be needed."""
    told("{}", "{}")
    assert told.raw.call("resume", 1, state_known)[2:] == page_of(told, 1, 1, False)


WHOLE = (0, 1, 2, 5)  # each has to read the head, or stands before it


def five(raw: RawTwin) -> RawTwin:
    for n in range(1, 6):
        raw.merge(f'{{"n":{n}}}', actor="a", commit_id=f"i{n}")
    assert raw.state == '{"n":5}'
    return raw


def assert_refused(raw: RawTwin, key: str, lasts: tuple[int, ...] = WHOLE) -> None:
    for last, state_known in itertools.product(lasts, (False, True)):
        with raw.refused("CORRUPT") as refusal:
            resumed(raw, last, state_known)
        assert refusal.details["key"] == getattr(raw.keys, key)
        assert refusal.details["reason"]


FOREIGN_STATES: dict[str, Callable[[Any, str], object]] = {
    "missing": lambda client, key: client.delete(key),
    "longer": lambda client, key: client.set(key, '{"n":55}'),
    "no object": lambda client, key: client.set(key, "[1,2,3]"),
    "a list": lambda client, key: (client.delete(key), client.rpush(key, "x")),
    "a hash": lambda client, key: (client.delete(key), client.hset(key, "x", "y")),
}


@pytest.mark.parametrize("case", FOREIGN_STATES)
def test_a_state_that_no_commit_wrote(raw: RawTwin, case: str) -> None:
    """Refused and named wherever the reply has the head in it."""
    five(raw)
    FOREIGN_STATES[case](raw.client, raw.keys.state)
    assert_refused(raw, "state")


@pytest.mark.parametrize("key", ["history", "meta"])
@pytest.mark.parametrize("kind", ["string", "set"])
def test_keys_of_another_type(raw: RawTwin, key: str, kind: str) -> None:
    """The key is named."""
    five(raw)
    name = getattr(raw.keys, key)
    raw.client.delete(name)
    raw.client.set(name, "x") if kind == "string" else raw.client.sadd(name, "x")
    assert_refused(raw, key)


def test_a_state_without_its_meta(raw: RawTwin) -> None:
    """Meta is named; settings alone do not make one."""
    five(raw)
    raw.client.delete(raw.keys.meta)
    assert_refused(raw, "meta")
    raw.meta(history_length=5)
    assert_refused(raw, "meta")


JUNK = {
    "nothing": "",
    "no JSON": "x",
    "another version": '{"version":2,"patch":null,"state":{}}',
    "a version that begins the same": '{"version":33,"patch":null,"state":{}}',
    "its version alone": '{"version":3,',
    "no patch": '{"version":3,"state":{}}',
}


@pytest.mark.parametrize("case", JUNK)
def test_a_junk_entry_in_the_history(raw: RawTwin, case: str) -> None:
    """Whether it is the version that is known, or one that comes after it."""
    five(raw)
    raw.client.lset(raw.keys.history, 1, JUNK[case])  # version 3
    assert_refused(raw, "history", (0, 1, 2, 3))
    for last in (4, 5):
        assert resumed(raw, last, True)[1] == 5


@pytest.mark.parametrize("rest", ['"patch":{', '"patch":5,"state":{}}', '"patch":{}x'])
def test_a_junk_entry_that_begins_well(raw: RawTwin, rest: str) -> None:
    """At the latest, whoever reads the reply finds that no commit wrote it."""
    five(raw)
    raw.client.lset(raw.keys.history, 1, '{"version":3,' + rest)
    for last, state_known in itertools.product((0, 1, 2, 3), (False, True)):
        call = protocol.resume(raw.keys, last, state_known=state_known)
        said = raw.error_of(lambda last=last, known=state_known: resumed(raw, last, known))
        if said:
            assert isinstance(refusals.error_of(said, raw.keys), CorruptTwin), said
            continue
        with pytest.raises(CorruptTwin):
            protocol.parse(call, resumed(raw, last, state_known), raw.keys)


def test_a_history_that_lost_entries(raw: RawTwin) -> None:
    """Entries stand in a row: none is taken for another version."""
    five(raw)
    raw.client.lpop(raw.keys.history)
    assert_refused(raw, "history", (1, 2, 3, 4))


FOREIGN_META = {
    "head": ["x", "", "{}", '{"version":4,', '{"version":5,', None],
    "bytes": ["x", "", "6", "nan", None],
    "epoch": [None],
    "version": ["x", "", None, "1.5", "nan", "inf", "6", "-1"],
}


@pytest.mark.parametrize("field", FOREIGN_META)
def test_a_field_of_meta_that_no_script_wrote(raw: RawTwin, field: str) -> None:
    """Where that is noticed, meta, the state or the history is named; it is never an error of Lua."""
    five(raw)
    kept = raw.meta_of(field)
    wrong = []
    for value, last, state_known in itertools.product(FOREIGN_META[field], (None, 0, 2, 4, 5), (False, True)):
        raw.client.hdel(raw.keys.meta, field) if value is None else raw.meta(**{field: value})
        said = raw.error_of(lambda last=last, known=state_known: resumed(raw, last, known))
        if said and not said.startswith("CIRCMAN_CORRUPT "):
            wrong.append((value, last, state_known, said))
    raw.meta(**{field: kept})
    assert resumed(raw, 5, True)[1] == 5
    assert wrong == []


# --- reading only ---------------------------------------------------------------------------------------------


def test_it_writes_nothing(told: Told) -> None:
    """EVAL_RO and EVALSHA_RO run it, and the keys are as before."""
    for op, body in COMMITS:
        told(body, op=op)
    before = told.raw.dump()
    for last in (None, 0, 3, len(told), FAR):
        assert resumed(told.raw, last, True, read_only=True) == resumed(told.raw, last, True)
    sha = told.raw.client.script_load(told.raw.text("resume"))
    keys = (told.raw.keys.state, told.raw.keys.history, told.raw.keys.meta)
    assert told.raw.client.evalsha_ro(sha, 3, *keys, 3, 1) == resumed(told.raw, 3, True)
    assert told.raw.dump() == before


def test_whoever_may_only_read_may_resume(told: Told, server: Server) -> None:
    """The three keys and EVAL_RO are all that it needs."""
    told('{"a":1}', '{"a":2}')
    keys = (told.raw.keys.state, told.raw.keys.history, told.raw.keys.meta)
    reads = ("+eval_ro", "+get", "+hmget", "+exists", "+llen", "+lindex", "+lrange")
    told.raw.client.execute_command("ACL", "SETUSER", "reader", "on", ">p", *(f"%R~{key}" for key in keys), *reads)
    try:
        with server.client(username="reader", password="p") as client:
            said = client.eval_ro(told.raw.text("resume"), 3, *keys, 0, 1)
        assert said == resumed(told.raw, 0, True)
    finally:
        told.raw.client.execute_command("ACL", "DELUSER", "reader")
