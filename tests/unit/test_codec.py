"""JSON text: what is good text, what is refused and where, and how it is printed without losing a digit."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circman_redis import patch
from circman_redis.codec import (
    JSONText,
    check_text,
    compact,
    decode,
    decode_exactly,
    encode,
    encode_exactly,
    pretty,
    tokens,
)
from circman_redis.errors import InvalidJSON, StateTooLarge
from tests.unit.json_values import NUMBERS, VALUES, nested

# --- text -------------------------------------------------------------------------------------------------

GOOD_TEXT = [
    '{"price": 22.10, "big": 12345678901234567890, "e": [1E+5, -0, 0.0e-0, 1e-400]}',
    '{"a": [18446744073709551615, -9223372036854775808], "a ": "\\ud83d\\ude00"}',
    '\n\t{ "A" : {"A": [ ] } }\r\n ',
    '{"ä": "\x7f\u2028\\u0000\\/"}',
    json.dumps(nested(64)),
]


@pytest.mark.parametrize("text", GOOD_TEXT)
def test_good_text_is_passed_on_as_it_is(text: str) -> None:
    """Digits, spaces, escapes: not one byte is changed, from str or from bytes."""
    assert check_text(text) == text.encode()
    assert check_text(text.encode()) == text.encode()
    assert check_text(JSONText(text)) == JSONText(text.encode()) == text.encode()


BAD_TEXT = {
    "duplicate key": ('{"a":{"b":1,"c":2,"b":1}}', "/a/b", "a duplicate key"),
    "duplicate key, escaped": ('{"a":1,"\\u0061":2}', "/a", "a duplicate key"),
    "NaN": ('{"a":[NaN]}', "/a/0", "NaN and Infinity are not JSON"),
    "Infinity": ('{"a":Infinity}', "/a", "NaN and Infinity are not JSON"),
    "-Infinity": ('{"a":{"b/c":-Infinity}}', "/a/b~1c", "NaN and Infinity are not JSON"),
    "1e999": ('{"a":[0,1e999]}', "/a/1", "a number that is not finite"),
    "-1.0E+400": ('{"a":-1.0E+400}', "/a", "a number that is not finite"),
    "large integer": ('{"a":18446744073709551616}', "/a", "an integer beyond 64 bits"),
    "small integer": ('{"a":-9223372036854775809}', "/a", "an integer beyond 64 bits"),
    "integer of 10,000 digits": ('{"a":' + "9" * 10_000 + "}", "/a", "an integer beyond 64 bits"),
    "lone surrogate": ('{"a":["\\ud800"]}', "/a/0", "a lone surrogate in a string"),
    "surrogates in the wrong order": ('{"a":"\\ude00\\ud83d"}', "/a", "a lone surrogate in a string"),
    "lone surrogate in a key": ('{"a":{"\\udc00":1}}', "/a", "a lone surrogate in a string"),
    "65 levels": (json.dumps(nested(65)), "/a" * 64, "deeper than 64 levels"),
    "65 levels of arrays": ('{"a":' + "[" * 64 + "]" * 64 + "}", "/a" + "/0" * 63, "deeper than 64 levels"),
    "100,000 levels": ("[" * 100_000, "", "deeper than 64 levels"),
    "array": ("[]", "", "must be a JSON object"),
    "number": (" 1 ", "", "must be a JSON object"),
}


@pytest.mark.parametrize(("text", "pointer", "reason"), BAD_TEXT.values(), ids=BAD_TEXT)
def test_bad_text_is_refused_with_its_path(text: str, pointer: str, reason: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(InvalidJSON, match=reason) as caught:
            check_text(form)
        assert caught.value.details == {"pointer": pointer, "reason": reason}


NOT_JSON = {
    "empty": (b"", 1, 1),
    "comma at the end": (b'{"a": 1,\n "b": 2,}', 2, 9 if sys.version_info < (3, 13) else 8),
    "leading zero": (b'{"a": 01}', 1, 8),
    "no digit behind the point": (b'{"a": 1.}', 1, 8),
    "plus": (b'{"a": +1}', 1, 7),
    "lower-case nan": (b'{"a": nan}', 1, 7),
    "single quotes": (b"{'a': 1}", 1, 2),
    "tab in a string": (b'{"a": "\t"}', 1, 8),
    "two documents": (b"{}\n{}", 2, 1),
    "form feed": (b'{"a":\x0c1}', 1, 6),
    "comment": (b"{} // no", 1, 4),
    "byte order mark": (b"\xef\xbb\xbf{}", 1, 1),
    "UTF-16": ("{}".encode("utf-16-le"), 1, 2),
    "invalid UTF-8": (b'{\n"\xc3\xa4a": "\xff"}', 2, 8),
    "overlong": (b'{"a": "\xc0\x80"}', 1, 8),
    "encoded surrogate": (b'{"a": "\xed\xa0\x80"}', 1, 8),
}


@pytest.mark.parametrize(("text", "line", "column"), NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_refused_with_its_line_and_column(text: bytes, line: int, column: int) -> None:
    with pytest.raises(InvalidJSON, match=f"^the file, line {line}, column {column}: ") as caught:
        check_text(text, what="the file")
    assert (caught.value.details["line"], caught.value.details["column"]) == (line, column)


def test_a_raw_lone_surrogate_in_a_str_is_refused() -> None:
    """From the command line it may come so (PEP 383)."""
    with pytest.raises(InvalidJSON, match="line 1, column 8: a lone surrogate"):
        check_text('{"a": "\udcff"}')
    with pytest.raises(InvalidJSON, match="a lone surrogate"):
        JSONText('{"a": "\udcff"}')


def test_text_has_the_size_limit_and_the_choice_of_root_too() -> None:
    assert check_text("[22.10]", root="any", max_bytes=7) == b"[22.10]"
    with pytest.raises(StateTooLarge, match="7 bytes"):
        check_text("[22.10]", root="any", max_bytes=6)


@given(VALUES)
@settings(deadline=None)
def test_whatever_encode_writes_is_good_text(value: Any) -> None:
    """The two judges agree on what a state may hold."""
    text = encode({"a": value})
    assert check_text(text) == text


@pytest.mark.parametrize("text", ["", "{", "nul", "\ufeff{}", b"\xff", '"\ud800"', "{} {}", "NaN"])
def test_junk_is_not_decoded(text: str | bytes) -> None:
    for read in (decode, tokens, compact, pretty):
        with pytest.raises(InvalidJSON, match=r"^JSON text: ") as caught:
            read(text)
        assert isinstance(caught.value.__cause__, orjson.JSONDecodeError)


# --- printing ---------------------------------------------------------------------------------------------


def test_pretty() -> None:
    """A line per member and item, empty ones on one; digits as they were, strings in their short form."""
    stored = r'{"a":22.10,"list":[1E+5,{"x":[]}, [ ] ],"empty":{},"t":"\u007b\u0022\u005c\u00e4\n\u001f\/"}'
    assert pretty(stored) == (
        "{\n"
        '  "a": 22.10,\n'
        '  "list": [\n'
        "    1E+5,\n"
        "    {\n"
        '      "x": []\n'
        "    },\n"
        "    []\n"
        "  ],\n"
        '  "empty": {},\n'
        '  "t": "{\\"\\\\ä\\n\\u001f/"\n'
        "}"
    )
    assert pretty("[1,2]", indent=4) == "[\n    1,\n    2\n]"
    assert pretty(b" 1.50 ") == "1.50"


def test_compact() -> None:
    """One line, no white space but in strings."""
    assert compact('{ "a b" : [ 1.50 , "\\u007b , \\u007d" ] , "c" : { } }\n') == '{"a b":[1.50,"{ , }"],"c":{}}'


@given(st.dictionaries(st.text(max_size=8), NUMBERS | VALUES.map(json.dumps), max_size=5), st.integers(0, 4))
@settings(deadline=None)
def test_printing_keeps_every_number_and_value(members: dict[str, str], indent: int) -> None:
    """Only white space and the escapes of strings change."""
    text = "{" + " , ".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"
    shown = pretty(text, indent)
    numbers = [part for part in tokens(text) if part[0] in "-0123456789"]
    assert [part for part in tokens(shown) if part[0] in "-0123456789"] == numbers
    assert compact(shown) == compact(text)
    assert json.loads(shown) == json.loads(text)
    assert json.dumps(json.loads(text), ensure_ascii=False, indent=indent) == pretty(
        json.dumps(json.loads(text)), indent
    )


# --- numbers with their digits ----------------------------------------------------------------------------


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_numbers_read_exactly_are_written_as_they_were(numbers: list[str]) -> None:
    """And are told apart by their digits, though they are floats for whoever computes with them."""
    text = f'{{"list":[{",".join(numbers)}],"first":{numbers[0]}}}'
    value = decode_exactly(text)
    assert encode_exactly(value) == text.encode()
    assert patch.same(value, decode_exactly(text.encode()))
    assert value == decode(text)
    for one, digits in zip(value["list"], numbers, strict=True):
        assert str(one) == repr(one) == digits
        assert pickle.loads(pickle.dumps(one)) == one
        assert patch.same(one, copy.deepcopy(one))


@pytest.mark.parametrize(
    ("one", "other"), [("22.1", "22.10"), ("0.0", "-0.0"), ("0", "-0"), ("1e5", "1E5"), ("1", "1.0")]
)
def test_the_same_number_with_other_digits_is_another(one: str, other: str) -> None:
    assert not patch.same(decode_exactly(one), decode_exactly(other))
    assert decode_exactly(one) == decode_exactly(other)
