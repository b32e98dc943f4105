"""Compact history: entries with the way back to their state, from which every look-up makes the very state."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import redis

from circman_redis.canonical import inverse_text, merge_text
from tests.lua.support import RawTwin
from tests.lua.test_cost import commands

DOCUMENT = '{"a":{"b":1.50,"c":[]},"n":0,"s":"x\\u005d","long":"' + "x" * 300 + '"}'


def compact(raw: RawTwin, first: str = DOCUMENT, **how: Any) -> RawTwin:
    """A twin that keeps its history compact, with its first state."""
    twin = RawTwin(raw.client, **how)
    twin.configure(settings='{"history":"compact"}')
    twin.set(first)
    return twin


def forms(twin: RawTwin) -> str:
    """Of each entry, newest first: f for full, c for compact."""
    return "".join("c" if "inverse" in entry else "f" for entry in twin.history)


def counted(twin: RawTwin, to: int) -> RawTwin:
    """Merges a number until the twin has this version."""
    twin.commit(*[f'{{"n":{n},"a":{{"b":{n}.0}}}}' for n in range(twin.version + 1, to + 1)])
    return twin


def states_of(twin: RawTwin) -> dict[int, bytes]:
    """The state at every version that can be looked up, as text."""
    found = {}
    for version in range(1, twin.version + 1):
        reply = twin.call("lookup", "version", version)
        if reply:
            found[version] = reply[1].partition(b',"state":')[2][:-1]
    return found


def test_an_entry_is_its_commit_with_the_way_back(raw: RawTwin) -> None:
    """The facts and the patch as ever; the old values of what the next patch touched, null for what it added."""
    full, twin = RawTwin(raw.client), compact(raw)
    full.set(DOCUMENT)
    for one in (full, twin):
        one.merge('{"a":{"b":2,"new":{"x":null}},"more":{}}', commit_id="i", actor="me")
        one.merge('{"n":null,"s":"y"}')
    # A removed member comes back last: where it stood elsewhere, that is another text.
    assert forms(twin) == "fc"
    text, before = (one.client.lindex(one.keys.history, 1) for one in (twin, full))
    facts, _, inverse = text.partition(b',"inverse":')
    assert facts[:13] == before[:13] == b'{"version":1,'
    assert facts[-13:] == b',"patch":null'
    assert inverse == b'{"a":{"b":1.50,"new":null},"more":null}}'
    assert b'"state":' not in text
    assert list(states_of(twin).values()) == list(states_of(full).values())


def test_the_stamp_is_undone_too(stamped: RawTwin) -> None:
    """Which the commit set by itself."""
    twin = compact(stamped, stamped=True)
    twin.merge('{"n":1}')
    twin.merge('{"n":2}')
    old = json.loads(twin.history[0]["timestamp"].join('""'))
    assert twin.history[0]["inverse"] == {"n": 1, "timestamp": old}
    assert twin.lookup("version", 2)["state"]["timestamp"] == old


def test_full_is_as_ever(raw: RawTwin) -> None:
    """Nobody said how: then meta says nothing of it either, and every entry has its state."""
    raw.set(DOCUMENT)
    counted(raw, 40)
    assert forms(raw) == "f" * 39
    assert raw.client.hget(raw.keys.meta, "history") is None
    raw.configure(settings='{"history":"full"}')
    counted(raw, 42)
    assert forms(raw) == "f" * 41


def test_every_sixteenth_is_full_and_what_was_replaced(raw: RawTwin) -> None:
    """So is one that a set or an import superseded."""
    twin = counted(compact(raw), 40)
    full = [entry["version"] for entry in twin.history if "state" in entry]
    assert full == [32, 16]
    twin.set(DOCUMENT)
    twin.adjust(n="1")
    twin.commit(DOCUMENT, op="import")
    twin.merge('{"n":9}')
    assert forms(twin)[:4] == "cfcf"
    assert [entry["op"] for entry in twin.history[:4]] == ["import", "adjust", "set", "merge"]


NO_WAY_BACK = {
    "a removed member that was not the last": ('{"a":1,"long":"%s"}', '{"a":null}'),
    "two removed members, the last first": ('{"long":"%s","a":1,"b":2}', '{"b":null,"a":null}'),
    "a null that is replaced": ('{"long":"%s","a":null}', '{"a":1}'),
    "an object with a null that is replaced": ('{"long":"%s","a":{"b":{"c":null}}}', '{"a":1}'),
    "an object with a null that is removed": ('{"long":"%s","a":{"c":null}}', '{"a":null}'),
    "a null inside an object": ('{"long":"%s","a":{"b":{"c":null}}}', '{"a":{"b":{"c":1}}}'),
    "nothing smaller": ('{"a":1%.0s}', '{"a":"x"}'),
}
WAY_BACK = {
    "a removed member that was the last": ('{"long":"%s","a":1}', '{"a":null}'),
    "two removed members, in their order": ('{"long":"%s","a":1,"b":2}', '{"a":null,"b":null}'),
    "a null that is not touched": ('{"long":"%s","a":{"b":null,"c":1},"d":null}', '{"a":{"c":2}}'),
    "a null in an array": ('{"long":"%s","a":[null,{"b":null}]}', '{"a":1}'),
    "an object becomes a number": ('{"long":"%s","a":{"b":{"c":[]}}}', '{"a":1}'),
    "a number becomes an object": ('{"a":1,"long":"%s"}', '{"a":{"b":{"c":1,"d":null}}}'),
    "an object becomes an empty one": ('{"a":1,"long":"%s"}', '{"a":{}}'),
    "nothing changes": ('{"a":{"b":1},"long":"%s"}', '{"a":{"b":1}}'),
    "what is not there is removed": ('{"a":{"b":1},"long":"%s"}', '{"x":null,"a":{"y":null}}'),
    "a name like a deeper one": ('{"x":{"a":1},"a":2,"long":"%s"}', '{"a":3}'),
    "a name in front of the others": ('{"a":2,"b":3,"long":"%s"}', '{"b":4,"a":5}'),
    "a name with a comma in front": ('{"a":2,",":3,"long":"%s"}', '{",":4}'),
}


@pytest.mark.parametrize("case", [*NO_WAY_BACK, *WAY_BACK])
def test_the_way_back_is_exact_or_not_taken(raw: RawTwin, case: str) -> None:
    """Merged into the new state it gives the old one byte by byte; where none does, the old one is kept."""
    document, patch = (NO_WAY_BACK | WAY_BACK)[case]
    twin = compact(raw, document % ("x" * 200))
    before = twin.state
    twin.merge(patch)
    text = twin.client.lindex(twin.keys.history, 0).decode()
    assert states_of(twin)[1].decode() == before
    if case in WAY_BACK:
        inverse = text.partition(',"inverse":')[2][:-1]
        assert merge_text(twin.state, inverse) == before
        assert inverse == inverse_text(before, patch)
    else:
        assert text.endswith(f',"patch":null,"state":{before}}}')
        assert case == "nothing smaller" or inverse_text(before, patch) is None


@pytest.mark.parametrize("most_looks", [32, 3])
def test_a_wide_patch(raw: RawTwin, most_looks: int) -> None:
    """So many members that they are looked for through an index, in another order than they stand in."""
    twin = compact(raw, json.dumps({"o": {f"k{n}": n for n in range(100)}}), constants={"MOST_LOOKS": most_looks})
    before = twin.state
    patch = json.dumps({"o": {f"k{n}": -n for n in range(60, 0, -1)} | {"new": 1}})
    twin.merge(patch)
    assert twin.history[0]["inverse"] == json.loads(inverse_text(before, patch) or "")
    assert states_of(twin)[1].decode() == before


def test_a_page_that_begins_anywhere(raw: RawTwin) -> None:
    """Every look-up of every version, on entries of both forms."""
    twin = counted(compact(raw), 20)
    twin.configure(settings='{"history":"full"}')
    counted(twin, 25)
    twin.configure(settings='{"history":"compact"}')
    counted(twin, 40)
    assert forms(twin) == "c" * 7 + "f" + "c" * 7 + "f" * 5 + "c" * 3 + "f" + "c" * 15
    whole = [json.dumps(one["state"]["n"]) for one in twin.commits()]
    assert whole == [str(n) for n in range(40, 1, -1)] + ["0"]
    texts = twin.call("commits", "", "")[1:]
    for version in range(1, 41):
        assert twin.call("lookup", "version", version)[1] == texts[40 - version]
        assert twin.call("commits", version + 1, 3)[1:] == texts[40 - version : 43 - version]
        assert twin.call("past", 39 - version, 41 - version) == (
            texts[40 - version : 43 - version] if version < 40 else []
        )
        assert twin.call("resume", version, 0)[2] == texts[40 - version]


def test_places_are_those_of_a_list(raw: RawTwin) -> None:
    """As LRANGE has them, from either end and beyond."""
    for twin in (counted(compact(raw), 6), raw):
        if twin is raw:
            raw.set(DOCUMENT)
            counted(raw, 6)
        for first, last in [(0, -1), (0, 0), (-1, -1), (-2, -1), (-99, 2), (3, 1), (7, 9), (0, 2**53), (-(2**53), -5)]:
            expected = [json.loads(text)["version"] for text in twin.client.lrange(twin.keys.history, first, last)]
            found = [json.loads(text) for text in twin.call("past", first, last, read_only=True)]
            assert [one["version"] for one in found] == expected
            assert all("state" in one for one in found)
    for wrong in [("", "0"), ("0", "x"), ("0", "1.5"), ("0 1", "2")]:
        with raw.refused("BAD_JSON"):
            raw.call("past", *wrong)
    assert RawTwin(raw.client).call("past", 0, -1) == []


def test_trimming_and_clearing_break_no_chain(raw: RawTwin) -> None:
    """Every state that is kept is found, whatever left the history before it."""
    twin = counted(compact(raw), 40)
    before = states_of(twin)
    for length in (30, 20, 9, 3, 1):
        twin.configure(settings=f'{{"history_length":{length}}}')
        assert states_of(twin) == {version: before[version] for version in range(40 - length, 41)}
    twin.call("clear", "")
    assert states_of(twin) == {40: before[40]}
    counted(twin, 42)
    assert list(states_of(twin)) == [41, 42]


def test_it_only_reads(raw: RawTwin) -> None:
    """Look-ups in compact form go by EVALSHA_RO too, and change nothing."""
    twin = counted(compact(raw), 20)
    before = twin.dump()
    assert twin.lookup("version", 3, read_only=True)["state"]["n"] == 3
    assert len(twin.commits(read_only=True)) == 20
    assert len(twin.call("resume", 3, 0, read_only=True)) == 20
    assert twin.dump() == before


def test_a_look_up_reads_up_to_the_nearest_state(raw: RawTwin) -> None:
    """Fifteen entries at most, in any history; none where the entry has its state."""
    twin = counted(compact(raw), 200)
    for version, steps in ((17, 15), (31, 1), (32, 0), (185, 7), (193, 7), (199, 1)):
        found = commands(twin, twin.lookup, "version", version)
        assert found["lindex"] == 1 + steps - (version > 192)
        assert found.get("get", 0) == (version > 192)


def test_a_resumed_page_makes_the_states_that_it_needs(raw: RawTwin) -> None:
    """The one that is known, where its state is not; those of sets."""
    full, twin = RawTwin(raw.client), compact(raw)
    full.set(DOCUMENT)
    for one in (full, twin):
        counted(one, 5)
        one.set(DOCUMENT)
        counted(one, 30)
    for last in ["", *range(31)]:
        for known in (0, 1):
            pages = [one.call("resume", last, known)[1:] for one in (full, twin)]
            assert anonymous(pages[0]) == anonymous(pages[1])


def test_pages_of_large_states_come_to_the_same(raw: RawTwin) -> None:
    """A page ends where enough was read: compact entries are short, so it may carry more, and all together the same."""
    large = f'{{"n":0,"long":"{"x" * 20_000}"}}'
    full, twin = RawTwin(raw.client), compact(raw, large)
    full.set(large)
    walks = []
    for one in (full, twin):
        for n in range(2, 150):
            one.commit(large if n % 40 == 0 else f'{{"n":{n}}}', op="set" if n % 40 == 0 else "merge")
        found: list[bytes] = []
        while len(found) < 148:
            found += one.call("resume", 1 + len(found), 1)[3:]
        walks.append(anonymous(found))
    assert walks[0] == walks[1]


def anonymous(texts: list[Any]) -> list[Any]:
    """Without the time of the commit."""
    return [re.sub(rb'"committed_at":"[^"]*"', b"", text) if isinstance(text, bytes) else text for text in texts]


def test_its_memory(raw: RawTwin) -> None:
    """1,000 entries of 2 kB: at most 0.4 of the bytes of their states."""
    line = {"temperature": 22.5, "efficiency": 0.91, "humidity": 40}
    document = {"line": line, "timestamp": "", "notes": {f"n{n}": "x" * 60 for n in range(27)}}
    twin = compact(raw, json.dumps(document), stamped=True)
    twin.meta(auto_timestamp="1")
    for start in range(0, 1010, 101):
        twin.commit(
            *[
                f'{{"line":{{"temperature":{n}.5,"efficiency":0.{n},"humidity":{n}}}}}'
                for n in range(start, start + 101)
            ]
        )
    assert twin.client.llen(twin.keys.history) == 1000
    size = twin.client.memory_usage(twin.keys.history, samples=0)
    assert size / (1000 * len(twin.state)) < 0.4


# --- what something else changed ---------------------------------------------------------------------------------


def junk(text: str) -> str:
    return "x"


def other_version(text: str) -> str:
    return text.replace('"version":10', '"version":11')


def no_patch(text: str) -> str:
    return text.replace(',"patch":', ',"match":')


def cut_off(text: str) -> str:
    return text[:-4]


def another_name(text: str) -> str:
    return text.replace(',"inverse":', ',"inverts":')


def with_inverse(inverse: str) -> Callable[[str], str]:
    return lambda text: text.partition(',"inverse":')[0] + f',"inverse":{inverse}}}'


DAMAGE: list[Callable[[str], str]] = [
    junk,
    other_version,
    no_patch,
    cut_off,
    another_name,
    *map(with_inverse, ["", "[]", "5", "null", '"{}"', '{"n":}', '{"n":1,"n":2}', '{"n":1}}', "{n:1}", '{"n":tru}']),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_named(raw: RawTwin, damage: Callable[[str], str]) -> None:
    """By every look-up that goes by way of it: of its own version, and of those below up to the next full one."""
    twin = counted(compact(raw), 40)
    fine = states_of(twin)
    index = 40 - 1 - 10
    text = twin.client.lindex(twin.keys.history, index).decode()
    twin.client.lset(twin.keys.history, index, damage(text))
    for version in range(1, 11):
        with twin.refused("CORRUPT") as refusal:
            twin.lookup("version", version)
        assert refusal.details["key"] == twin.keys.history
    for version in range(11, 41):
        assert twin.call("lookup", "version", version)[1].endswith(fine[version] + b"}")
    for call in (twin.commits, lambda: twin.commits(before=9), lambda: twin.call("past", 0, -1)):
        with twin.refused("CORRUPT"):
            call()
    with twin.refused("CORRUPT"):
        twin.call("resume", 9, 0)
    assert len(twin.commits(limit=30)) == 30
    assert twin.client.llen(twin.keys.history) == 39


@pytest.mark.parametrize("broken", [',"stare":{', ',"state":[', ',"state":{{'])
def test_nothing_is_rebuilt_from_a_damaged_full_entry(raw: RawTwin, broken: str) -> None:
    """The state that others go back from has to be one."""
    twin = counted(compact(raw), 20)
    index = 20 - 1 - 16
    text = twin.client.lindex(twin.keys.history, index).decode()
    twin.client.lset(twin.keys.history, index, text.replace(',"state":{', broken))
    for version in (1, 15):
        with twin.refused("CORRUPT"):
            twin.lookup("version", version)
    with twin.refused("CORRUPT"):
        twin.commits()


def test_entries_that_are_gone_are_noticed(raw: RawTwin) -> None:
    """A chain has every version."""
    twin = counted(compact(raw), 14)
    twin.client.lrem(twin.keys.history, 1, twin.client.lindex(twin.keys.history, 3))
    for version in range(2, 11):
        with twin.refused("CORRUPT"):
            twin.lookup("version", version)


@pytest.mark.parametrize("text", ["x", "", "[]", '{"a":1}', "same length"])
def test_a_state_that_is_not_the_commits(raw: RawTwin, text: str) -> None:
    """Nothing is rebuilt from it."""
    twin = counted(compact(raw), 14)
    wrong = "{" + "x" * (len(twin.state) - 2) + "}" if text == "same length" else text
    twin.client.set(twin.keys.state, wrong)
    for version in (1, 13):
        with twin.refused("CORRUPT"):
            twin.lookup("version", version)


def test_a_setting_that_nobody_may_make(raw: RawTwin) -> None:
    """Full or compact, as text."""
    for wrong in ('"zip"', '""', "1", "null", "compact", '["compact"]'):
        with raw.refused("BAD_JSON"):
            raw.configure(settings=f'{{"history":{wrong}}}')


def test_without_the_setting_a_compact_entry_is_no_state(raw: RawTwin) -> None:
    """Where something removed it, the entry comes as it stands: its reader finds no state, and never a wrong one."""
    twin = counted(compact(raw), 5)
    twin.client.hdel(twin.keys.meta, "history")
    found = twin.lookup("version", 3)
    assert found is not None
    assert "state" not in found
    with pytest.raises(redis.ResponseError):
        twin.lookup("version", "x")
