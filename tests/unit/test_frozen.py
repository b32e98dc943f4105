"""JSON values that nobody can change."""

from __future__ import annotations

import copy
import json
import operator
import pickle
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given

from circman_redis import patch
from circman_redis.frozen import EMPTY, FrozenDict, FrozenList, freeze, merge, thaw
from tests.unit.json_values import OBJECTS, VALUES

PLAIN: dict[str, Any] = {"a": {"b": [1, {"c": None}, [2.5]]}, "n": 1, "s": "é", "list": [], "object": {}, "t": True}

DICT_CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda one: operator.setitem(one, "b", 1),
    "delete": lambda one: operator.delitem(one, next(iter(one), "x")),
    "|=": lambda one: operator.ior(one, {"x": 1}),
    "update": lambda one: one.update(x=1),
    "setdefault": lambda one: one.setdefault("x", 1),
    "pop": lambda one: one.pop("b", None),
    "popitem": lambda one: one.popitem(),
    "clear": lambda one: one.clear(),
    "attribute": lambda one: setattr(one, "x", 1),
}
LIST_CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda one: operator.setitem(one, 0, 1),
    "set a slice": lambda one: operator.setitem(one, slice(None), [1]),
    "delete": lambda one: operator.delitem(one, 0),
    "+=": lambda one: operator.iadd(one, [1]),
    "*=": lambda one: operator.imul(one, 2),
    "append": lambda one: one.append(1),
    "extend": lambda one: one.extend([1]),
    "insert": lambda one: one.insert(0, 1),
    "pop": lambda one: one.pop(),
    "remove": lambda one: one.remove(1),
    "reverse": lambda one: one.reverse(),
    "sort": lambda one: one.sort(),
    "clear": lambda one: one.clear(),
    "attribute": lambda one: setattr(one, "x", 1),
}


@pytest.mark.parametrize("change", DICT_CHANGES)
@pytest.mark.parametrize("pointer", ["", "/a", "/a/b/1", "/object"])
def test_an_object_cannot_be_changed_at_any_depth(pointer: str, change: str) -> None:
    """It stays as it was."""
    frozen = freeze(PLAIN)
    with pytest.raises((TypeError, AttributeError)):
        DICT_CHANGES[change](patch.resolve(frozen, pointer))
    assert frozen == PLAIN


@pytest.mark.parametrize("change", LIST_CHANGES)
@pytest.mark.parametrize("pointer", ["/a/b", "/a/b/2", "/list"])
def test_an_array_cannot_be_changed_at_any_depth(pointer: str, change: str) -> None:
    """It stays as it was."""
    frozen = freeze(PLAIN)
    with pytest.raises((TypeError, AttributeError)):
        LIST_CHANGES[change](patch.resolve(frozen, pointer))
    assert frozen == PLAIN


def test_every_method_that_changes_is_refused() -> None:
    """Also one that a later Python adds would be found here."""
    reading = {"copy", "fromkeys", "get", "items", "keys", "values", "count", "index"}
    for kind in (FrozenDict, FrozenList):
        for name in {name for name in dir(kind) if not name.startswith("_")} - reading:
            assert getattr(kind, name) is not getattr(kind.__base__, name), name
            with pytest.raises(TypeError):
                getattr(freeze({"a": 1} if kind is FrozenDict else [1]), name)()


def test_the_error_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"a FrozenDict cannot be changed: copy\.deepcopy\(\) of it can") as caught:
        freeze(PLAIN)["a"]["x"] = 1
    assert "commit a change" in str(caught.value)
    with pytest.raises(TypeError, match="a FrozenList cannot be changed"):
        freeze(PLAIN)["a"]["b"].append(1)


def test_what_was_frozen_may_be_changed_afterwards() -> None:
    """The copy does not follow."""
    plain = copy.deepcopy(PLAIN)
    frozen = freeze(plain)
    plain["a"]["b"].append(1)
    plain["n"] = 2
    assert frozen == PLAIN


@given(VALUES)
def test_it_is_equal_to_what_it_was_made_of(value: Any) -> None:
    """Either way round; to the digit, and in the same order."""
    frozen = freeze(value)
    assert frozen == value
    assert value == frozen
    assert patch.same(frozen, value)
    assert repr(frozen) == repr(value)
    assert patch.same(thaw(frozen), value)


@given(VALUES)
def test_json_and_orjson_write_it(value: Any) -> None:
    """As they write the plain value."""
    frozen = freeze(value)
    assert json.dumps(frozen) == json.dumps(value)
    assert orjson.dumps(frozen) == orjson.dumps(value)


@given(VALUES)
def test_a_deep_copy_is_plain_and_can_be_changed(value: Any) -> None:
    """At any depth."""
    for plain in (copy.deepcopy(freeze(value)), thaw(freeze(value))):
        assert patch.same(plain, value)
        assert_plain(plain)
    inside = copy.deepcopy({"state": freeze(value)})
    assert_plain(inside)


def assert_plain(value: Any) -> None:
    assert type(value) in {dict, list, str, int, float, bool, type(None)}
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        assert_plain(child)


@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy], ids=["pickle", "copy"])
def test_pickle_and_copy_keep_it_frozen(again: Callable[[Any], Any]) -> None:
    """At any depth."""
    frozen = again(freeze(PLAIN))
    assert frozen == PLAIN
    for pointer, kind in (("", FrozenDict), ("/a", FrozenDict), ("/a/b", FrozenList), ("/a/b/1", FrozenDict)):
        assert type(patch.resolve(frozen, pointer)) is kind


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle(protocol: int) -> None:
    assert type(pickle.loads(pickle.dumps(freeze(PLAIN), protocol))["a"]["b"]) is FrozenList


def test_plain_copies_of_one_level() -> None:
    """What Python offers for a new value gives a plain one; what is inside stays frozen."""
    frozen = freeze(PLAIN)
    for one in (dict(frozen), frozen.copy(), frozen | {}, {**frozen}):
        assert type(one) is dict
        assert one == PLAIN
    assert type(list(frozen["a"]["b"])) is type(frozen["a"]["b"].copy()) is type(frozen["a"]["b"][:]) is list


def test_what_is_frozen_is_shared() -> None:
    """Freezing again copies nothing; a new value around it shares it."""
    frozen = freeze(PLAIN)
    assert freeze(frozen) is frozen
    assert freeze(frozen["a"]["b"]) is frozen["a"]["b"]
    around = freeze({**frozen, "n": 2, "new": [frozen["a"]]})
    assert around["a"] is frozen["a"] is around["new"][0]


def test_a_merge_shares_what_it_did_not_touch() -> None:
    """So a stream of commits keeps one copy of what stays."""
    frozen = freeze(PLAIN)
    after = freeze(patch.merge(frozen, {"n": 2, "object": {"x": []}}))
    assert after["a"] is frozen["a"]
    assert type(after["object"]["x"]) is FrozenList
    assert frozen == PLAIN


def test_it_reads_as_any_dict_and_list() -> None:
    """isinstance, match, iteration, and the pointers of this package."""
    frozen = freeze(PLAIN)
    assert isinstance(frozen, dict)
    assert isinstance(frozen["a"]["b"], list)
    match frozen:
        case {"a": {"b": [1, {"c": None}, *rest]}}:
            assert rest == [[2.5]]
        case _:
            pytest.fail("it does not match")
    assert list(frozen) == list(PLAIN)
    assert patch.resolve(frozen, "/a/b/2/0") == 2.5


def test_the_state_before_the_first_commit() -> None:
    assert EMPTY == {}
    with pytest.raises(TypeError):
        EMPTY["a"] = 1


def written(value: object) -> bytes:
    """As JSON, members in their order."""
    return orjson.dumps(value)


def all_frozen(value: Any) -> bool:
    """At any depth."""
    if isinstance(value, dict):
        return type(value) is FrozenDict and all(map(all_frozen, value.values()))
    return type(value) is FrozenList and all(map(all_frozen, value)) if isinstance(value, list) else True


@given(OBJECTS, OBJECTS)
def test_a_merge_is_what_freezing_the_whole_would_make(before: dict[str, Any], change: dict[str, Any]) -> None:
    """The same values in the same order, frozen at any depth; neither side is changed."""
    frozen, patch_of_it = freeze(before), freeze(change)
    old_text, patch_text = written(frozen), written(patch_of_it)
    merged = merge(frozen, patch_of_it)
    assert written(merged) == written(freeze(patch.merge(before, change)))
    assert all_frozen(merged)
    assert (written(frozen), written(patch_of_it)) == (old_text, patch_text)


@given(OBJECTS, OBJECTS)
def test_a_merge_shares_what_the_patch_does_not_name(before: dict[str, Any], change: dict[str, Any]) -> None:
    """With the state before it: these are the same objects, at any depth."""
    _check_shared(frozen := freeze(before), merge(frozen, freeze(change)), change)


def _check_shared(before: Any, after: Any, change: Any) -> None:
    for name, value in before.items():
        if name not in change:
            assert after[name] is value
        elif isinstance(value, dict) and isinstance(change[name], dict):
            _check_shared(value, after[name], change[name])
