"""Merge patches, differences and JSON Pointers on Python values."""

from __future__ import annotations

import copy
import pickle
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circman_redis.errors import UsageError
from circman_redis.patch import (
    MISSING,
    Change,
    PointerError,
    diff,
    join_pointer,
    merge,
    merge_patch,
    pointers,
    resolve,
    same,
    split_pointer,
)
from tests.unit.json_values import OBJECTS, VALUES
from tests.unit.merge_cases import RFC_7396

# --- merge ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "patch", "merged"), RFC_7396)
def test_the_examples_of_rfc_7396(target: Any, patch: Any, merged: Any) -> None:
    """Appendix A; neither side is changed."""
    before = copy.deepcopy([target, patch])
    assert same(merge(target, patch), merged)
    assert same([target, patch], before)


def test_merging_keeps_places_and_appends_the_new() -> None:
    merged = merge({"a": 1, "b": {"x": 1}, "c": 3}, {"z": 1, "b": {"y": {"n": None}}, "a": 2, "q": 4})
    assert list(merged.items()) == [("a", 2), ("b", {"x": 1, "y": {}}), ("c", 3), ("z", 1), ("q", 4)]


def test_merging_takes_any_mapping() -> None:
    """A read-only view is one too."""
    frozen = MappingProxyType({"a": MappingProxyType({"b": 1, "c": 2})})
    assert merge(frozen, MappingProxyType({"a": {"b": None}})) == {"a": {"c": 2}}
    assert merge(MISSING, {"a": {"b": None}}) == {"a": {}}


@given(OBJECTS, OBJECTS)
@settings(deadline=None)
def test_merging_twice_is_merging_once(target: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge(target, patch)
    assert same(merge(once, patch), once)


# --- merge_patch ------------------------------------------------------------------------------------------

PATCHES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]] = {
    "nothing": ({"a": {"b": [1]}}, {"a": {"b": [1]}}, {}),
    "order alone": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {}),
    "22 to 22.0": ({"a": 22}, {"a": 22.0}, {"a": 22.0}),
    "1 to true": ({"a": {"b": 1}}, {"a": {"b": True}}, {"a": {"b": True}}),
    "0.0 to -0.0": ({"a": 0.0}, {"a": -0.0}, {"a": -0.0}),
    "only what differs": ({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"x": 1, "y": 4}, "b": 3}, {"a": {"y": 4}}),
    "removed": ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2}}, {"a": None, "b": {"c": None}}),
    "added": ({}, {"a": {"b": {}}}, {"a": {"b": {}}}),
    "emptied": ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
    "a number to an empty object": ({"a": 1}, {"a": {}}, {"a": {}}),
    "an object to an array": ({"a": {"b": 1}}, {"a": []}, {"a": []}),
    "one item of an array": ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}),
    "a null that stays": ({"a": {"n": None, "x": 1}}, {"a": {"n": None, "x": 2}}, {"a": {"x": 2}}),
    "a null that goes": ({"a": None}, {}, {"a": None}),
    "a null in an array": ({"a": 1}, {"a": [None, {"n": None}]}, {"a": [None, {"n": None}]}),
    "a new null": ({"a": 1}, {"a": None}, None),
    "a new null inside": ({"a": {"b": 1}}, {"a": {"b": 1, "c": None}}, None),
    "a null in a new object": ({}, {"a": {"b": {"c": None}}}, None),
}


@pytest.mark.parametrize(("before", "after", "patch"), PATCHES.values(), ids=PATCHES)
def test_merge_patch(before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any] | None) -> None:
    """The smallest patch; None where a merge patch cannot say it."""
    assert same(merge_patch(before, after), patch)


@given(OBJECTS, OBJECTS)
@settings(deadline=None)
def test_a_merge_patch_leads_from_before_to_after(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = merge_patch(before, after)
    if patch is None:
        assert _has_null(after)
    else:
        assert same(merge(before, patch), after)
        assert (patch == {}) == same(before, after)


@given(OBJECTS, OBJECTS)
@settings(deadline=None)
def test_what_a_merge_made_a_merge_patch_can_say(before: dict[str, Any], patch: dict[str, Any]) -> None:
    """A merge makes no null where there was none, so there is always a patch."""
    after = merge(before, patch)
    again = merge_patch(before, after)
    assert again is not None
    assert same(merge(before, again), after)


def _has_null(value: Any) -> bool:
    return isinstance(value, dict) and any(item is None or _has_null(item) for item in value.values())


# --- diff -------------------------------------------------------------------------------------------------


def test_diff() -> None:
    """In document order, what was added last; arrays of one length item by item, others as a whole."""
    before = {"z": 1, "a": {"x": 22, "y": [1, {"k": 2}, 3]}, "gone": None, "list": [1, 2], "same": [{"a": 1}]}
    after = {"new/~": 0, "same": [{"a": 1}], "a": {"x": 22.0, "y": [1, {"k": True}, 3]}, "z": 2, "list": [1]}
    assert diff(before, after) == [
        Change("/z", 1, 2),
        Change("/a/x", 22, 22.0),
        Change("/a/y/1/k", 2, True),
        Change("/gone", None, MISSING),
        Change("/list", [1, 2], [1]),
        Change("/new~1~0", MISSING, 0),
    ]


@pytest.mark.parametrize(
    ("before", "after", "pointers"),
    [
        (1, 1, []),
        (1, True, [""]),
        ({}, [], [""]),
        (MISSING, {"a": 1}, [""]),
        ([], [], []),
        ([1, [2]], [1, [3]], ["/1/0"]),
        ("abc", "abd", [""]),
        ({"a": {}}, {"a": None}, ["/a"]),
    ],
)
def test_diff_of_other_roots(before: Any, after: Any, pointers: list[str]) -> None:
    assert [change.pointer for change in diff(before, after)] == pointers


@given(VALUES, VALUES)
@settings(deadline=None)
def test_diff_finds_all_and_only_differences(before: Any, after: Any) -> None:
    """Every change stands where it says; there is none where the two are the same."""
    changes = diff(before, after)
    assert (changes == []) == same(before, after)
    for change in changes:
        assert resolve(before, change.pointer, MISSING) is change.before
        assert resolve(after, change.pointer, MISSING) is change.after
        assert not same(change.before, change.after)


def test_a_change_as_json() -> None:
    """Null is a value; MISSING is none."""
    assert Change("/a", None, 2).to_json() == {"pointer": "/a", "before": None, "after": 2}
    assert Change("/a", MISSING, None).to_json() == {"pointer": "/a", "after": None}
    assert Change("/a", False, MISSING).to_json() == {"pointer": "/a", "before": False}


def test_missing_is_one_and_says_its_name() -> None:
    assert repr(Change("/a", MISSING, 1)) == "Change(pointer='/a', before=MISSING, after=1)"
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    assert copy.deepcopy([MISSING])[0] is MISSING


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        (0, False, False),
        (0.0, -0.0, False),
        (None, MISSING, False),
        ("1", 1, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, MappingProxyType({"a": 1}), True),
        ([1, [2.0]], (1, [2.0]), True),
        ([1, [2.0]], [1, [2]], False),
        ([1], [1, 1], False),
        (["a"], "a", False),
    ],
)
def test_same(one: Any, other: Any, alike: bool) -> None:
    assert same(one, other) is alike
    assert same(other, one) is alike


# --- pointers ---------------------------------------------------------------------------------------------

DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
    "line\nend": 9,
    "1": {"01": 10},
    "none": None,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
        ("/line\nend", 9),
        ("/1/01", 10),
        ("/none", None),
    ],
)
def test_the_examples_of_rfc_6901(pointer: str, value: Any) -> None:
    """Section 5, and some more."""
    assert resolve(DOCUMENT, pointer) == value
    assert join_pointer(split_pointer(pointer)) == pointer


def test_an_escaped_tilde_is_not_an_escape() -> None:
    """~01 is ~1, never / (RFC 6901, section 4)."""
    assert split_pointer("/~01") == ("~1",)
    assert join_pointer(["~1", 0, "/"]) == "/~01/0/~1"


@given(st.lists(st.text()))
@settings(deadline=None)
def test_tokens_survive_a_pointer(names: list[str]) -> None:
    assert split_pointer(join_pointer(names)) == tuple(names)


@pytest.mark.parametrize("pointer", ["foo", "0", "#/foo", "/a~", "/a~2", "/~/b", " /a"])
def test_an_invalid_pointer_is_named(pointer: str) -> None:
    with pytest.raises(UsageError, match="must be empty or start with /") as caught:
        resolve(DOCUMENT, pointer, default=None)
    assert repr(pointer) in str(caught.value)


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("/bar", "nothing at /bar: the top level is an object with 'foo', '', 'a/b', 'c%d', 'e^f', 'g|h', 'i\\\\j', "
         "'k\"l', ..., without 'bar'"),
        ("/1/2", "nothing at /1/2: /1 is an object with '01', without '2'"),
        ("/foo/2", "nothing at /foo/2: /foo is an array of 2, without '2'"),
        ("/foo/-", "nothing at /foo/-: /foo is an array of 2, without '-'"),
        ("/foo/00", "nothing at /foo/00: /foo is an array of 2, without '00'"),
        ("/foo/-1", "nothing at /foo/-1: /foo is an array of 2, without '-1'"),
        ("/foo/\u0661", "nothing at /foo/\u0661: /foo is an array of 2, without '\u0661'"),
        ("/foo/0/0", "nothing at /foo/0/0: /foo/0 is not an object or array (str), without '0'"),
        ("/none/x/y", "nothing at /none/x/y: /none is not an object or array (NoneType), without 'x'"),
    ],
)  # fmt: skip
def test_a_pointer_that_leads_nowhere_says_where_it_ends(pointer: str, message: str) -> None:
    """A UsageError for the command line, a LookupError for Python, the default for who gave one."""
    with pytest.raises(PointerError) as caught:
        resolve(DOCUMENT, pointer)
    assert str(caught.value) == message
    assert isinstance(caught.value, LookupError)
    assert isinstance(caught.value, UsageError)
    assert resolve(DOCUMENT, pointer, default=None) is None
    assert resolve(DOCUMENT, pointer, default=MISSING) is MISSING


def test_an_empty_object_says_so() -> None:
    with pytest.raises(PointerError, match="the top level is an empty object, without 'a'"):
        resolve({}, "/a")


@pytest.mark.parametrize(
    ("patch", "places"),
    [
        ({"a": 1}, ["/a"]),
        ({"a": None, "b": {"c": None, "d": [1, {"x": 1}]}}, ["/a", "/b/c", "/b/d"]),
        ({"a": {}, "b": {"c": {}}}, ["/a", "/b/c"]),
        ({"": 1, "~": {"/": 2}}, ["/", "/~0/~1"]),
        (MappingProxyType({"a": MappingProxyType({"b": 1})}), ["/a/b"]),
        (None, [""]),
        (5, [""]),
        ([{"a": 1}], [""]),
        ({}, []),
    ],
    ids=str,
)
def test_the_places_that_a_patch_names(patch: Any, places: list[str]) -> None:
    """In its order; an empty object that it makes is one, and the whole document where it is no object."""
    assert pointers(patch) == places


@given(OBJECTS, OBJECTS)
@settings(deadline=None)
def test_a_patch_changes_nothing_but_what_it_names(before: dict[str, Any], patch: dict[str, Any]) -> None:
    """What differs afterwards stands at one of the places, or below or above it."""
    places = pointers(patch)
    for change in diff(before, merge(before, patch)):
        assert any(
            f"{one}/".startswith(f"{change.pointer}/") or f"{change.pointer}/".startswith(f"{one}/") for one in places
        )


class Unreadable(dict[str, Any]):
    """An object that nobody may look into."""

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(name)

    __iter__ = items = get = __getitem__  # type: ignore[assignment]


def test_diff_does_not_look_into_what_is_the_very_same() -> None:
    """States of a stream share what did not change: to compare them takes as long as the change is large."""
    shared = Unreadable(a=1)
    assert diff({"large": shared, "n": 1}, {"large": shared, "n": 2}) == [Change("/n", 1, 2)]
    assert diff(shared, shared) == []
    assert diff([shared, 1], [shared, 2]) == [Change("/1", 1, 2)]
