"""backup.lua, backup_history.lua and the three scripts that restore, by raw EVAL: what they refuse changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from circman_redis import protocol
from circman_redis.backup_file import rules_text, settings_text
from circman_redis.keys import TwinKeys
from tests.lua.support import STORED, RawTwin

TOKEN = "0123456789abcdef"
KEPT = 60_000


def pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


class Copy:
    """What the reading scripts give of a twin, to be restored, also with something wrong in it."""

    def __init__(self, source: RawTwin) -> None:
        reply = source.call("backup", read_only=True)
        self.version, self.count, self.head, self.state, self.schema = reply[1:6]
        self.settings, self.rules = settings_text(pairs(reply[6])), rules_text(pairs(reply[7]))
        self.origin: bytes = reply[8]
        self.entries: list[bytes] = []
        while len(self.entries) < self.count:
            below = self.version - len(self.entries)
            self.entries += source.call("backup_history", self.version, below, read_only=True)[3:]

    def begin(self, target: RawTwin, token: str = TOKEN, **other: bytes) -> Any:
        parts = {
            name: getattr(self, name) for name in ("state", "head", "settings", "rules", "schema", "origin")
        } | other
        return target.call("restore_begin", token, KEPT, *parts.values())

    def restore(self, target: RawTwin, mode: str = "new", actor: str = "me") -> bytes:
        self.begin(target)
        for start in range(0, len(self.entries), 3):
            target.call("restore_history", TOKEN, KEPT, *self.entries[start : start + 3])
        epoch: bytes = target.call("restore", TOKEN, mode, len(self.entries), actor)
        return epoch


@pytest.fixture(params=["full", "compact", "mixed"])
def source(request: pytest.FixtureRequest, raw: RawTwin) -> RawTwin:
    """Versions 1 to 40 with a model; timestamps that do not rise; a text with everything that is escaped."""
    raw.configure(
        settings='{"history_length":1000,"auto_timestamp":0}',
        model={"model": "M", "model_hash": "h", "checks": "server", "validation": "standard"},
        rules={"/n": {"type": "number"}, '/a~1b"é/*': {"minimum": 0}},
    )
    raw.set('{"n":0,"digits":22.10,"big":12345678901234567890,"text":"\\"{[]}\\\\é\\n","none":null}')
    for n in range(1, 40):
        if n == 1 or (n == 20 and request.param == "mixed"):
            raw.configure(
                settings=json.dumps({"history": "full" if n == 1 and request.param != "compact" else "compact"})
            )
        stamp = f'"2026-01-01T00:00:{n * 7 % 60:02}Z"' if n % 5 else "null"
        raw.merge(f'{{"n":{n},"timestamp":{stamp}}}', commit_id=f"id-{n}", actor="é {")
    return raw


@pytest.fixture
def target(raw: RawTwin) -> RawTwin:
    """Another twin, of which there is nothing."""
    return RawTwin(raw.client, stamped=True)


@pytest.fixture
def copy(source: RawTwin) -> Copy:
    return Copy(source)


def test_what_is_restored_is_the_same(source: RawTwin, target: RawTwin, copy: Copy) -> None:
    """Every byte of state, history, rules, schema and times; in meta all but the epoch and what remembers ids."""
    epoch = copy.restore(target)
    for name in ("state", "history", "rules", "schema", "times"):
        found, wanted = (twin.dump()[0][getattr(twin.keys, name)] for twin in (target, source))
        assert found == wanted, name
    before, after = (twin.client.hgetall(twin.keys.meta) for twin in (source, target))
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == {b"epoch", b"calls", b"ids_since", b"ids_rotated"}
    assert after[b"epoch"] == epoch != before[b"epoch"]
    assert not target.client.exists(*(getattr(target.keys, name) for name in ("ids", "old_ids", "restore")))
    assert not target.client.exists(target.keys.restore_history, target.keys.restore_times)
    assert all(target.client.pttl(key) in {-1, -2} for key in target.dump()[0])
    assert [target.lookup("version", n) for n in range(1, 40)] == [
        {**(source.lookup("version", n) or {}), "epoch": epoch.decode()} for n in range(1, 40)
    ]
    assert target.merge('{"n":41}').first == 41


def test_a_restored_twin_has_no_old_ids(target: RawTwin, copy: Copy) -> None:
    """So a retry of what was sent before is refused, and what is sent anew commits."""
    copy.restore(target)
    with target.refused("EXPIRED"):
        target.merge('{"n":1}', commit_id="id-3", age=1000)
    assert target.merge('{"n":1}', commit_id="id-3").first == 41


def test_it_is_announced(target: RawTwin, copy: Copy) -> None:
    """With the new epoch."""
    with target.listening() as events:
        epoch = copy.restore(target, actor="é")
    (event,) = events
    event.pop("committed_at")
    assert event == {"twin": target.keys.twin, "epoch": epoch.decode(), "version": 40, "op": "restore", "actor": "é"}


def test_sent_again(target: RawTwin, copy: Copy) -> None:
    """Whichever answer was lost: a call that was made changes nothing the second time."""
    copy.begin(target)
    copy.begin(target)
    for _ in range(2):
        assert target.call("restore_history", TOKEN, KEPT, *copy.entries[:5]) == 35
    for _ in range(2):
        assert target.call("restore_history", TOKEN, KEPT, *copy.entries[5:]) == 1
    epoch = target.call("restore", TOKEN, "new", 39, "")
    with target.listening() as events:
        assert target.call("restore", TOKEN, "new", 39, "") == epoch
    assert events == []
    assert len(target.history) == 39


def test_where_there_is_a_twin(source: RawTwin, copy: Copy) -> None:
    """It takes a word to replace it, whatever it holds."""
    source.merge('{"n":7}')
    copy.begin(source)
    source.call("restore_history", TOKEN, KEPT, *copy.entries)
    with source.refused("CONFLICT") as refusal:
        source.call("restore", TOKEN, "new", 39, "")
    assert refusal.details == {"expected": 0, "actual": 41}
    assert source.call("restore", TOKEN, "replace", 39, "")
    assert source.version == 40


@pytest.mark.parametrize("name", STORED)
def test_where_anything_is_left_of_a_twin(target: RawTwin, copy: Copy, name: str) -> None:
    """Of any type: refused, and replaced on request."""
    target.client.zadd(getattr(target.keys, name), {"x": 1})
    copy.begin(target)
    target.call("restore_history", TOKEN, KEPT, *copy.entries)
    with target.refused("CONFLICT"):
        target.call("restore", TOKEN, "new", 39, "")
    assert target.call("restore", TOKEN, "replace", 39, "")
    assert [target.client.zrange(target.keys.times, 0, 0)] != [[b"x"]]
    assert target.merge("{}").first == 41


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("state", b"[]"),
        ("state", b"{"),
        ("state", b'{"n": 1}'),
        ("state", b'{"n":1,"n":1}'),
        ("state", b'{"n":"\xff"}'),
        ("state", b'{"n":1e999}'),
        ("state", b'{"n":1,"timestamp":"2020-01-01T00:00:00Z"}'),
        ("state", b'{"a":' * 65 + b"1" + b"}" * 65),
        ("head", b""),
        ("head", b"{}"),
        ("head", b"x" * 100_000),
        *(
            ("head", b"%b" % old + b"|" + new)
            for old, new in {
                b'"version":40': b'"version":0',
                b'"version":4': b'"version":9999999999999999',
                b'"op":"merge"': b'"op":3',
                b'"committed_at":"2': b'"committed_at":"x',
                b'"actor":"': b'"actor":[],"x":"',
                b'"patch":{': b'"patch":{"n":1,',
                b'"id":"id-39"': b'"id":[1]',
            }.items()
        ),
        ("settings", b'{"history_length":0}'),
        ("settings", b'{"history_length":"5"}'),
        ("settings", b'{"version":5}'),
        ("settings", b'{"model":"M"}'),
        ("settings", b'{"digest":"x"}'),
        ("settings", b'{"digest":"41:' + b"a" * 40 + b'"}'),
        ("settings", b'{"digest":"40:' + b"a" * 40 + b'"}'),
        ("settings", b"{ }"),
        ("settings", b"[]"),
        ("rules", b'{"/n":1}'),
        ("rules", b"x"),
        ("schema", b"x"),
    ],
)
def test_what_cannot_begin_a_restore(target: RawTwin, copy: Copy, part: str, text: bytes) -> None:
    """Refused with the reason."""
    if part == "head" and b"|" in text:
        old, new = text.split(b"|")
        assert old in copy.head
        text = copy.head.replace(old, new, 1)
    with target.refused("BAD_JSON") as refusal:
        copy.begin(target, **{part: text})
    assert refusal.details["reason"]
    assert not target.client.exists(target.keys.restore)


@pytest.mark.parametrize(
    "change",
    [
        lambda texts: texts[1:],
        lambda texts: [texts[0], *texts],
        lambda texts: [texts[0].replace(b'"version":39', b'"version":38', 1), *texts[1:]],
        lambda texts: [texts[0][:-1]],
        lambda texts: [texts[0] + b"}"],
        lambda texts: [texts[0].replace(b'"committed_at":"2', b'"committed_at":"3', 1)],
        lambda texts: [texts[0].replace(b'"patch":{', b'"patch":{"n":1,"n":', 1)],
        lambda texts: [texts[0].replace(b'"patch":{', b'"patch": {', 1)],
        lambda texts: [b""],
        lambda texts: [b'{"version":39,' + b"x" * 100_000],
        lambda texts: [],
        lambda texts: [*texts, b'{"version":0,}'],
        lambda texts: [texts[0]] * 1001,
    ],
)
def test_entries_that_do_not_fit(target: RawTwin, copy: Copy, change: Any) -> None:
    """None of the call's is laid by."""
    copy.begin(target)
    staged = target.client.hgetall(target.keys.restore)
    with target.refused("BAD_JSON") as refusal:
        target.call("restore_history", TOKEN, KEPT, *change(copy.entries))
    assert refusal.details["reason"]
    assert target.client.hgetall(target.keys.restore) == staged
    assert not target.client.exists(target.keys.restore_history)


def test_a_compact_entry_of_a_twin_that_has_none(target: RawTwin, copy: Copy) -> None:
    """Look-ups would take it for a full one."""
    compact = any(b'"inverse":' in text for text in copy.entries)
    copy.begin(target, settings=b"{}")
    said = target.error_of(lambda: target.call("restore_history", TOKEN, KEPT, *copy.entries))
    assert ("compact" in said) == compact


@pytest.mark.parametrize(
    ("args", "laid_by"),
    [
        (("0" * 16, "new", 39, ""), 39),
        ((TOKEN, "new", 38, ""), 39),
        ((TOKEN, "new", 39, ""), 38),
        ((TOKEN, "x", 39, ""), 39),
        ((TOKEN, "new", "x", ""), 39),
        ((TOKEN, "new", 39, "x" * 200), 39),
    ],
)
def test_what_is_not_put_in_place(target: RawTwin, copy: Copy, args: tuple[Any, ...], laid_by: int) -> None:
    """Another restore's, or not all of it."""
    copy.begin(target)
    target.call("restore_history", TOKEN, KEPT, *copy.entries[:laid_by])
    if laid_by < 39:
        target.client.rpush(target.keys.restore_history, "x")
    with target.refused("BAD_JSON"):
        target.call("restore", *args)


def test_more_history_than_the_twin_keeps(target: RawTwin, copy: Copy) -> None:
    """No commit leaves that."""
    copy.begin(target, settings=b'{"history_length":38,"history":"compact"}')
    target.call("restore_history", TOKEN, KEPT, *copy.entries)
    with target.refused("BAD_JSON"):
        target.call("restore", TOKEN, "new", 39, "")


def test_a_restore_takes_the_place_of_one_that_was_left(target: RawTwin, copy: Copy) -> None:
    """And nothing of that stays; without one, it would be gone by itself."""
    copy.begin(target, "f" * 16)
    target.call("restore_history", "f" * 16, KEPT, *copy.entries[:7])
    for name in ("restore", "restore_history", "restore_times"):
        assert 0 < target.client.pttl(getattr(target.keys, name)) <= KEPT
    copy.begin(target)
    with target.refused("BAD_JSON"):
        target.call("restore_history", "f" * 16, KEPT, *copy.entries[7:])
    target.call("restore_history", TOKEN, KEPT, *copy.entries)
    target.call("restore", TOKEN, "new", 39, "")
    assert len(target.history) == 39


@pytest.mark.parametrize("args", [("x", 1), (1, "x"), ("", ""), (0, 1), (1, 0), (1, "1 1"), ("1" * 400, "1")])
def test_no_page(source: RawTwin, args: tuple[Any, ...]) -> None:
    """Versions are whole numbers."""
    reply = source.error_of(lambda: source.call("backup_history", *args, read_only=True))
    assert reply.startswith("CIRCMAN_BAD_JSON") or args == ("1" * 400, "1")


def test_a_page_of_what_is_not_there(source: RawTwin) -> None:
    """A version that is still to come has no commit; below the oldest there is nothing."""
    assert source.call("backup_history", 99, 99, read_only=True)[1:] == [b"", 0]
    assert source.call("backup_history", 40, 1, read_only=True)[3:] == []


def test_a_page_is_bounded(raw: RawTwin) -> None:
    """In bytes; one entry comes in any case."""
    raw.meta(max_bytes=10**6)
    for n in range(4):
        raw.set(f'{{"n":{n},"text":"{"x" * 300_000}"}}')
    assert len(raw.call("backup_history", 4, 4, read_only=True)[3:]) == 1


def test_no_twin(target: RawTwin) -> None:
    """Nil."""
    assert target.call("backup", read_only=True) is None


def test_the_keys_of_a_restore_are_the_twins(target: RawTwin) -> None:
    """The scripts are called with what keys.py builds, for protocol.py's delete too."""
    keys = TwinKeys("x")
    assert {keys.restore, keys.restore_history, keys.restore_times}.isdisjoint(protocol.delete(keys, "").keys)


def test_an_id_of_whoever_knows_the_restored_commit_is_good(target: RawTwin, copy: Copy) -> None:
    """One made before it is not: its commit may be in the copy."""
    copy.restore(target)
    committed = int(target.meta_of("committed"))
    with target.refused("EXPIRED"):
        target.merge('{"n":1}', commit_id=f"c.{committed - 1:013x}.x")
    assert target.merge('{"n":1}', commit_id=f"c.{committed:013x}.x").first == 41
