"""What an update commits, and whose fault a refusal is: pure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.codec import JSONText, decode_exactly, encode_exactly
from circman_redis.errors import InvalidJSON, StateValidationError, Violation
from circman_redis.patch import merge, pointers, resolve, same
from circman_redis.twin.layers import Layer, changes, in_turn, merged, read, suspects, trials
from tests.unit.json_values import OBJECTS


def layer(source: str | None, data: Any) -> Layer:
    return Layer(source, read(data, "data"))


LAYERS = st.lists(st.builds(layer, st.sampled_from(["a", "b", None]), OBJECTS), max_size=4)
STATES = OBJECTS.map(lambda state: read(state, "state"))


# --- what changed ----------------------------------------------------------------------------------------------------


@given(STATES, LAYERS)
def test_what_changed_does_what_all_of_it_does(state: dict[str, Any], layers: list[Layer]) -> None:
    """Merged into the state, it makes the same; merged again, there is nothing left to do."""
    found = changes(state, layers)
    after = merge(state, found)
    assert same(after, merged(state, layers))
    assert changes(after, [Layer("a", found)]) == {}


@given(STATES, LAYERS)
def test_what_changed_names_nothing_that_no_layer_names(state: dict[str, Any], layers: list[Layer]) -> None:
    """So what others change meanwhile stays."""
    named = [place for one in layers for place in pointers(one.data)]
    for place in pointers(changes(state, layers)):
        assert any(f"{place}/".startswith(f"{one}/") or f"{one}/".startswith(f"{place}/") for one in named)


@given(STATES, st.lists(LAYERS, max_size=3))
def test_rounds_in_turn_make_what_they_make_one_by_one(state: dict[str, Any], rounds: list[list[Layer]]) -> None:
    after = state
    for patch in in_turn(state, [(one, None) for one in rounds]):
        assert patch
        after = merge(after, patch)
    assert same(after, merged(state, [one for layers in rounds for one in layers]))


def test_rounds_carry_the_time_they_were_made() -> None:
    """Where they changed something, and their layers give none."""
    rounds = [([layer("a", {"n": n})], f"2026-01-01T00:00:0{n}Z") for n in (1, 1, 2)]
    rounds.append(([layer("a", {"n": 3, "timestamp": "2026-02-02T00:00:00Z"})], "2026-01-01T00:00:03Z"))
    assert in_turn({}, rounds) == [
        {"timestamp": "2026-01-01T00:00:01Z", "n": 1},
        {"timestamp": "2026-01-01T00:00:02Z", "n": 2},
        {"timestamp": "2026-02-02T00:00:00Z", "n": 3},
    ]


def test_a_timestamp_goes_with_what_changed() -> None:
    """Even where it is the state's own: without it, the commit would be stamped anew."""
    state = {"timestamp": "2026-01-01T00:00:00Z", "n": 1}
    assert changes(state, [layer("a", state)]) == {}
    assert changes(state, [layer("a", {**state, "n": 2})]) == {"timestamp": "2026-01-01T00:00:00Z", "n": 2}
    assert changes(state, [layer("a", {"n": 2})]) == {"n": 2}


@pytest.mark.parametrize("digits", ["22.10", "1e5", "-0", "-0.0", "12345678901234567890", "0.12345678901234567890"])
def test_numbers_keep_their_digits(digits: str) -> None:
    """What differs in them is a change, and is written as it came; what does not, is none."""
    data = JSONText(f'{{"n":{digits},"list":[{digits}]}}')
    found = changes({"n": 22.1}, [layer("a", data)])
    assert bytes(encode_exactly(found)) == bytes(data)
    assert changes(decode_exactly(data), [layer("a", data)]) == {}


def test_a_decimal_is_written_as_it_is() -> None:
    found = changes(decode_exactly(b'{"n":22.1}'), [layer("a", {"n": Decimal("22.10")})])
    assert encode_exactly(found) == b'{"n":22.10}'


def test_a_null_removes_what_is_there() -> None:
    """Also what an earlier layer brought."""
    layers = [layer("a", {"x": 1, "new": 2}), layer(None, {"x": None, "new": None, "none": None})]
    assert changes({"x": 0}, layers) == {"x": None}


@pytest.mark.parametrize("value", [None, [], 1, {"n": float("nan")}, {1: 2}, JSONText("[]"), JSONText('{"a":1,"a":2}')])
def test_what_is_no_json_object(value: Any) -> None:
    with pytest.raises(InvalidJSON, match="its data"):
        read(value, "its data")


# --- who is to blame -------------------------------------------------------------------------------------------------


def names(pointer: str, *layers: Layer) -> list[str | None]:
    return [one.source for one in suspects(pointer, layers)]


def test_the_last_one_that_gave_it() -> None:
    """Not those whose value it replaced, and not those who only touched what is beside."""
    one, other = layer("a", {"line": {"t": 999}}), layer("b", {"line": {"t": 1000}})
    beside = layer("c", {"line": {"rate": 1}})
    assert names("/line/t", one, other, beside) == ["b"]
    assert names("/line/t", other, one, beside) == ["a"]
    assert names("/line/t", layer("a", {"line": {"t": {"deep": 1}}}), layer("b", {"line": {"t": 5}})) == ["b"]
    assert names("/line/t", layer("a", {"line": {"t": 5}}), layer("b", {"line": {"t": {"deep": 1}}})) == ["a", "b"]


def test_whoever_replaced_or_removed_what_it_lies_in() -> None:
    assert names("/line/t", layer("a", {"line": None}), layer("b", {"rate": 1})) == ["a"]
    assert names("/list/3", layer("a", {"list": [1]}), layer("b", {"rate": 1})) == ["a"]


def test_all_that_made_an_object() -> None:
    """Where the rule is the object's own."""
    one, other = layer("a", {"line": {"t": 1}}), layer("b", {"line": {"rate": 1}})
    assert names("/line", one, other, layer("c", {"n": 1})) == ["a", "b"]
    assert names("", one, other, layer("c", {"n": 1})) == ["a", "b", "c"]


def test_those_that_came_closest_to_what_is_missing() -> None:
    one, other = layer("a", {"line": {"t": 1}}), layer("b", {"n": 1})
    assert names("/line/rate", one, other) == ["a"]
    assert names("/other", one, other) == ["a", "b"]


Rule = Callable[[dict[str, Any]], list[Violation]]


def settle(state: dict[str, Any], layers: list[Layer], rule: Rule) -> tuple[list[Layer], dict[str, str], int]:
    """What is committed in the end, who was left out, and how many commits were tried."""
    search = trials(state, layers)
    trial, tried = next(search), 1
    try:
        while True:
            violations = rule(merged(state, trial))
            trial = search.send(StateValidationError(violations) if violations else None)
            tried += 1
    except StopIteration as end:
        return trial, end.value, tried


def at_most_100(state: dict[str, Any]) -> list[Violation]:
    """A rule of each place by itself."""
    numbers = {place: resolve(state, place) for place in pointers(state) if place}
    return [Violation(place, {"maximum": 100}, n) for place, n in numbers.items() if isinstance(n, int) and n > 100]


def sum_at_most_100(state: dict[str, Any]) -> list[Violation]:
    """A rule of the state as a whole."""
    total = sum(state.values())
    return [Violation("", {"python": "too much"}, total)] if total > 100 else []


PLACES = st.dictionaries(st.sampled_from("xyz"), st.sampled_from([1, 2, 999, None]), max_size=3)
GROUPS = st.dictionaries(st.sampled_from("pq"), PLACES, max_size=2)


@given(GROUPS, st.tuples(*[GROUPS] * 3), GROUPS)
def test_only_those_who_broke_a_rule_are_left_out(
    state: dict[str, Any], said: tuple[dict[str, Any], ...], mine: dict[str, Any]
) -> None:
    """What is committed breaks none; and the caller is told of what is the caller's."""
    state = merge({}, {name: dict.fromkeys(group, 1) for name, group in state.items()})
    layers = [*(layer(name, data) for name, data in zip("abc", said, strict=True)), layer(None, mine)]
    try:
        trial, refused, _ = settle(state, layers, at_most_100)
    except StateValidationError:
        assert at_most_100(mine)
        return
    assert not at_most_100(merged(state, trial))
    assert [one.source for one in trial] == [one.source for one in layers if one.source not in refused]
    for name, why in refused.items():
        assert at_most_100(said["abc".index(name)]), name
        assert "breaks maximum 100" in why


@pytest.mark.parametrize("guilty", ["a", "b", "c"])
def test_where_several_may_have_broken_it_each_is_tried(guilty: str) -> None:
    """So that the others' data are committed."""
    layers = [layer(name, {name: 500 if name == guilty else 1}) for name in "abc"]
    trial, refused, _ = settle({}, layers, sum_at_most_100)
    assert refused.keys() == {guilty}
    assert len(trial) == 2


def test_where_leaving_out_one_does_not_help_all_of_them_go() -> None:
    layers = [layer("a", {"a": 500}), layer("b", {"b": 1}), layer("c", {"c": 500}), layer(None, {"mine": 1})]
    trial, refused, tried = settle({}, layers, sum_at_most_100)
    assert refused.keys() == {"a", "b", "c"}
    assert [one.source for one in trial] == [None]
    assert tried == 5


def test_a_source_that_changes_nothing_is_no_suspect() -> None:
    layers = [layer("a", {"a": 1}), layer("b", {"b": 500})]
    trial, refused, tried = settle({"a": 1}, layers, sum_at_most_100)
    assert refused.keys() == {"b"}
    assert (len(trial), tried) == (1, 2)


def test_the_callers_own_is_not_left_out() -> None:
    with pytest.raises(StateValidationError, match="/n: 999"):
        settle({}, [layer("a", {"x": 1}), layer(None, {"n": 999})], at_most_100)
    with pytest.raises(StateValidationError):
        settle({}, [layer("a", {"x": 1}), layer(None, {"n": 999})], sum_at_most_100)
