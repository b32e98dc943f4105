"""lookup.lua and commits.lua: the head, a version, a time, and pages of commits. They write nothing."""

from __future__ import annotations

import pytest
import redis

from tests.lua.support import RawTwin


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


@pytest.fixture
def five(raw: RawTwin) -> RawTwin:
    """Versions 1 to 5, a second apart."""
    for n in range(1, 6):
        raw.set(f'{{"n":{n},"timestamp":"{at(n)}"}}', actor=f"a{n}", commit_id=f"i{n}")
    return raw


def test_every_version_is_found_with_its_facts(five: RawTwin) -> None:
    """Past ones in the history, the last one in the head; each is an entry of the documented shape."""
    for n in range(1, 6):
        found = five.lookup("version", n)
        assert found is not None
        assert found.keys() == {
            *("epoch", "version", "timestamp", "committed_at", "op", "actor", "id", "patch", "state"),
        }
        assert found["state"] == {"n": n, "timestamp": at(n)}
        assert (found["version"], found["timestamp"], found["actor"], found["id"]) == (n, at(n), f"a{n}", f"i{n}")
        assert found["epoch"] == five.meta_of("epoch")
    assert five.lookup("head") == five.lookup("version", 5)


@pytest.mark.parametrize("version", ["0", "6", "00", "99999999999999999999", "1" + "0" * 400])
def test_a_version_that_never_was(five: RawTwin, version: str) -> None:
    """Nothing is found, and that is no error."""
    assert five.lookup("version", version) is None


def test_the_digits_are_those_of_the_state(raw: RawTwin) -> None:
    """Entries are text: nothing is decoded on the way."""
    raw.set('{"n":1.50,"big":12345678901234567890}')
    head = raw.call("lookup", "head", "")[1]
    raw.set("{}")
    past = raw.call("lookup", "version", 1)[1]
    assert head == past
    assert past.endswith(b',"state":{"n":1.50,"big":12345678901234567890}}')


def test_what_left_the_history_is_not_found(raw: RawTwin) -> None:
    """Neither by version nor by time; what is left is found by both."""
    raw.meta(history_length=2)
    for n in range(1, 6):
        raw.set(f'{{"timestamp":"{at(n)}"}}')
    assert [bool(raw.lookup("version", n)) for n in range(1, 6)] == [False, False, True, True, True]
    assert [bool(raw.lookup("time", at(n))) for n in range(1, 6)] == [False, False, True, True, True]


@pytest.mark.parametrize("how", ["head", "version", "time"])
def test_without_a_state_nothing_is_found(raw: RawTwin, how: str) -> None:
    """Also after a delete."""
    wanted = {"head": "", "version": "1", "time": at(1)}[how]
    assert raw.lookup(how, wanted) is None
    raw.set(f'{{"timestamp":"{at(1)}"}}')
    assert raw.lookup(how, wanted) is not None
    raw.call("delete", "")
    assert raw.lookup(how, wanted) is None


TIMES = {
    "2026-01-01T00:00:00.999999Z": None,
    "2026-01-01T00:00:01Z": 1,
    "2026-01-01T00:00:02.999999Z": 2,
    "2026-01-01T00:00:03": 3,
    "2026-01-01 00:00:03Z": 3,
    "2026-01-01T01:00:03+01:00": 3,
    "2025-12-31T23:00:03-01": 3,
    "2026-01-01T00:00:03.9999999": 3,
    "9999-12-31T23:59:59.999999Z": 5,
    "0001-01-01T00:00:00Z": None,
}


@pytest.mark.parametrize("time", TIMES)
def test_by_time(five: RawTwin, time: str) -> None:
    """The state that held then: the newest one not after it; with an offset, or as UTC without."""
    found = five.lookup("time", time)
    assert (found and found["version"]) == TIMES[time]


def test_times_out_of_order(raw: RawTwin) -> None:
    """A later version with an earlier time holds from that time on: the newest not after it counts."""
    for second in (10, 20, 5, 30, 15):
        raw.set(f'{{"timestamp":"{at(second)}"}}')
    versions = [raw.lookup("time", at(second)) for second in (4, 5, 10, 14, 15, 20, 30, 59)]
    assert [found and found["version"] for found in versions] == [None, 3, 3, 3, 5, 5, 5, 5]


def test_equal_times(raw: RawTwin) -> None:
    """The newest of them."""
    for n in range(3):
        raw.set(f'{{"n":{n},"timestamp":"{at(1)}"}}')
    raw.set(f'{{"n":3,"timestamp":"{at(2)}"}}')
    found = raw.lookup("time", at(1))
    assert found is not None
    assert found["state"]["n"] == 2


def test_a_state_without_a_time_is_found_by_that_of_its_commit(raw: RawTwin) -> None:
    """When it was stored is the best that is known of it."""
    reply = raw.set('{"timestamp":"yesterday"}')
    assert raw.lookup("time", at(1)) is None
    found = raw.lookup("time", reply.committed_at)
    assert found is not None
    assert found["version"] == 1


NO_TIMES = ["", "x", "2026-01-01", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "now", '"', "{}", "é", "\n"]


@pytest.mark.parametrize("text", NO_TIMES, ids=ascii)
def test_what_is_no_time_is_refused(five: RawTwin, text: str) -> None:
    """The error tells what was given."""
    with five.refused("BAD_JSON") as refusal:
        five.lookup("time", text)
    assert text in refusal.details["reason"]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "0x1", " 1", "1e0", "nan", "+1", "1\n"], ids=ascii)
def test_what_is_no_version_is_refused(five: RawTwin, text: str) -> None:
    """Digits only."""
    with five.refused("BAD_JSON"):
        five.lookup("version", text)


@pytest.mark.parametrize("how", ["", "Head", "latest", "VERSION"])
def test_another_way_to_look_is_refused(five: RawTwin, how: str) -> None:
    """There are three."""
    with five.refused("BAD_JSON"):
        five.lookup(how, "1")


def versions(entries: list[dict[str, object]]) -> list[object]:
    return [entry["version"] for entry in entries]


PAGES = [
    ("", "", [5, 4, 3, 2, 1]),
    ("", 2, [5, 4]),
    ("", 1, [5]),
    ("", 5, [5, 4, 3, 2, 1]),
    ("", 100, [5, 4, 3, 2, 1]),
    ("", 0, []),
    ("", -1, []),
    (6, "", [5, 4, 3, 2, 1]),
    (100, 2, [5, 4]),
    (5, "", [4, 3, 2, 1]),
    (5, 2, [4, 3]),
    (4, 1, [3]),
    (2, "", [1]),
    (2, 5, [1]),
    (1, "", []),
    (0, "", []),
    (-5, "", []),
    (10**17, "", [5, 4, 3, 2, 1]),
    ("", 10**17, [5, 4, 3, 2, 1]),
]


@pytest.mark.parametrize(("before", "limit", "found"), PAGES)
def test_pages_of_commits(five: RawTwin, before: object, limit: object, found: list[int]) -> None:
    """Newest first, the head is one of them; below a version, and at most so many."""
    assert versions(five.commits(before, limit)) == found


def test_turning_pages_reaches_every_commit_once(raw: RawTwin) -> None:
    """Also while others commit in between."""
    for n in range(23):
        raw.set(f'{{"n":{n}}}')
    seen: list[dict[str, object]] = []
    before: object = ""
    while page := raw.commits(before, 5):
        seen += page
        before = page[-1]["version"]
        raw.set("{}")
    assert versions(seen) == list(range(23, 0, -1))


def test_commits_are_those_of_the_lookups(five: RawTwin) -> None:
    """The same entries, and the epoch before them."""
    epoch, *entries = five.call("commits", "", "")
    assert epoch.decode() == five.meta_of("epoch")
    assert entries == [five.call("lookup", "version", n)[1] for n in range(5, 0, -1)]


def test_commits_of_no_twin(raw: RawTwin) -> None:
    """An empty reply."""
    assert raw.call("commits", "", "") == []


def test_commits_of_what_is_left(raw: RawTwin) -> None:
    """Of a short history, and of a cleared one."""
    raw.meta(history_length=2)
    raw.commit(*["{}"] * 6)
    assert versions(raw.commits()) == [6, 5, 4]
    assert versions(raw.commits(before=5)) == [4]
    assert raw.commits(before=3) == []
    raw.call("clear", "")
    assert versions(raw.commits()) == [6]


@pytest.mark.parametrize("text", ["x", "1.5", "nan", "inf", "0x1", " 1", "1e0", "é", '"'])
def test_a_page_that_is_no_number_is_refused(five: RawTwin, text: str) -> None:
    """Either of the two."""
    with five.refused("BAD_JSON"):
        five.commits(before=text)
    with five.refused("BAD_JSON"):
        five.commits(limit=text)


def test_reading_writes_nothing(five: RawTwin) -> None:
    """EVAL_RO runs both, and the keys are as before; a script that writes it refuses."""
    before = five.dump()
    assert five.lookup("head", read_only=True) == five.lookup("head")
    assert five.lookup("version", 2, read_only=True) == five.lookup("version", 2)
    assert five.lookup("time", at(3), read_only=True) == five.lookup("time", at(3))
    assert five.commits(4, 2, read_only=True) == five.commits(4, 2)
    assert RawTwin(five.client, stamped=True).lookup("head", read_only=True) is None
    assert five.dump() == before
    with pytest.raises(redis.ResponseError, match=r"(?i)write"):
        five.call("clear", "", read_only=True)
