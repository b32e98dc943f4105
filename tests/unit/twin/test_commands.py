"""Places that commands are for, and what is not said of errors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.driver import drive
from circman_redis.errors import PointerError, StoreUnavailable
from circman_redis.patch import MISSING, diff, join_pointer, resolve, same
from circman_redis.results import Commit, HistoryEntry
from circman_redis.twin.commands import put, sentence, set_target, without_secrets
from tests.unit.json_values import KEYS, OBJECTS, VALUES

PATHS = st.lists(KEYS | st.sampled_from(["0", "1", "-", "01"]), min_size=1, max_size=4).map(tuple)


@given(OBJECTS, PATHS, VALUES)
def test_a_value_is_put_in_its_place_and_nowhere_else(state: Any, path: tuple[str, ...], value: Any) -> None:
    """What stood there is returned; where there is no such place, it is said."""
    pointer, before = join_pointer(path), copy.deepcopy(state)
    try:
        found = put(state, path, value)
    except PointerError:
        assert resolve(before, pointer, MISSING) is MISSING
        return
    assert found is MISSING or same(found, resolve(before, pointer))
    assert (found is MISSING) == (resolve(before, pointer, MISSING) is MISSING)
    assert same(resolve(state, pointer), value)
    for change in diff(before, state):
        one, other = f"{change.pointer}/", f"{pointer}/"
        assert one.startswith(other) or other.startswith(one)


def test_a_twin_that_was_made_again_tells_nothing_of_before() -> None:
    """Between two reads: the version is another commit's then."""
    flow = set_target("/a", 1, "anna", "my-id")
    commit = Commit(3, "epoch", None, "2026-11-22T14:00:00Z", duplicate=True)
    other = HistoryEntry(3, None, "2026-11-22T15:00:00Z", "merge", "bert", "another-id", {}, {"a": 7})
    answers = iter([commit, [other, other]])
    answer = drive(flow, lambda _: next(answers))
    assert (answer.done, answer.before, answer.version) == (True, MISSING, 3)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no redis://u:pw@host:1/0 today", "no redis://***@host:1/0 today"),
        ("rediss://u:p/w @ p@h:1 and a@b", "rediss://***@b"),
        ("redis://h?password=pw&x=1 'ssl_PASSWORD=pw'", "redis://h?password=***&x=1 'ssl_PASSWORD=***'"),
        ("twin 'a@b': unix:///tmp/s: gone", "twin 'a@b': unix:///tmp/s: gone"),
        ("a@b\nunix:///s\nc@d", "a@b\nunix:///s\nc@d"),
    ],
)
def test_what_is_secret_is_left_out(said: str, shown: str) -> None:
    assert without_secrets(said) == shown
    assert sentence(StoreUnavailable(said)) == shown
    assert sentence(KeyError()) == "unexpected KeyError"
