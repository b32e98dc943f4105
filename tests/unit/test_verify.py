"""verify by itself: what it asks for, and what it makes of the replies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import pytest

from circman_redis.commit_chain import Entry, read_entry
from circman_redis.errors import CorruptTwin
from circman_redis.flows import Flow
from circman_redis.keys import TwinKeys
from circman_redis.results import Disagreement
from circman_redis.verify import verify

T = TypeVar("T")

KEYS = TwinKeys("t")
KINDS = {KEYS.state: b"string", KEYS.meta: b"hash", KEYS.history: b"list", KEYS.times: b"zset"}
COMMITTED = 1767225600000000  # 2026-01-01


def entry(version: int, state: str, patch: str = "null", timestamp: str = "null") -> bytes:
    op = "set" if patch == "null" else "merge"
    return (
        f'{{"version":{version},"timestamp":{timestamp},"committed_at":"2026-01-01T00:00:00.000000Z","op":"{op}",'
        f'"actor":null,"id":null,"patch":{patch},"state":{state}}}'
    ).encode()


class Redis:
    """Answers the calls of verify from what a twin holds."""

    def __init__(self, entries: list[bytes], **meta: str | None) -> None:
        self.head, *self.history = entries
        found = read_entry(self.head)
        assert found is not None
        record = self.head.partition(b',"state":')[0] + b"}"
        own = {
            "version": f"{found.version}",
            "epoch": "e",
            "head": record.decode(),
            "bytes": f"{len(found.state)}",
            "stamp": f"{found.stamp:.0f}",
            "committed": f"{COMMITTED}",
            "calls": "3",
        }
        self.meta: dict[str, str | None] = own | meta
        self.times: list[Any] = [f"{found.version}".encode(), own["stamp"].encode()]
        self.kinds: Mapping[str, bytes] = KINDS
        self.calls: list[str] = []

    def answer(self, target: str, key: str, args: tuple[Any, ...]) -> Any:
        if target == "TYPE":
            return self.kinds.get(key, b"none")
        if target == "HMGET":
            texts = [self.meta.get(name) for name in args]
            return [None if text is None else text.encode() for text in texts]
        if target == "LRANGE":
            return self.history[args[0] : args[1] + 1]
        return {"commits": [b"e", self.head], "LLEN": len(self.history), "ZRANGE": self.times}[target]

    def look(self) -> list[Disagreement]:
        return self.drive(verify(KEYS))

    def drive(self, flow: Flow[T]) -> T:
        try:
            call = next(flow)
            while True:
                self.calls.append(call.target)
                reply = self.answer(call.target, call.keys[0], call.args)
                call = flow.throw(reply) if isinstance(reply, Exception) else flow.send(call.parse(reply))
        except StopIteration as done:
            found: T = done.value
            return found

    @property
    def says(self) -> list[str]:
        return [one.says for one in self.look()]


def three(**meta: str | None) -> Redis:
    return Redis(
        [entry(3, '{"a":2,"b":1.50}', '{"a":2}'), entry(2, '{"a":1,"b":1.50}', '{"b":1.50}'), entry(1, '{"a":1}')],
        **meta,
    )


def test_what_it_asks_for() -> None:
    """The head in one call, after the times: whoever commits in between is known from its entry."""
    redis = three()
    assert redis.look() == []
    assert redis.calls == ["TYPE"] * 8 + ["HMGET", "ZRANGE", "commits", "LRANGE", "HMGET", "LLEN", "HMGET", "HMGET"]


def test_bytes_matter() -> None:
    """Not the values alone: 1.5 is not 1.50, and members have an order."""
    for state in ('{"a":2,"b":1.5}', '{"b":1.50,"a":2}', '{"a":2, "b":1.50}', '{"a":2,"b":1.50,"c":null}'):
        redis = three()
        redis.head = entry(3, state, '{"a":2}')
        assert len(redis.look()) == 1


def test_an_entry_is_split_where_its_own_members_are() -> None:
    """Whatever patch and state hold: the texts are as they stand there."""
    patch, state = '{"patch":{"state":{}},"x":12345678901234567890.10}', '{"state":{"patch":null},"z":"\\u007b"}'
    assert read_entry(entry(2, state, patch, '"never"')) == Entry(2, "never", COMMITTED, COMMITTED, patch, state)
    assert read_entry(entry(2, state)) == Entry(2, None, COMMITTED, COMMITTED, None, state)


@pytest.mark.parametrize(
    ("timestamp", "stamp"),
    [
        ("null", COMMITTED),
        ("5", COMMITTED),
        ('"2026-01-01T00:00:00.5+01:00"', COMMITTED - 3_600_000_000 + 500_000),
        ('"1969-12-31T23:59:59.999999Z"', -1),
        ('"9999-12-31T23:59:59.999999Z"', 253402300799999999),
    ],
)
def test_where_the_times_have_a_commit(timestamp: str, stamp: int) -> None:
    """By the state's own time, where that is one."""
    found = read_entry(entry(1, "{}", timestamp=timestamp))
    assert found is not None
    assert found.stamp == float(stamp)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"{}",
        b"[]",
        b"\xff",
        b'{"version":1}',
        entry(0, "{}"),
        entry(1, "{}")[:-2],
        entry(1, "{}").replace(b'"version":1', b'"version":1.0'),
        entry(1, "{}").replace(b'"version":1', b'"version": 1'),
        entry(1, "{}").replace(b'"op":"set"', b'"op":"steal"'),
        entry(1, "{}").replace(b'"op":"set"', b'"op":"merge"'),
        entry(1, "{}", "{}").replace(b'"op":"merge"', b'"op":"set"'),
        entry(1, "{}").replace(b'"committed_at":"2026', b'"committed_at":"202'),
        entry(1, "{}").replace(b'"committed_at":"2026-01-01T00:00:00.000000Z"', b'"committed_at":1'),
        entry(1, "{}").replace(b'"actor":null,', b""),
        entry(1, "{}").replace(b'"actor":null', b'"actor":nil'),
        entry(1, "{}").replace(b'"patch":null', b'"patch":nil'),
        entry(1, "{}").replace(b'"patch":null', b'"patch":' + b"[" * 100_000),
        entry(1, "{}").replace(b',"state":', b',"estate":'),
    ],
)
def test_what_is_no_entry(text: bytes) -> None:
    """Whatever stands there: no error, and no entry."""
    assert read_entry(text) is None


def test_the_digest_goes_with_its_version_wherever_that_is() -> None:
    """Somebody committed after meta was read: the state that it is of stands in the history now."""
    digest = hashlib.sha1(b'{"a":1}').hexdigest()
    redis = Redis([entry(1, '{"a":1}')], digest=f"1:{digest}")
    assert redis.look() == []
    redis.head, redis.history = entry(2, '{"a":2}', '{"a":2}'), [entry(1, '{"a":1}')]
    assert redis.look() == []
    redis.history = [entry(1, '{"b":1}')]
    redis.head = entry(2, '{"b":1,"a":2}', '{"a":2}')
    assert redis.says == [
        "at version 1 is not what the commit of version 1 wrote (its SHA-1 is another): something else wrote it"
    ]


def test_the_times_in_either_protocol() -> None:
    """RESP3 has pairs."""
    redis = three()
    redis.times = [[b"3", float(COMMITTED)]]
    assert redis.look() == []
    redis.times = [[b"2", float(COMMITTED)]]
    assert redis.says == [
        "does not lead to version 3: look-ups by time miss it",
        "leads to version 2, which a later one of an earlier time overtook: something else wrote it",
    ]


def test_times_beyond_those_that_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """No claim is made on versions before them."""
    redis = Redis([entry(n, "{}", timestamp=f'"2026-01-01T00:00:0{n}Z"') for n in (3, 2, 1)])
    redis.head = redis.head.replace(b'"state":{}', b'"state":{"timestamp":"2026-01-01T00:00:03Z"}')
    redis.history = [
        text.replace(b'"state":{}', b'"state":{"timestamp":"2026-01-01T00:00:0%dZ"}' % n)
        for text, n in zip(redis.history, (2, 1), strict=True)
    ]
    redis.meta["bytes"] = "36"
    redis.times = [[f"{n}".encode(), COMMITTED + n * 1e6] for n in (2, 3)]
    assert redis.says == ["does not lead to version 1: look-ups by time miss it"]
    monkeypatch.setattr("circman_redis.verify._MOST_TIMES", 2)
    assert redis.says == []


def test_after_a_gap_the_times_may_know_better() -> None:
    """A version that is missing may have overtaken those before it."""
    stamped = [f'{{"timestamp":"2026-01-01T00:00:0{n}Z"}}' for n in range(5)]
    redis = Redis([entry(n, stamped[n], timestamp=f'"2026-01-01T00:00:0{n}Z"') for n in (4, 3, 1)])
    redis.times = [[b"3", COMMITTED + 3e6], [b"4", COMMITTED + 4e6]]
    assert redis.says == ["lacks version 2: something else removed it"]


def test_an_epoch_that_changes_starts_it_again() -> None:
    """A bounded number of times: then there is nothing that could be said."""
    redis = three()
    redis.history.pop(0)
    assert len(redis.look()) == 1
    answer, epochs = redis.answer, iter(range(100))

    def other(target: str, key: str, args: tuple[Any, ...]) -> Any:
        redis.meta["epoch"] = f"e{next(epochs)}"
        return answer(target, key, args)

    redis.answer = other  # type: ignore[method-assign]
    redis.calls.clear()
    assert redis.look() == []
    assert redis.calls.count("commits") == 5


def test_without_an_epoch_it_looks_twice() -> None:
    """What was left over at one look only came and went."""
    redis = three()
    redis.meta = dict.fromkeys(redis.meta)
    redis.kinds = {KEYS.history: b"list"}
    answer = redis.answer
    redis.answer = lambda *call: [] if call[0] == "commits" else answer(*call)  # type: ignore[method-assign]
    assert redis.says == ["is left over from a twin that has no state"]
    assert redis.calls.count("commits") == 2
    looks = iter([b"list", b"none"])
    redis.answer = (
        lambda *call: (  # type: ignore[method-assign]
            next(looks) if call[:2] == ("TYPE", KEYS.history) else [] if call[0] == "commits" else answer(*call)
        )
    )
    assert redis.look() == []


def test_a_setting_that_changes_in_between() -> None:
    """The history may be longer than the setting that is read after it; but not for long."""
    redis = three(history_length="1")
    assert redis.says == ["has 2 entries, over its length of 1"]
    lengths, answer = iter([2, 1]), redis.answer
    redis.answer = lambda *call: next(lengths) if call[0] == "LLEN" else answer(*call)  # type: ignore[method-assign]
    assert redis.look() == []


def test_a_refusal_without_particulars() -> None:
    """A reply that nobody can read is a matter of meta."""
    redis = three()
    answer = redis.answer
    redis.answer = lambda *call: CorruptTwin("what is this?") if call[0] == "commits" else answer(*call)  # type: ignore[method-assign]
    assert redis.look() == [Disagreement(KEYS.meta, 3, "cannot be read")]


def test_a_head_that_changed_after_meta_was_read() -> None:
    """Each reading is checked by itself."""
    redis = three()
    redis.head = b'{,"state":{}}'
    redis.times = []
    assert redis.says == ["holds no record of a commit: something else wrote it"]


def test_a_disagreement_as_text() -> None:
    """The key, and what is wrong with it."""
    assert str(Disagreement("k", 5, "lacks version 5")) == "k lacks version 5"
