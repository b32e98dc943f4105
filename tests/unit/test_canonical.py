"""The stored form, and the merge on it: the reference for the Lua scripts is itself tested here."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circman_redis.canonical import canonical, inverse_text, merge_text
from circman_redis.codec import decode, tokens
from circman_redis.errors import InvalidJSON
from circman_redis.patch import merge, same
from tests.unit.json_values import NUMBERS, OBJECTS, VALUES
from tests.unit.merge_cases import RFC_7396

STORED_STRING = re.compile(r'"(?:[^\x00-\x1f"\\{}\[\]]|\\u00(?:22|5c|7b|7d|5b|5d|0[0-7be-f]|1[0-9a-f])|\\[bfnrt])*"')
ESCAPED = {
    '"': "\\u0022",
    "\\": "\\u005c",
    "{": "\\u007b",
    "}": "\\u007d",
    "[": "\\u005b",
    "]": "\\u005d",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\0": "\\u0000",
    "\x0b": "\\u000b",
    "\x1f": "\\u001f",
}
RAW = [" ", "/", "\x7f", "\x80", "ä", "\u2028", "\ufeff", "\U0001f600", "'", "<", "~", ":", ","]


@pytest.mark.parametrize(("character", "stored"), [*ESCAPED.items(), *((raw, raw) for raw in RAW)])
def test_each_character_has_one_form(character: str, stored: str) -> None:
    """However it came in: as it is where JSON allows it, as a short escape, or as \\uXXXX in either case."""
    as_utf16 = character.encode("utf-16-be")
    units = [as_utf16[i : i + 2].hex() for i in range(0, len(as_utf16), 2)]
    for hexadecimal in (units, [unit.upper() for unit in units]):
        assert canonical('"' + "".join(f"\\u{unit}" for unit in hexadecimal) + '"') == f'"{stored}"'
    assert canonical(json.dumps(character, ensure_ascii=False)) == f'"{stored}"'


def test_a_slash_may_come_escaped() -> None:
    assert canonical(r'"\/"') == '"/"'


def test_white_space_goes_and_all_else_stays() -> None:
    """Digits, the order of members, empty objects and arrays; spaces inside strings."""
    text = b'\n{ "b" : 22.10 , "a":[ 1E+5, -0, 12345678901234567890 ,[ ],{ } ] ,\t"c d":" x " , "t":true}\r\n'
    assert canonical(text) == '{"b":22.10,"a":[1E+5,-0,12345678901234567890,[],{}],"c d":" x ","t":true}'


@pytest.mark.parametrize("text", ["", "{", '{"a":1,}', "01", '"\ud800"', "{}{}"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidJSON):
        canonical(text)
    with pytest.raises(InvalidJSON):
        merge_text("{}", text)


def test_a_duplicate_key_is_refused() -> None:
    """There is no telling which of them a patch would mean."""
    with pytest.raises(InvalidJSON, match=r'a duplicate key, "a"'):
        merge_text('{"a":1,"b":2,"\\u0061":3}', "{}")


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
@settings(deadline=None)
def test_canonical_keeps_values_and_is_idempotent(value: Any, ascii_only: bool, indent: int | None) -> None:
    """One form per value, whatever the writer; a second time changes nothing."""
    stored = canonical(json.dumps(value, ensure_ascii=ascii_only, indent=indent))
    assert same(decode(stored), value)
    assert canonical(stored) == stored
    assert canonical(stored.encode()) == stored
    assert all(STORED_STRING.fullmatch(token) for token in tokens(stored) if token.startswith('"'))


@given(st.lists(NUMBERS))
@settings(deadline=None)
def test_canonical_keeps_the_digits_of_numbers(numbers: list[str]) -> None:
    assert canonical("[ " + " ,\n".join(numbers) + " ]") == "[" + ",".join(numbers) + "]"


@pytest.mark.parametrize(("target", "patch", "merged"), RFC_7396)
def test_the_examples_of_rfc_7396(target: Any, patch: Any, merged: Any) -> None:
    """Appendix A, as text."""
    assert merge_text(_stored(target), json.dumps(patch)) == _stored(merged)


def _stored(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


TARGET = '{"a":22.0,"b":{"x":1.50,"y":[{"z":1E+5}],"n":null},"c":12345678901234567890,"d":[],"e":{}}'
EXAMPLES = {
    "nothing": ("{}", TARGET),
    "replaced in its place": ('{"c":1.10}', TARGET.replace("12345678901234567890", "1.10")),
    "first removed": ('{"a":null}', TARGET.replace('"a":22.0,', "")),
    "middle removed": ('{"c":null}', TARGET.replace('"c":12345678901234567890,', "")),
    "last removed": ('{"e":null}', TARGET.replace(',"e":{}', "")),
    "all removed": ('{"a":null,"b":null,"c":null,"d":null,"e":null}', "{}"),
    "never there": ('{"q":null}', TARGET),
    "added in the order of the patch": ('{"z":1,"f":[ 2.0 ]}', TARGET[:-1] + ',"z":1,"f":[2.0]}'),
    "deeper": ('{"b":{"x":2,"w":0.10}}', TARGET.replace('"x":1.50', '"x":2').replace("null}", 'null,"w":0.10}')),
    "deeper, emptied": ('{"b":{"x":null,"y":null,"n":null}}', TARGET.replace('"x":1.50,"y":[{"z":1E+5}],"n":null', "")),
    "into what is missing": ('{"f":{"g":{"h":null},"i":1}}', TARGET[:-1] + ',"f":{"g":{},"i":1}}'),
    "into what is no object": ('{"d":{"g":null,"i":1}}', TARGET.replace('"d":[]', '"d":{"i":1}')),
    "an array as a whole": ('{"b":{"y":[null,{"n":null}]}}', TARGET.replace('[{"z":1E+5}]', '[null,{"n":null}]')),
    "by a name in another form": ('{"\\u0061":1}', TARGET.replace("22.0", "1")),
}


@pytest.mark.parametrize(("patch", "merged"), EXAMPLES.values(), ids=EXAMPLES)
def test_a_merge_changes_what_the_patch_names_and_nothing_else(patch: str, merged: str) -> None:
    assert merge_text(TARGET, patch) == merged


@given(OBJECTS, VALUES)
@settings(deadline=None)
def test_merging_text_agrees_with_merging_values(target: dict[str, Any], patch: Any) -> None:
    """The same members, and in the same order."""
    text = merge_text(canonical(json.dumps(target)), json.dumps(patch))
    assert json.dumps(json.loads(text)) == json.dumps(merge(target, patch))
    assert canonical(text) == text


@given(st.data(), st.lists(st.text(max_size=4), unique=True, min_size=1, max_size=8))
@settings(deadline=None)
def test_untouched_members_keep_every_byte(data: st.DataObject, names: list[str]) -> None:
    """Against a list of pairs of text, edited by hand."""
    raw = NUMBERS | VALUES.map(json.dumps).map(canonical)
    members = [(canonical(json.dumps(name)), data.draw(raw)) for name in names]
    touched = data.draw(st.lists(st.sampled_from(members), unique_by=lambda member: member[0]))
    edits = {name: data.draw(st.just("null") | NUMBERS) for name, _ in touched}
    expected = [(name, edits.get(name, text)) for name, text in members]
    kept = [f"{name}:{text}" for name, text in expected if not (name in edits and text == "null")]
    target = "{" + ",".join(f"{name}:{text}" for name, text in members) + "}"
    patch = "{" + ",".join(f"{name}:{text}" for name, text in edits.items()) + "}"
    assert merge_text(target, patch) == "{" + ",".join(kept) + "}"


@pytest.mark.parametrize(
    ("before", "patch", "inverse"),
    [
        ('{"a":1.50,"b":2}', '{ "a" : 2, "c" : {} }', '{"a":1.50,"c":null}'),
        ('{"a":{"b":1,"c":[]}}', '{"a":{"b":2,"d":{"e":null}}}', '{"a":{"b":1,"d":null}}'),
        ('{"a":{"b":1},"c":2}', '{"a":5}', '{"a":{"b":1}}'),
        ('{"a":1,"b":2}', '{"b":null}', '{"b":2}'),
        ('{"a":1,"b":2}', '{"a":null}', None),
        ('{"a":null}', '{"a":1}', None),
        ('{"a":{"b":null}}', '{"a":1}', None),
        ('{"a":{"b":null}}', '{"a":{"c":1}}', '{"a":{"c":null}}'),
        ('{"a":1}', '{"a":1,"x":null}', '{"a":1,"x":null}'),
        ('{"a":1}', "5", None),
        ("5", '{"a":1}', None),
    ],
)
def test_the_inverse_of_a_patch(before: str, patch: str, inverse: str | None) -> None:
    """Old values of what it touched, null for what it added; none where no merge patch leads back to the same text."""
    assert inverse_text(before, patch) == inverse


@given(OBJECTS, OBJECTS)
def test_an_inverse_leads_back(before: Any, patch: Any) -> None:
    """Byte by byte."""
    old, change = canonical(json.dumps(before)), canonical(json.dumps(patch))
    inverse = inverse_text(old, change)
    assert inverse is None or merge_text(merge_text(old, change), inverse) == old
