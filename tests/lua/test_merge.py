"""RFC 7396 on the stored text: the RFC's own cases, and that nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lua.support import RawTwin

# RFC 7396, Appendix A, in its order. A document that is no object stands in a member x.
APPENDIX_A = {
    "replaces a member": ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    "adds a member": ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    "removes the only member": ('{"a":"b"}', '{"a":null}', "{}"),
    "removes one of two": ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    "an array gives way to a string": ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    "a string gives way to an array": ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    "goes down, and removes what is not there": (
        '{"a":{"b":"c"}}',
        '{"a":{"b":"d","c":null}}',
        '{"a":{"b":"d"}}',
    ),
    "an array of objects gives way": ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    "an array replaces an array": ('{"x":["a","b"]}', '{"x":["c","d"]}', '{"x":["c","d"]}'),
    "an array replaces an object": ('{"x":{"a":"b"}}', '{"x":["c"]}', '{"x":["c"]}'),
    "null replaces an object": ('{"x":{"a":"foo"}}', '{"x":null}', "{}"),
    "a string replaces an object": ('{"x":{"a":"foo"}}', '{"x":"bar"}', '{"x":"bar"}'),
    "keeps a null of the document": ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    "an object replaces an array, without its nulls": (
        '{"x":[1,2]}',
        '{"x":{"a":"b","c":null}}',
        '{"x":{"a":"b"}}',
    ),
    "what is new loses its nulls": ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
}


@pytest.mark.parametrize("case", APPENDIX_A)
def test_rfc_7396_appendix_a(raw: RawTwin, case: str) -> None:
    """Each of the RFC's own cases gives the RFC's result, byte by byte."""
    document, patch, result = APPENDIX_A[case]
    raw.set(document)
    raw.merge(patch)
    assert raw.state == result


def test_rfc_7396_section_3(raw: RawTwin) -> None:
    """The RFC's example of section 3."""
    raw.set(
        '{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},'
        '"tags":["example","sample"],"content":"This will be unchanged"}'
    )
    raw.merge('{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}')
    assert raw.state == (
        '{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],'
        '"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}'
    )


def test_a_merge_without_a_state_makes_one(raw: RawTwin) -> None:
    """A first merge goes into an empty object, and its nulls vanish."""
    raw.merge('{"a":null,"b":{"c":null,"d":1}}')
    assert raw.state == '{"b":{"d":1}}'


def test_a_set_keeps_its_nulls(raw: RawTwin) -> None:
    """Null is a value like any other in a whole state."""
    raw.set('{"a":null,"b":{"c":null}}')
    assert raw.state == '{"a":null,"b":{"c":null}}'


REMOVALS = {
    "first": ("a", '{"b":2,"c":3}'),
    "middle": ("b", '{"a":1,"c":3}'),
    "last": ("c", '{"a":1,"b":2}'),
    "first two": ("ab", '{"c":3}'),
    "last two": ("bc", '{"a":1}'),
    "ends": ("ac", '{"b":2}'),
    "ends, last first": ("ca", '{"b":2}'),
    "all": ("abc", "{}"),
    "all, from behind": ("cba", "{}"),
    "and what is not there": ("axb", '{"c":3}'),
}


@pytest.mark.parametrize("case", REMOVALS)
@pytest.mark.parametrize("added", ["", "z"])
def test_removal_leaves_no_comma_behind(raw: RawTwin, case: str, added: str) -> None:
    """Wherever the removed members stood, and whether something is added or not, the rest is JSON."""
    names, result = REMOVALS[case]
    raw.set('{"a":1,"b":2,"c":3}')
    members = [f'"{name}":null' for name in names] + [f'"{name}":0' for name in added]
    raw.merge("{" + ",".join(members) + "}")
    if added:
        result = result[:-1] + ("," if result != "{}" else "") + '"z":0}'
    assert raw.state == result


# Texts in which something looks like the member k before the member k itself comes.
DECOYS = [
    '"a":{"k":1}',
    '"a":[{"k":1}]',
    '"a":[[{"k":{"k":1}}]]',
    '"a":"k"',
    '"a":"\\"k\\":1"',
    '"a":"}","b":{"k":1}',
    '"a":"{","b":{"k":1}',
    '"a":"{","b":"}"',
    '"a":["k"],"b":"]"',
    '"a":{"b":"{"},"c":{"k":"}"}',
    '"a":"\\\\","b":{"k":2}',
    '"kk":1,"xk":2,"k ":3,"K":4',
    '"a":{},"b":[],"c":""',
]


@pytest.mark.parametrize("decoy", DECOYS)
@pytest.mark.parametrize("patch", ["9", "null", '{"n":{"m":null}}', "[]"])
def test_a_member_is_told_from_what_looks_like_it(raw: RawTwin, decoy: str, patch: str) -> None:
    """Only the member of that name at that level is changed, and what stands around it is not."""
    raw.set("{" + decoy + ',"k":7,"z":8}')
    before: dict[str, Any] = json.loads(raw.state)
    around = raw.state.split(',"k":7')
    raw.merge('{"k":' + patch + "}")
    wanted = {"9": ',"k":9', "null": "", '{"n":{"m":null}}': ',"k":{"n":{}}', "[]": ',"k":[]'}[patch]
    assert raw.state == around[0] + wanted + around[1]
    assert json.loads(raw.state) | {"k": 7} == before | {"k": 7}


# A name that lies between the end of one string and the beginning of the next in the state's own text.
BETWEEN_STRINGS = {
    ",": '{"a":"x",":b":"y",",":1}',
    ":": '{"":":b",":":2,"c":{"":"::"}}',
    ":1,": '{"a":1,":b":2,":1,":3}',
    ",1": '{"p":["x",1,":"],",1":5}',
    "": '{"a":"","b":":",":":"","":6}',
    ":true,": '{"a":true,":":4,":true,":7}',
    ":b": '{"":":b",":b":8}',
}


@pytest.mark.parametrize("name", BETWEEN_STRINGS)
def test_a_name_that_two_strings_seem_to_spell(raw: RawTwin, name: str) -> None:
    """A name of commas and colons is not taken for what stands between two strings."""
    raw.set(BETWEEN_STRINGS[name])
    wanted = json.loads(raw.state) | {name: "new"}
    raw.merge(json.dumps({name: "new"}))
    assert json.loads(raw.state) == wanted
    raw.merge(json.dumps({name: None}))
    del wanted[name]
    assert json.loads(raw.state) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "22.0",
        "1.50",
        "1E5",
        "1e+05",
        "-0",
        "-0.0",
        "12345678901234567890",
        "1740407422.123456",
        "9007199254740993",
        "0.1000000000000000055511151231257827",
        "[]",
        "{}",
        "[[],{}]",
        '"\\u0000\\u0022"',
        "null",
    ],
)
def test_what_a_merge_does_not_name_keeps_its_bytes(raw: RawTwin, text: str) -> None:
    """Digits, empty arrays and objects, order and nulls stay as they were written; so does what is new."""
    raw.set(f'{{"z":1,"keep":{text},"a":{{"keep":{text},"b":2}}}}')
    raw.merge(f'{{"a":{{"b":3}},"new":[{text}]}}')
    assert raw.state == f'{{"z":1,"keep":{text},"a":{{"keep":{text},"b":3}},"new":[{text}]}}'


def test_a_replaced_member_keeps_its_place_and_new_ones_go_to_the_end(raw: RawTwin) -> None:
    """The order of members is the state's; that of what is new is the patch's."""
    raw.set('{"c":1,"a":2,"b":3}')
    raw.merge('{"y":1,"b":{"k":1},"x":2,"c":[0]}')
    assert raw.state == '{"c":[0],"a":2,"b":{"k":1},"y":1,"x":2}'


ORDERS = {
    "the same": lambda names: names,
    "from behind": lambda names: names[::-1],
    "mixed": lambda names: names[1::2] + names[::2],
    "others first": lambda names: [f"new{name}" for name in names] + names,
    "others after one": lambda names: [names[7], *(f"new{name}" for name in names), *names[:7]],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("decoys", [False, True])
def test_a_patch_of_very_many_members(raw: RawTwin, order: str, decoys: bool) -> None:
    """In whatever order, with deeper members of the same names or without: it does not hold the server up.

    Where each member took a walk of its own, these would take minutes, and the client gives up before.
    """
    names = [f"m{n}" for n in range(5000)]
    state = {name: ({names[n - 1]: n} if decoys else n) for n, name in enumerate(names)}
    patch = dict.fromkeys(ORDERS[order](names), -1)
    raw.set(json.dumps(state))
    raw.merge(json.dumps(patch))
    assert list(json.loads(raw.state).items()) == list((state | patch).items())
    raw.merge(json.dumps(dict.fromkeys(patch)))
    assert json.loads(raw.state) == {name: value for name, value in state.items() if name not in patch}


def test_an_empty_patch_is_a_commit_that_changes_nothing(raw: RawTwin) -> None:
    """An empty merge makes a version with the same bytes."""
    raw.set('{"a":{"b":[1.0]}}')
    assert raw.merge("{}").first == 2
    assert raw.merge('{"a":{}}').first == 3
    assert raw.state == '{"a":{"b":[1.0]}}'
