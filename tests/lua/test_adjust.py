"""adjust: atomic arithmetic on the numbers of a state."""

from __future__ import annotations

import json

import pytest

from tests.lua.support import RawTwin, number

INTEGERS = {
    ("1", "1"): "2",
    ("1", "-1"): "0",
    ("0", "0"): "0",
    ("-0", "1"): "1",
    ("5", "-0"): "5",
    ("9007199254740991", "1"): "9007199254740992",
    ("9007199254740992", "-1"): "9007199254740991",
    ("9007199254740992", "0"): "9007199254740992",
    ("-9007199254740991", "-1"): "-9007199254740992",
    ("9007199254740992", "-9007199254740992"): "0",
    ("-9007199254740992", "9007199254740992"): "0",
    ("123456789012345", "999999999999999"): "1123456789012344",
    ("100000000000000", "1"): "100000000000001",
}


@pytest.mark.parametrize(("old", "delta"), INTEGERS)
def test_integers_are_added_exactly(raw: RawTwin, old: str, delta: str) -> None:
    """Up to 2^53, and written as integers."""
    raw.set(number(old))
    raw.adjust(x=delta)
    assert raw.state == number(INTEGERS[old, delta])


BEYOND = [
    ("9007199254740992", "1"),
    ("9007199254740991", "2"),
    ("-9007199254740992", "-1"),
    ("-9007199254740991", "-2"),
    ("9007199254740993", "0"),  # a double cannot tell it from 2^53
    ("-9007199254740993", "0"),
    ("0", "9007199254740993"),
    ("9007199254740994", "-2"),
    ("-2", "9007199254740994"),
    ("9007199254740993", "-9007199254740993"),
    ("18446744073709551615", "1"),
    ("9007199254740992", "9007199254740992"),
]


@pytest.mark.parametrize(("old", "delta"), BEYOND)
def test_integers_beyond_2_to_the_53_are_refused(raw: RawTwin, old: str, delta: str) -> None:
    """Whether it is an operand or the sum that a double cannot hold exactly."""
    raw.set(number(old))
    with raw.refused("INVALID") as refusal:
        raw.adjust(x=delta)
    (violation,) = refusal.details["violations"]
    assert violation == {
        "pointer": "/x",
        "keyword": "adjust",
        "rule": {"adjust": "beyond 2^53, where integers are not exact"},
        "value": int(old),
    }


FLOATS = {
    ("0.1", "0.2"): "0.30000000000000004",
    ("1.50", "0"): "1.5",
    ("1", "1.0"): "2.0",
    ("1.0", "-1"): "0.0",
    ("-0.0", "-0.0"): "-0.0",
    ("0.0", "-0.0"): "0.0",
    ("0", "1e3"): "1000.0",
    ("0.0", "1e22"): "1e22",
    ("0.0", "1e16"): "1e16",
    ("0.0", "123456789012345680000.0"): "1.2345678901234568e20",
    ("0.0", "1e-7"): "1e-7",
    ("0.0", "5e-324"): "5e-324",
    ("0.0", "-5e-324"): "-5e-324",
    ("0.0", "2.2250738585072014e-308"): "2.2250738585072014e-308",
    ("0.0", "2.225073858507201e-308"): "2.225073858507201e-308",
    ("0.0", "1.7976931348623157e308"): "1.7976931348623157e308",
    ("0.0", "5.684341886080802e-14"): "5.684341886080802e-14",  # 2^-44: its nearest 16 digits read back as another
    ("0.0", "-5.684341886080802e-14"): "-5.684341886080802e-14",
    ("0.0", "9007199254740993"): "9007199254740992.0",  # a float operand makes it float arithmetic
    ("22.10", "-0.10"): "22.0",
    ("1e300", "1e300"): "2e300",
}


@pytest.mark.parametrize(("old", "delta"), FLOATS)
def test_floats_are_written_in_the_shortest_text(raw: RawTwin, old: str, delta: str) -> None:
    """The fewest digits that read back as the same double; always with a point or an exponent."""
    raw.set(number(old))
    raw.adjust(x=delta)
    text = raw.state.removeprefix('{"x":').removesuffix("}")
    assert text == FLOATS[old, delta]
    assert float(text) == float(old) + float(delta)


def test_a_sum_that_is_not_finite_is_refused(raw: RawTwin) -> None:
    """Doubles end at 1.8e308."""
    raw.set(number("1.7976931348623157e308"))
    with raw.refused("INVALID") as refusal:
        raw.adjust(x="1e308")
    assert refusal.details["violations"][0]["rule"] == {"adjust": "the sum is not finite"}


MOST_LOOKS = {"one by one": 32, "through an index": 0}


@pytest.mark.parametrize("looks", MOST_LOOKS)
def test_a_pointer_reaches_members_at_every_depth(raw: RawTwin, looks: str) -> None:
    """Names with slashes, tildes, quotes, brackets, and the empty name, as RFC 6901 writes them."""
    raw.constants["MOST_LOOKS"] = MOST_LOOKS[looks]
    names = ["a", "", "/", "~", "~1", "~0/", '"', "\\", "{", "]", "é", ",", ":", "*", "-", "0", "k\n"]
    raw.set(json.dumps({name: {name: 1, "z": [1.0]} for name in names}, ensure_ascii=False))
    rest = raw.state
    pointers = {name: "/" + name.replace("~", "~0").replace("/", "~1") for name in names}
    raw.commit(json.dumps({p + p: i for i, p in enumerate(pointers.values())}), op="adjust")
    assert json.loads(raw.state) == {name: {name: 1 + i, "z": [1.0]} for i, name in enumerate(names)}
    raw.commit(json.dumps({p + p: -i for i, p in enumerate(pointers.values())}), op="adjust")
    assert raw.state == rest


def test_several_places_in_one_object(raw: RawTwin) -> None:
    """Places that share a part of their way become one patch."""
    raw.set('{"a":{"x":1,"y":2.0,"b":{"z":3}},"c":4}')
    raw.commit('{"/a/x":1,"/c":1,"/a/b/z":1,"/a/y":1}', op="adjust")
    assert raw.state == '{"a":{"x":2,"y":3.0,"b":{"z":4}},"c":5}'
    raw.merge("{}")
    assert raw.history[0]["op"] == "adjust"
    assert raw.history[0]["patch"] == {"a": {"x": 2, "b": {"z": 4}, "y": 3.0}, "c": 5}


NOWHERE = {
    "missing": "/none",
    "missing below": "/o/none",
    "below a number": "/n/a",
    "below a string": "/s/0",
    "an item of an array": "/l/0",
    "behind an object": "/o/n/",
    "no slash": "n",
    "the whole document": "",
    "a fragment": "#/n",
    "a bad escape": "/a~2",
    "a cut escape": "/a~",
}


@pytest.mark.parametrize("case", NOWHERE)
@pytest.mark.parametrize("looks", MOST_LOOKS)
def test_a_pointer_that_leads_nowhere_is_refused(raw: RawTwin, case: str, looks: str) -> None:
    """Also one that is no JSON Pointer; the pointer is named as it was given."""
    raw.constants["MOST_LOOKS"] = MOST_LOOKS[looks]
    raw.set('{"n":1,"s":"x","l":[1],"o":{"n":1},"a~2":1,"a~":1,"":1}')
    with raw.refused("INVALID") as refusal:
        raw.commit(json.dumps({NOWHERE[case]: 1}), op="adjust")
    assert refusal.violations == [(NOWHERE[case], "adjust")]
    assert refusal.details["violations"][0]["value"] is None


@pytest.mark.parametrize("text", ['"1"', "true", "null", "[1]", '{"n":1}'])
def test_what_is_no_number_cannot_be_adjusted(raw: RawTwin, text: str) -> None:
    """The violation shows what stands there."""
    raw.set(number(text))
    with raw.refused("INVALID") as refusal:
        raw.adjust(x="1")
    (violation,) = refusal.details["violations"]
    assert violation["rule"] == {"adjust": "there is no number"}
    assert violation["value"] == json.loads(text)


@pytest.mark.parametrize("delta", ['"1"', "true", "null", "[1]", '{"n":1}', "{}"])
def test_only_numbers_can_be_added(raw: RawTwin, delta: str) -> None:
    """null is not 'remove', and an object is not a patch."""
    raw.set(number("1"))
    with raw.refused("INVALID") as refusal:
        raw.adjust(x=delta)
    assert refusal.violations == [("/x", "adjust")]


def test_very_many_places_at_once(raw: RawTwin) -> None:
    """Thousands of counters, with deeper members of the same names before them: no walk for each."""
    names = [f"m{n}" for n in range(5000)]
    raw.set(json.dumps({name: {names[n - 1]: n} for n, name in enumerate(names)}))
    raw.commit(json.dumps({f"/{name}/{names[n - 1]}": 1 for n, name in reversed(list(enumerate(names)))}), op="adjust")
    assert json.loads(raw.state) == {name: {names[n - 1]: n + 1} for n, name in enumerate(names)}


def test_all_or_none(raw: RawTwin) -> None:
    """One bad place refuses all, and every bad one is told."""
    raw.set('{"a":1,"b":"x","c":3}')
    with raw.refused("INVALID") as refusal:
        raw.commit('{"/a":1,"/b":1,"/c":1,"/d":1}', op="adjust")
    assert refusal.violations == [("/b", "adjust"), ("/d", "adjust")]


def test_a_sum_keeps_to_the_rules(raw: RawTwin) -> None:
    """What adjust makes is checked like any merge."""
    raw.set('{"a":1,"b":99}')
    raw.bind({"": {"type": "object"}, "/a": {"type": "integer", "maximum": 2}, "/b": {"maximum": 1}})
    raw.adjust(a="1")
    with raw.refused("INVALID") as refusal:
        raw.adjust(a="1")
    assert refusal.violations == [("/a", "maximum")]
    with raw.refused("INVALID") as refusal:
        raw.adjust(a="0.5")
    assert refusal.violations == [("/a", "type")]


def test_without_a_state_there_is_nothing_to_adjust(raw: RawTwin) -> None:
    """An error of its own, not a violation."""
    with raw.refused("NO_STATE"):
        raw.adjust(x="1")


def test_a_violation_shows_no_long_value(raw: RawTwin) -> None:
    """A state of a megabyte does not come back in an error."""
    raw.set('{"x":"' + "y" * 5000 + '"}')
    with raw.refused("INVALID") as refusal:
        raw.adjust(x="1")
    assert refusal.details["violations"][0]["value"] in {None, "(5002 bytes)"}
